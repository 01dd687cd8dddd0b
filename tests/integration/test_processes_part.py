"""Supervised processes with real programs, from the part's own methods."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.daemons import RunningDaemon
from tests.forking import DEADLINE, Forking, open_descriptors, own_children, wait_gone

from stoker.errors import NameTaken, NoSuchProcess, ShuttingDown, StartFailed
from stoker.protocol.events import ForkserverStarted, ProcessChanged
from stoker.protocol.models import ProcessInfo
from stoker.protocol.states import ProcessState
from stokerd.processes.registry import Processes

SLEEP = ("sleep", "1000")
QUICK = {"backoff": 0.01, "backoff_most": 0.02, "settled": 1000.0, "flap_ends": 4, "flap_seconds": 1000.0}


class Bench(Forking):
    """Processes over real forkservers."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.processes = Processes(self.clock, self.bus, self.servers)

    def start(self, name: str, *argv: str, **options: Any) -> ProcessInfo:
        """Start, and wait for the answer."""
        promise = self.processes.start(
            name, argv, options.pop("cwd", str(self.home)), options.pop("env", {}), **{**QUICK, **options}
        )
        return self.settle(promise)

    def info(self, name: str) -> ProcessInfo:
        (info,) = [info for info in self.processes.info() if info.name == name]
        return info

    def states(self, name: str) -> list[ProcessState]:
        """Every state that was told of."""
        return [event.state for event in self.events if isinstance(event, ProcessChanged) and event.name == name]

    def until_state(self, name: str, state: ProcessState) -> None:
        self.until(lambda: self.states(name)[-1:] == [state])

    def until_written(self, name: str, text: str) -> str:
        """Wait until it has written this to stdout; returns all."""
        while text not in (written := self.written(name)):
            news = self.loop.create_future()
            self.processes.when_news(name, partial(news.set_result, None))
            self.wait(news)
        return written

    def written(self, name: str) -> str:
        output, _ = self.processes.output(name)
        return output.out.since(0).decode()

    def stop(self, *names: str, grace: float | None = None) -> list[str]:
        return self.settle(self.processes.stop(names, grace))

    def close(self) -> None:
        self.settle(self.processes.close(DEADLINE))
        assert self.processes.info() == []
        super().close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()
    assert own_children() == set()


def shell(text: str) -> tuple[str, ...]:
    return ("sh", "-c", text)


# --- starting ----------------------------------------------------------------------------------------------------


def test_a_start_is_answered_when_the_program_runs(bench: Bench) -> None:
    info = bench.start("nap", *SLEEP)
    assert info.state is ProcessState.UP
    assert info.wanted
    assert info.pid is not None
    assert Path(f"/proc/{info.pid}/cmdline").read_bytes() == b"sleep\x001000\x00"
    assert bench.states("nap") == [ProcessState.STARTING, ProcessState.UP]
    assert "nap" in bench.processes


def test_a_program_that_ends_at_once_was_started_all_the_same(bench: Bench) -> None:
    for _ in range(10):
        info = bench.start("quick", "true", restart="never")
        assert info.pid is not None
        bench.until(lambda: bench.info("quick").exit_code == 0)
        assert bench.info("quick").state is ProcessState.DOWN


def test_a_program_gets_its_arguments_directory_and_variables(bench: Bench) -> None:
    where = bench.home / "where"
    where.mkdir()
    code = "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['A'], 'NOTIFY_SOCKET' in os.environ)"
    bench.start("tell", sys.executable, "-c", code, "x y", "é", cwd=str(where), env={"A": "b"}, restart="never")
    bench.until_state("tell", ProcessState.DOWN)
    assert bench.written("tell") == f"['x y', 'é'] {where} b False\n"


def test_a_program_starts_with_default_signals_and_no_descriptors_but_its_streams(bench: Bench) -> None:
    bench.start("look", *shell("grep -E 'Sig(Ign|Blk)' /proc/self/status; ls /proc/self/fd"), restart="never")
    bench.until_state("look", ProcessState.DOWN)
    words = bench.written("look").split()
    assert words[:4] == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]
    assert words[4:] == ["0", "1", "2", "3"]  # 3 is ls itself, reading the directory


def test_two_kilobytes_of_arguments_and_a_large_environment_arrive(bench: Bench) -> None:
    env = {f"V{n}": "x" * 1000 for n in range(300)}
    bench.start("big", *shell('echo ${#V299} "$#"'), "sh", *["a" * 100] * 500, env=env, restart="never")
    bench.until_state("big", ProcessState.DOWN)
    assert bench.written("big") == "1000 500\n"


@pytest.mark.parametrize(
    ("make", "message", "code"),
    [
        (lambda home: ("no-such-program",), "there is no program no-such-program on PATH", 127),
        (lambda home: (str(home / "nowhere" / "x"),), "there is no program", 127),
        (lambda home: (str(home),), "Permission denied", 126),
        (lambda home: (_file(home, "plain", "text", 0o644),), "Permission denied", 126),
        (lambda home: (_file(home, "garbage", "\x00\x01\x02", 0o755),), "Exec format error", 126),
        (lambda home: (_file(home, "orphan", "#!/no/such/interpreter\n", 0o755),), "interpreter that it names", 127),
        (lambda home: ("true", "x" * 200_000), "Argument list too long", 126),
    ],
)
def test_a_program_that_cannot_be_executed_fails_the_start_exactly(
    bench: Bench, make: Callable[[Path], tuple[str, ...]], message: str, code: int
) -> None:
    with pytest.raises(StartFailed) as caught:
        bench.start("bad", *make(bench.home))
    assert message in caught.value.message
    assert caught.value.data["exit_code"] == code
    assert "bad" not in bench.processes
    assert bench.processes.info() == []


def _file(home: Path, name: str, text: str, mode: int) -> str:
    path = home / name
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_missing_working_directory_fails_the_start(bench: Bench) -> None:
    with pytest.raises(StartFailed, match="cannot enter the working directory /no/such"):
        bench.start("bad", "true", cwd="/no/such")


def test_a_failed_start_is_not_repeated(bench: Bench) -> None:
    with pytest.raises(StartFailed):
        bench.start("bad", "no-such-program", restart="always")
    assert bench.states("bad") == [ProcessState.STARTING, ProcessState.DOWN]


def test_a_name_is_taken_until_its_process_is_over(bench: Bench) -> None:
    bench.start("one", *SLEEP)
    with pytest.raises(NameTaken, match="already, and it is up"):
        bench.start("one", "true")
    bench.stop("one")
    bench.start("one", "true", restart="never")
    bench.until_state("one", ProcessState.DOWN)
    assert bench.start("one", *SLEEP).state is ProcessState.UP


def test_a_start_whose_forkserver_is_killed_fails_and_the_next_one_works(bench: Bench) -> None:
    bench.start("first", *SLEEP, restart="never")
    (server,) = [event.pid for event in bench.events if isinstance(event, ForkserverStarted)]
    os.kill(server, signal.SIGSTOP)
    starting = bench.processes.start("second", SLEEP, str(bench.home), {})
    os.kill(server, signal.SIGKILL)
    with pytest.raises(StartFailed, match="SIGKILL"):
        bench.settle(starting)
    bench.until_state("first", ProcessState.DOWN)
    assert bench.info("first").exit_code == -9
    assert bench.start("second", *SLEEP).state is ProcessState.UP


# --- stopping ----------------------------------------------------------------------------------------------------


def test_a_stop_is_answered_after_the_reaping_and_forgets_the_process(bench: Bench) -> None:
    info = bench.start("nap", *SLEEP)
    assert bench.stop("nap") == ["nap"]
    assert not Path(f"/proc/{info.pid}").exists()
    assert "nap" not in bench.processes
    assert bench.states("nap")[-2:] == [ProcessState.STOPPING, ProcessState.DOWN]


def test_the_stop_signal_is_the_one_that_was_asked_for(bench: Bench) -> None:
    heard = bench.home / "heard"
    bench.start("trap", *shell(f"trap 'echo INT > {heard}; exit 0' INT; echo ready; while :; do sleep 0.01; done"),
                stop_signal="SIGINT")  # fmt: skip
    bench.until_written("trap", "ready")
    assert bench.stop("trap") == ["trap"]
    assert heard.read_text() == "INT\n"


def test_what_ignores_the_stop_signal_is_killed_after_the_grace(bench: Bench) -> None:
    bench.start("deaf", *shell("trap '' TERM; echo ready; while :; do sleep 0.01; done"))
    bench.until_written("deaf", "ready")
    assert bench.stop("deaf", grace=0.05) == ["deaf"]


def test_a_stop_while_it_is_stopping_can_shorten_the_grace_and_both_are_answered(bench: Bench) -> None:
    bench.start("deaf", *shell("trap '' TERM; echo ready; while :; do sleep 0.01; done"))
    bench.until_written("deaf", "ready")
    patient = bench.processes.stop(["deaf"], 1000.0)
    impatient = bench.processes.stop(["deaf"], 0.05)
    late = bench.processes.stop(["deaf"], 1000.0)
    assert bench.settle(patient) == bench.settle(impatient) == bench.settle(late) == ["deaf"]


def test_the_whole_group_is_stopped(bench: Bench) -> None:
    bench.start("family", *shell("sleep 1000 & echo $!; wait"))
    grandchild = int(bench.until_written("family", "\n"))
    bench.stop("family")
    assert wait_gone(grandchild)


def test_what_is_left_of_a_group_whose_leader_ended_is_killed(bench: Bench) -> None:
    bench.start("parent", *shell("sleep 1000 & echo $!"), restart="never")
    bench.until_state("parent", ProcessState.DOWN)
    assert wait_gone(int(bench.written("parent")))


def test_a_process_that_is_suspended_can_be_stopped(bench: Bench) -> None:
    info = bench.start("frozen", *SLEEP)
    assert info.pid is not None
    os.kill(info.pid, signal.SIGSTOP)
    assert bench.stop("frozen") == ["frozen"]


def test_a_stop_of_what_is_down_already_is_a_success_at_once(bench: Bench) -> None:
    bench.start("quick", "true", restart="never")
    bench.until_state("quick", ProcessState.DOWN)
    stopped = bench.processes.stop(["quick"])
    assert stopped.settled
    assert stopped.value() == ["quick"]
    assert "quick" not in bench.processes


def test_a_stop_before_the_program_runs_fails_the_start_or_ends_it(bench: Bench) -> None:
    starting = bench.processes.start("hasty", SLEEP, str(bench.home), {})
    assert bench.stop("hasty") == ["hasty"]
    assert starting.settled
    if starting.error is not None:
        assert "stopped before it was up" in starting.error.message
    assert "hasty" not in bench.processes


def test_a_stop_of_several_with_one_unknown_stops_none(bench: Bench) -> None:
    bench.start("known", *SLEEP)
    with pytest.raises(NoSuchProcess) as caught:
        bench.processes.stop(["known", "knwon"])
    assert caught.value.hint == 'did you mean "known"?'
    assert bench.info("known").state is ProcessState.UP


# --- restarting --------------------------------------------------------------------------------------------------


def test_a_process_that_is_killed_is_started_again(bench: Bench) -> None:
    first = bench.start("phoenix", *SLEEP, restart="on-failure")
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    bench.until(lambda: bench.states("phoenix").count(ProcessState.UP) == 2)
    second = bench.info("phoenix")
    assert second.pid not in (None, first.pid)
    assert (second.restarts, second.exit_code, second.wanted) == (1, -9, True)
    assert bench.states("phoenix") == [
        ProcessState.STARTING,
        ProcessState.UP,
        ProcessState.DOWN,
        ProcessState.BACKOFF,
        ProcessState.STARTING,
        ProcessState.UP,
    ]


def test_a_success_is_not_followed_by_a_start_unless_always(bench: Bench) -> None:
    bench.start("once", "true", restart="on-failure")
    bench.start("ever", "true", restart="always")
    bench.until_state("ever", ProcessState.FLAPPING)
    assert bench.states("once") == [ProcessState.STARTING, ProcessState.UP, ProcessState.DOWN]
    assert (bench.info("once").wanted, bench.info("once").restarts) == (False, 0)
    assert bench.info("ever").restarts == QUICK["flap_ends"] - 1


def test_a_process_that_does_not_stay_up_is_given_up_with_the_reason(bench: Bench) -> None:
    bench.start("flap", *shell("echo run; exit 3"))
    bench.until_state("flap", ProcessState.FLAPPING)
    info = bench.info("flap")
    assert (info.exit_code, info.wanted, info.pid) == (3, False, None)
    assert info.reason == "given up: it ended 4 times within 1000 s; last: ended with exit code 3"
    assert bench.written("flap") == "run\n" * 4
    assert bench.processes.output("flap")[1]
    assert bench.stop("flap") == ["flap"]


def test_a_program_that_vanished_is_tried_again_and_then_given_up(bench: Bench) -> None:
    program = _file(bench.home, "program", '#!/bin/sh\nrm -f "$0"\nexit 1\n', 0o755)
    bench.start("vanish", program)
    bench.until_state("vanish", ProcessState.FLAPPING)
    assert "there is no program" in bench.info("vanish").reason


def test_a_stop_while_it_waits_to_be_started_again_is_done_at_once(bench: Bench) -> None:
    bench.start("wait", "false", backoff=1000.0, backoff_most=1000.0)
    bench.until_state("wait", ProcessState.BACKOFF)
    assert "to be started again in 1000 s" in bench.info("wait").reason
    assert bench.processes.stop(["wait"]).settled
    assert "wait" not in bench.processes


# --- output ------------------------------------------------------------------------------------------------------


def test_both_streams_are_kept_and_read_from_an_offset(bench: Bench) -> None:
    bench.start("talk", *shell("echo out; echo err >&2; echo more > /dev/stderr; echo rest"), restart="never")
    bench.until_state("talk", ProcessState.DOWN)
    output, ended = bench.processes.output("talk")
    assert output.out.since(0) == b"out\nrest\n"
    assert output.out.since(4) == b"rest\n"
    assert output.err.since(0) == b"err\nmore\n"
    assert ended


def test_a_flood_neither_blocks_the_writer_nor_fills_the_memory(bench: Bench) -> None:
    bench.start("flood", *shell("head -c 20000000 /dev/zero; echo done >&2"), restart="never")
    bench.until_state("flood", ProcessState.DOWN)
    output, _ = bench.processes.output("flood")
    assert output.out.size == 20_000_000
    assert len(output.out.head) + len(output.out.tail) <= 1 << 20
    assert output.out.dropped >= 20_000_000 - (1 << 20)
    assert output.err.since(0) == b"done\n"


def test_output_of_what_does_not_exist_is_an_error(bench: Bench) -> None:
    with pytest.raises(NoSuchProcess):
        bench.processes.output("nobody")


# --- closing -----------------------------------------------------------------------------------------------------


def test_closing_ends_all_and_refuses_what_comes_later(bench: Bench) -> None:
    pids = [bench.start(f"p{n}", *SLEEP).pid for n in range(5)]
    bench.settle(bench.processes.close(DEADLINE))
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    with pytest.raises(ShuttingDown):
        bench.start("late", *SLEEP)


def test_closing_shortens_the_grace_of_each(bench: Bench) -> None:
    bench.start("deaf", *shell("trap '' TERM; echo ready; while :; do sleep 0.01; done"), grace=1000.0)
    bench.until_written("deaf", "ready")
    bench.settle(bench.processes.close(0.05))
    assert bench.processes.info() == []


def test_many_starts_and_stops_leave_no_descriptor(bench: Bench) -> None:
    bench.start("warm", *SLEEP)
    before = open_descriptors()
    for _ in range(3):
        names = [f"p{n}" for n in range(10)]
        for starting in [bench.processes.start(name, SLEEP, str(bench.home), {}) for name in names]:
            bench.settle(starting)
        assert bench.stop(*names) == names
        with pytest.raises(StartFailed):
            bench.start("bad", "no-such-program")
    assert open_descriptors() == before


# --- over the wire -----------------------------------------------------------------------------------------------


def test_start_status_logs_and_stop_by_a_plain_client(daemon: RunningDaemon) -> None:
    argv = ["sh", "-c", "echo hello; exec sleep 1000"]
    started = daemon.result("start", kind="process", name="svc", argv=argv)
    assert (started["kind"], started["name"]) == ("process", "svc")
    (pid,) = started["pids"]
    (info,) = daemon.result("status")["processes"]
    assert (info["name"], info["state"], info["pid"]) == ("svc", "up", pid)
    head, frames = daemon.exchange("logs", id="svc", wait=DEADLINE)
    assert frames[0] == b"hello\n", head
    assert daemon.result("stop", names=["svc"]) == {"stopped": ["svc"], "survivors": 0}
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"argv": ["no-such-program"]}, "start-failed"),
        ({"argv": ["true"], "cwd": "/no/such"}, "start-failed"),
        ({"argv": []}, "invalid-params"),
        ({"argv": [""]}, "invalid-params"),
        ({"argv": ["true", "a\0b"]}, "invalid-params"),
        ({"argv": ["true"], "cwd": "relative"}, "invalid-params"),
        ({"argv": ["true"], "env": {"A=B": "1"}}, "invalid-params"),
        ({"argv": ["true"], "restart": "sometimes"}, "invalid-params"),
        ({"argv": ["true"], "stop_signal": "SIGWHAT"}, "invalid-params"),
        ({"argv": ["true"], "name": "default"}, "name-taken"),
    ],
)
def test_a_start_that_cannot_be_is_refused_with_a_code(daemon: RunningDaemon, params: Any, code: str) -> None:
    assert daemon.error("start", **{"kind": "process", "name": "bad", **params})["code"] == code
    assert daemon.result("status")["processes"] == []
