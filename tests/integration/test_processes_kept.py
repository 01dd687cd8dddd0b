"""How supervised processes are kept: readiness, dependencies, instances, rights, logs; with real programs, from the
part's own methods.
"""

from __future__ import annotations

import os
import pwd
import signal
import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.forking import DEADLINE, own_children, wait_gone
from tests.integration.test_processes_part import SLEEP, Bench, shell

from stoker.errors import InvalidParams, NameTaken, NoSuchProcess, ShuttingDown, StartFailed
from stoker.protocol.processes import Keeping
from stoker.protocol.states import ProcessState
from stokerd.processes.registry import Processes
from stokerd.processes.settings import Settings

PYTHON = sys.executable


class LoggingBench(Bench):
    """A bench whose processes have log files, and that serves one test after the other."""

    def renew(self, home: Path) -> None:
        self.home, self.logs = home, home / "logs"
        del self.events[:]
        self.processes = Processes(self.clock, self.bus, self.servers, self.logs)

    def configure(self, name: str, *argv: str, **keep: object) -> Settings:
        return Settings(
            name=name, argv=argv, cwd=str(self.home), keep=Keeping(**{"backoff": 0.01, **keep}), configured=True
        )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggingBench]:
    house = LoggingBench(tmp_path_factory.mktemp("house"))
    yield house
    house.close()
    assert own_children() == set()


@pytest.fixture
def bench(house: LoggingBench, tmp_path: Path) -> Iterator[LoggingBench]:
    house.renew(tmp_path)
    yield house
    house.settle(house.processes.close(DEADLINE))
    assert house.processes.info() == []


def ready_when(path: Path) -> tuple[str, ...]:
    return ("test", "-e", str(path))


# --- readiness ---------------------------------------------------------------------------------------------------

SAY = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ['NOTIFY_SOCKET'].replace('@', chr(0), 1))
for line in sys.argv[1:]:
    s.send(line.encode())
print('said', flush=True)
import time; time.sleep(1000)
"""


def test_a_process_that_says_when_it_is_ready_is_up_then_and_its_status_is_shown(bench: LoggingBench) -> None:
    info = bench.start("say", PYTHON, "-c", SAY, "STATUS=warming", "READY=1\nSTATUS=serving", ready="notify")
    assert info.state is ProcessState.UP
    assert info.status == "serving"
    assert bench.states("say") == [ProcessState.STARTING, ProcessState.UP]


def test_what_says_nothing_in_time_has_failed_and_why_is_told(bench: LoggingBench) -> None:
    with pytest.raises(StartFailed) as caught:
        bench.start("mute", PYTHON, "-c", SAY, "STATUS=still loading", ready="notify", ready_timeout=0.5)
    assert "was not ready within 0.5 s: it did not say READY=1 on its NOTIFY_SOCKET" in caught.value.message
    assert "mute" not in bench.processes


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may speak as another user")
def test_what_another_user_says_of_it_is_not_believed(bench: LoggingBench) -> None:
    ask = "import os, time; print(os.environ['NOTIFY_SOCKET'], flush=True); time.sleep(1000)"
    starting = bench.processes.start("mute", (PYTHON, "-c", ask), str(bench.home), {}, ready="notify")
    address = bench.until_written("mute", "\n").strip().replace("@", "\0", 1)

    def say(uid: int) -> None:
        child = os.fork()
        if child == 0:
            os.setresuid(uid, uid, uid)
            speaker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            speaker.sendto(f"READY=1\nSTATUS=from {uid}".encode(), address)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

    say(65534)
    bench.drain()
    assert (bench.info("mute").state, bench.info("mute").status) == (ProcessState.STARTING, "")
    say(0)
    assert bench.settle(starting).status == "from 0"


def test_a_process_whose_port_takes_connections_is_up(bench: LoggingBench) -> None:
    code = "import socket, time; s = socket.create_server(('127.0.0.1', PORT)); time.sleep(1000)"
    port = _free_port()
    bench.start("serve", PYTHON, "-c", code.replace("PORT", str(port)), ready=f"tcp:{port}")
    socket.create_connection(("127.0.0.1", port)).close()


def test_a_port_that_nobody_opens_is_named_and_so_is_what_was_written(bench: LoggingBench) -> None:
    port = _free_port()
    with pytest.raises(StartFailed) as caught:
        bench.start("idle", *shell("echo cannot bind >&2; exec sleep 1000"), ready=f"tcp:{port}", ready_timeout=0.3)
    assert f"nothing takes connections at 127.0.0.1 port {port} (Connection refused)" in caught.value.message
    assert caught.value.hint == "it last wrote: cannot bind"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_a_unix_socket_that_takes_connections_makes_it_up(bench: LoggingBench) -> None:
    path = Path(f"/tmp/stoker-test-{os.getpid()}.sock")
    code = (
        "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); time.sleep(999)"
    )
    try:
        assert bench.start("serve", PYTHON, "-c", code, str(path), ready=f"unix:{path}").state is ProcessState.UP
        assert path.is_socket()
    finally:
        path.unlink(missing_ok=True)


def test_a_command_that_succeeds_makes_it_up(bench: LoggingBench) -> None:
    flag = bench.home / "flag"
    start = shell(f"sleep 0.2; touch {flag}; exec sleep 1000")
    bench.start("slow", *start, ready_command=ready_when(flag))
    assert flag.exists()


def test_a_command_that_never_succeeds_is_told_with_its_end(bench: LoggingBench) -> None:
    with pytest.raises(
        StartFailed, match=r"readiness command false does not end with 0 \(it last ended with exit code 1"
    ):
        bench.start("never", *SLEEP, ready_command=("false",), ready_timeout=0.3)
    with pytest.raises(StartFailed, match="it cannot be executed"):
        bench.start("never", *SLEEP, ready_command=("no-such",), ready_timeout=0.3)
    with pytest.raises(StartFailed, match="it still runs"):
        bench.start("never", *SLEEP, ready_command=("sleep", "1000"), ready_timeout=0.3)


def test_what_ends_before_it_is_ready_has_failed_with_its_code_and_last_words(bench: LoggingBench) -> None:
    with pytest.raises(StartFailed) as caught:
        bench.start("brief", *shell("echo no database; exit 3"), ready="notify")
    assert caught.value.message == "process 'brief' ended with exit code 3 before it was ready"
    assert caught.value.hint == "it last wrote: no database"
    assert caught.value.data["exit_code"] == 3


def test_a_process_can_be_stopped_while_it_is_not_ready(bench: LoggingBench) -> None:
    starting = bench.processes.start("slow", SLEEP, str(bench.home), {}, ready="notify")
    bench.until_state("slow", ProcessState.STARTING)
    assert bench.stop("slow") == ["slow"]
    with pytest.raises(StartFailed, match="stopped before it was up"):
        bench.settle(starting)


# --- ends --------------------------------------------------------------------------------------------------------


def test_a_fatal_code_is_not_followed_by_a_start(bench: LoggingBench) -> None:
    bench.start("picky", *shell("exit 78"), restart="always", fatal_codes=(64, 78))
    bench.until_state("picky", ProcessState.FATAL)
    info = bench.info("picky")
    assert (info.exit_code, info.restarts, info.wanted) == (78, 0, False)
    assert info.reason == "given up: exit code 78 is one of fatal_codes; last: ended with exit code 78"


def test_what_was_given_up_is_started_again_when_somebody_asks(bench: LoggingBench) -> None:
    flag = bench.home / "flag"
    bench.start("flap", *shell(f"test -e {flag} && exec sleep 1000; exit 1"))
    bench.until_state("flap", ProcessState.FLAPPING)
    flag.touch()
    info = bench.settle(bench.processes.begin("flap"))
    assert (info.state, info.wanted) == (ProcessState.UP, True)


def test_what_is_up_already_is_started_at_once(bench: LoggingBench) -> None:
    before = bench.start("nap", *SLEEP)
    again = bench.processes.begin("nap")
    assert again.value().pid == before.pid


def test_a_wait_to_be_started_again_is_cut_short_by_a_start(bench: LoggingBench) -> None:
    flag = bench.home / "flag"
    bench.start("later", *shell(f"test -e {flag} && exec sleep 1000; exit 1"), backoff=1000.0, backoff_most=1000.0)
    bench.until_state("later", ProcessState.BACKOFF)
    flag.touch()
    assert bench.settle(bench.processes.begin("later")).state is ProcessState.UP


# --- restarting by hand ------------------------------------------------------------------------------------------


def test_a_restart_gives_a_new_process_with_the_same_settings(bench: LoggingBench) -> None:
    before = bench.start("nap", *SLEEP)
    (after,) = bench.settle(bench.processes.restart(["nap"]))
    assert after.pid != before.pid
    assert (after.argv, after.state, after.restarts) == (before.argv, ProcessState.UP, 0)


def test_instances_are_restarted_one_after_the_other(bench: LoggingBench) -> None:
    bench.start("web", *SLEEP, instances=3)
    del bench.events[:]
    bench.settle(bench.processes.restart(["web"]))
    moves = [event.name for event in bench.events if getattr(event, "state", None) in {"stopping", "up"}]
    assert moves == ["web", "web", "web:2", "web:2", "web:3", "web:3"]


def test_a_restart_that_fails_leaves_the_other_instances_alone(bench: LoggingBench) -> None:
    flag = bench.home / "flag"
    flag.touch()
    bench.start("web", *SLEEP, instances=2, ready_command=ready_when(flag), ready_timeout=0.3)
    second = bench.info("web:2").pid
    flag.unlink()
    with pytest.raises(StartFailed, match="was not ready within"):
        bench.settle(bench.processes.restart(["web"]))
    assert bench.info("web:2").pid == second


def test_what_is_down_is_started_by_a_restart(bench: LoggingBench) -> None:
    bench.settle(bench.processes.run(bench.configure("web", *SLEEP)))
    bench.stop("web")
    (info,) = bench.settle(bench.processes.restart(["web"]))
    assert info.state is ProcessState.UP


def test_a_start_while_it_is_being_stopped_follows_the_stop_and_both_are_answered(bench: LoggingBench) -> None:
    before = bench.start("nap", *SLEEP)
    stopping = bench.processes.stop(["nap"])
    starting = bench.processes.begin("nap")
    assert bench.settle(stopping) == ["nap"]
    after = bench.settle(starting)
    assert (after.state, after.wanted, after.pid != before.pid) == (ProcessState.UP, True, True)


def test_a_restart_of_what_is_down_starts_what_it_requires(bench: LoggingBench) -> None:
    bench.processes.define(bench.configure("db", *SLEEP))
    bench.processes.define(bench.configure("web", *SLEEP, requires=("db",)))
    bench.settle(bench.processes.restart(["web"]))
    assert bench.info("db").state is ProcessState.UP


def test_nothing_is_started_any_more_while_the_daemon_stops(bench: LoggingBench) -> None:
    bench.start("nap", *SLEEP)
    closing = bench.processes.close(DEADLINE)
    for late in (
        lambda: bench.processes.begin("nap"),
        lambda: bench.settle(bench.processes.restart(["nap"])),
        lambda: bench.processes.scale("nap", 2),
    ):
        with pytest.raises(ShuttingDown):
            late()
    bench.settle(closing)


# --- what the configuration has ----------------------------------------------------------------------------------


def test_a_configured_process_that_is_stopped_is_still_known_and_can_be_started(bench: LoggingBench) -> None:
    bench.settle(bench.processes.run(bench.configure("web", *SLEEP)))
    bench.stop("web")
    info = bench.info("web")
    assert (info.state, info.wanted, info.configured) == (ProcessState.DOWN, False, True)
    assert bench.settle(bench.processes.begin("web")).state is ProcessState.UP


def test_a_configured_process_that_cannot_be_started_stays_with_the_reason(bench: LoggingBench) -> None:
    with pytest.raises(StartFailed, match="no program no-such"):
        bench.settle(bench.processes.run(bench.configure("web", "no-such")))
    info = bench.info("web")
    assert (info.state, info.wanted) == (ProcessState.FATAL, False)
    assert "there is no program no-such on PATH" in info.reason


def test_a_configured_process_that_is_not_ready_at_first_is_tried_again(bench: LoggingBench) -> None:
    flag = bench.home / "flag"
    argv = shell(f"test -e {flag} || {{ touch {flag}; exit 1; }}; exec sleep 1000")
    with pytest.raises(StartFailed, match="before it was ready"):
        bench.settle(bench.processes.run(bench.configure("web", *argv, ready_command=ready_when(flag))))
    bench.until_state("web", ProcessState.UP)


def test_the_name_of_a_configured_process_is_taken_while_it_is_down(bench: LoggingBench) -> None:
    bench.processes.define(bench.configure("web", *SLEEP))
    with pytest.raises(NameTaken, match="in the configuration, and it is down") as caught:
        bench.start("web", "true")
    assert "stoker start web" in caught.value.hint


def test_a_change_of_policy_touches_no_process_and_one_of_the_program_starts_it_again(bench: LoggingBench) -> None:
    before = bench.settle(bench.processes.run(bench.configure("web", *SLEEP)))
    assert bench.settle(bench.processes.change(bench.configure("web", *SLEEP, grace=1.0, fatal_codes=(3,)))) is False
    assert bench.info("web").pid == before.pid
    assert bench.settle(bench.processes.change(bench.configure("web", "sleep", "999"))) is True
    after = bench.info("web")
    assert (after.pid != before.pid, after.argv) == (True, ("sleep", "999"))


def test_a_change_of_what_is_down_starts_nothing(bench: LoggingBench) -> None:
    bench.settle(bench.processes.run(bench.configure("web", *SLEEP)))
    bench.stop("web")
    assert bench.settle(bench.processes.change(bench.configure("web", "sleep", "999", instances=2))) is False
    assert [info.state for info in bench.processes.info()] == [ProcessState.DOWN] * 2
    bench.settle(bench.processes.begin("web"))
    assert [(info.name, info.argv[1]) for info in bench.processes.info()] == [("web", "999"), ("web:2", "999")]


# --- dependencies ------------------------------------------------------------------------------------------------


def until_order(bench: LoggingBench, state: ProcessState) -> list[str]:
    return [event.name for event in bench.events if getattr(event, "state", None) is state]


def test_a_process_is_started_when_those_that_it_comes_after_are_ready(bench: LoggingBench) -> None:
    flag = bench.home / "flag"
    first = bench.processes.run(bench.configure("db", *SLEEP, ready_command=ready_when(flag)))
    second = bench.processes.run(bench.configure("web", *SLEEP, after=("db",)))
    info = bench.info("web")
    assert (info.state, info.wanted, info.reason) == (ProcessState.WAITING, True, "waits for db")
    flag.touch()
    bench.settle(first)
    assert bench.settle(second).state is ProcessState.UP
    assert until_order(bench, ProcessState.UP) == ["db", "web"]


def test_what_only_comes_after_one_that_fails_is_started_all_the_same(bench: LoggingBench) -> None:
    bench.processes.run(bench.configure("db", "no-such"))
    assert bench.settle(bench.processes.run(bench.configure("web", *SLEEP, after=("db",)))).state is ProcessState.UP
    assert bench.info("db").state is ProcessState.FATAL


def test_what_requires_one_that_fails_fails_with_the_reason(bench: LoggingBench) -> None:
    bench.processes.run(bench.configure("db", "no-such"))
    with pytest.raises(StartFailed, match="process 'web' requires db: process 'db' could not be started"):
        bench.settle(bench.processes.run(bench.configure("web", *SLEEP, requires=("db",))))
    assert bench.info("web").state is ProcessState.FATAL


def test_what_is_required_is_waited_for_through_its_restarts(bench: LoggingBench) -> None:
    flag = bench.home / "flag"
    argv = shell(f"test -e {flag} || {{ touch {flag}; exit 1; }}; exec sleep 1000")
    bench.processes.run(bench.configure("db", *argv, ready_command=ready_when(flag)))
    web = bench.settle(bench.processes.run(bench.configure("web", *SLEEP, requires=("db",))))
    assert (web.state, bench.info("db").restarts) == (ProcessState.UP, 1)


def test_a_start_starts_what_is_required(bench: LoggingBench) -> None:
    bench.processes.define(bench.configure("db", *SLEEP))
    bench.processes.define(bench.configure("web", *SLEEP, requires=("db",)))
    bench.settle(bench.processes.begin("web"))
    assert until_order(bench, ProcessState.UP) == ["db", "web"]


def test_a_stop_stops_first_what_requires_it(bench: LoggingBench) -> None:
    for name, requires in (("db", ()), ("web", ("db",)), ("proxy", ("web",)), ("other", ())):
        bench.settle(bench.processes.run(bench.configure(name, *SLEEP, requires=requires)))
    assert sorted(bench.stop("db")) == ["db", "proxy", "web"]
    downs = [event.name for event in bench.events if getattr(event, "state", None) is ProcessState.DOWN]
    assert downs == ["proxy", "web", "db"]
    assert bench.info("other").state is ProcessState.UP


def test_closing_stops_in_the_reverse_order(bench: LoggingBench) -> None:
    for name, after in (("a", ()), ("b", ("a",)), ("c", ("b",))):
        bench.settle(bench.processes.run(bench.configure(name, *SLEEP, after=after)))
    bench.settle(bench.processes.close(DEADLINE))
    downs = [event.name for event in bench.events if getattr(event, "state", None) is ProcessState.DOWN]
    assert downs == ["c", "b", "a"]


def test_one_that_waits_can_be_stopped(bench: LoggingBench) -> None:
    bench.processes.run(bench.configure("db", *SLEEP, ready="notify"))
    waiting = bench.processes.run(bench.configure("web", *SLEEP, requires=("db",)))
    assert bench.stop("web") == ["web"]
    with pytest.raises(StartFailed, match="stopped before it was up"):
        bench.settle(waiting)
    assert bench.stop("db") == ["db"]
    assert bench.info("web").state is ProcessState.DOWN


def test_a_dependency_that_there_is_not_and_a_circle_are_refused(bench: LoggingBench) -> None:
    with pytest.raises(InvalidParams, match="there is no process 'bd' that 'web' could wait for"):
        bench.start("web", *SLEEP, requires=("bd",))
    with pytest.raises(InvalidParams, match="wait for each other: web → web"):
        bench.start("web", *SLEEP, after=("web",))
    assert bench.processes.info() == []


# --- instances ---------------------------------------------------------------------------------------------------


def test_instances_have_names_numbers_and_arguments_of_their_own(bench: LoggingBench) -> None:
    argv = shell("echo $STOKER_PROCESS $STOKER_INSTANCE $0; exec sleep 1000")
    bench.start("web", *argv, "port=800{instance}", instances=3)
    infos = bench.processes.info()
    assert [(info.name, info.group, info.instance) for info in infos] == [
        ("web", "web", 1),
        ("web:2", "web", 2),
        ("web:3", "web", 3),
    ]
    assert bench.until_written("web:2", "\n") == "web 2 port=8002\n"
    assert bench.until_written("web:1", "\n") == "web 1 port=8001\n"


def test_a_process_grows_and_shrinks_and_those_that_stay_are_not_touched(bench: LoggingBench) -> None:
    first = bench.start("web", *SLEEP).pid
    bench.settle(bench.processes.scale("web", 3))
    grown = {info.name: info.pid for info in bench.processes.info()}
    assert (grown["web"], set(grown)) == (first, {"web", "web:2", "web:3"})
    bench.settle(bench.processes.scale("web", 2))
    assert {info.name: info.pid for info in bench.processes.info()} == {"web": first, "web:2": grown["web:2"]}
    assert not Path(f"/proc/{grown['web:3']}").exists()


def test_one_instance_is_stopped_and_started_by_its_own_name(bench: LoggingBench) -> None:
    bench.settle(bench.processes.run(bench.configure("web", *SLEEP, instances=2)))
    assert bench.stop("web:2") == ["web:2"]
    assert [info.state for info in bench.processes.info()] == [ProcessState.UP, ProcessState.DOWN]
    bench.settle(bench.processes.begin("web:2"))
    assert bench.stop("web") == ["web", "web:2"]


def test_a_start_of_several_of_which_one_fails_leaves_none(bench: LoggingBench) -> None:
    with pytest.raises(StartFailed):
        bench.start("web", *shell("test $STOKER_INSTANCE = 2 && exit 1; exec sleep 1000"), instances=3, ready_command=(
            "sh", "-c", "test $STOKER_INSTANCE != 2"))  # fmt: skip
    assert bench.processes.info() == []


def test_a_name_that_looks_like_an_instance_is_refused_and_one_in_the_way_is_told(bench: LoggingBench) -> None:
    with pytest.raises(InvalidParams, match="name of an instance"):
        bench.start("web:2", *SLEEP)
    owned = Settings(name="web:2", argv=SLEEP, cwd=str(bench.home), owner="s", keep=Keeping(restart="never"))
    bench.settle(bench.processes.run(owned))
    bench.start("web", *SLEEP)
    with pytest.raises(NameTaken, match="'web:2' already"):
        bench.settle(bench.processes.scale("web", 2))
    with pytest.raises(NoSuchProcess):
        bench.processes.scale("wbe", 2)


# --- rights ------------------------------------------------------------------------------------------------------


def test_limits_niceness_and_cores_are_what_was_asked_for(bench: LoggingBench) -> None:
    core = min(os.sched_getaffinity(0))
    code = (
        "import os, resource as r; print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CORE),"
        " os.getpriority(0, 0), os.sched_getaffinity(0))"
    )
    limits = {"nofile": 77, "core": 0}
    bench.start("look", PYTHON, "-c", code, rlimits=limits, nice=7, cpus=(core,), restart="never")
    bench.until_state("look", ProcessState.DOWN)
    assert bench.written("look") == f"(77, 77) (0, 0) 7 {{{core}}}\n"


def test_a_core_that_there_is_not_fails_the_start(bench: LoggingBench) -> None:
    with pytest.raises(StartFailed, match="cannot pin to the cores"):
        bench.start("look", *SLEEP, cpus=(60_000,))


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"user": "no-such-user"}, "there is no user 'no-such-user'"),
        ({"group": "no-such"}, "there is no group 'no-such'"),
    ],
)
def test_a_user_or_group_that_there_is_not_fails_the_start(
    bench: LoggingBench, keep: dict[str, str], message: str
) -> None:
    with pytest.raises(StartFailed, match=message):
        bench.start("look", *SLEEP, **keep)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the user")
def test_a_process_runs_as_another_user_with_its_groups_and_home(bench: LoggingBench) -> None:
    script = "id -u; id -g; id -G; echo $USER $HOME; echo reopened > /dev/stdout"
    bench.start("nobody", *shell(script), cwd="/", user="nobody", restart="never")
    bench.until_state("nobody", ProcessState.DOWN)
    nobody = pwd.getpwnam("nobody")
    groups = " ".join(map(str, os.getgrouplist("nobody", nobody.pw_gid)))
    home = f"nobody {nobody.pw_dir}"
    assert bench.written("nobody").splitlines() == [
        str(nobody.pw_uid),
        str(nobody.pw_gid),
        groups,
        home,
        "reopened",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the user")
def test_a_process_of_another_user_dies_with_its_forkserver_all_the_same(bench: LoggingBench) -> None:
    pid = bench.start("nobody", *SLEEP, cwd="/", user="nobody", restart="never").pid
    assert pid is not None
    os.kill(int(Path(f"/proc/{pid}/stat").read_text().split()[3]), signal.SIGKILL)
    assert wait_gone(pid)


# --- logs --------------------------------------------------------------------------------------------------------


def logged(bench: LoggingBench, name: str) -> str:
    """What its log files hold, the oldest first, once all has been written."""
    bench.settle(bench.processes.close(DEADLINE))
    files = sorted(bench.logs.glob(f"{name}*"), key=lambda path: path.name, reverse=True)
    return "".join(path.read_text() for path in files)


def test_what_a_process_writes_is_in_its_log_files_over_all_of_its_runs(bench: LoggingBench) -> None:
    info = bench.start("talk", *shell("echo out; echo err >&2; exit 1"), flap_ends=2)
    assert info.log == str(bench.logs / "talk.stdout.log")
    bench.until_state("talk", ProcessState.FLAPPING)
    assert logged(bench, "talk.stdout") == "out\nout\n"
    assert (bench.logs / "talk.stderr.log").read_text() == "err\nerr\n"
    assert (bench.logs / "talk.stdout.log").stat().st_mode & 0o777 == 0o600


def test_log_files_are_bounded_in_size_and_number(bench: LoggingBench) -> None:
    argv = shell("seq 1 3000")
    bench.start("count", *argv, restart="never", log_bytes=4096, log_files=3)
    bench.until_state("count", ProcessState.DOWN)
    kept = logged(bench, "count.stdout")
    sizes = {path.name: path.stat().st_size for path in bench.logs.glob("count.stdout*")}
    assert set(sizes) == {"count.stdout.log", "count.stdout.log.1", "count.stdout.log.2"}
    assert all(size <= 4096 for size in sizes.values())
    assert "".join(f"{n}\n" for n in range(1, 3001)).endswith(kept)


def test_without_log_files_there_are_none(bench: LoggingBench) -> None:
    assert bench.start("mute", *shell("echo hello"), restart="never", log_files=0).log == ""
    bench.until_state("mute", ProcessState.DOWN)
    assert bench.written("mute") == "hello\n"
    assert not bench.logs.exists()


def test_a_disk_that_takes_nothing_costs_the_process_nothing_and_is_counted(bench: LoggingBench) -> None:
    bench.logs.write_text("a file where the folder should be")
    bench.start("talk", *shell("echo hello"), restart="never")
    bench.until_state("talk", ProcessState.DOWN)
    assert bench.written("talk") == "hello\n"
    assert bench.processes._logs is not None
    bench.processes._logs.close(DEADLINE)
    assert bench.info("talk").log_dropped == 6


def test_what_is_kept_and_logged_is_changed_while_it_runs(bench: LoggingBench) -> None:
    fifo = bench.home / "fifo"
    os.mkfifo(fifo)
    argv = shell(f"exec cat 0<>{fifo}")
    before = bench.settle(bench.processes.run(bench.configure("echo", *argv)))
    with fifo.open("w") as speaker:
        speaker.write("one\n")
        speaker.flush()
        bench.until_written("echo", "one\n")
        assert (
            bench.settle(bench.processes.change(bench.configure("echo", *argv, log_files=0, keep_bytes=4096))) is False
        )
        speaker.write("two\n" * 10_000)
        speaker.flush()
        while bench.info("echo").written < 40_004:
            news = bench.loop.create_future()
            bench.processes.when_news("echo", partial(news.set_result, None))
            bench.wait(news)
    info = bench.info("echo")
    assert (info.pid, info.log, info.dropped) == (before.pid, "", 40_004 - 4096)
    assert logged(bench, "echo.stdout") == "one\n"


def test_what_is_not_kept_in_memory_is_counted(bench: LoggingBench) -> None:
    bench.start("flood", *shell("head -c 50000 /dev/zero"), restart="never", keep_bytes=4096, log_files=0)
    bench.until_state("flood", ProcessState.DOWN)
    info = bench.info("flood")
    assert (info.written, info.dropped) == (50_000, 50_000 - 4096)
