"""Forkservers with real interpreters, real forks and real signals."""

from __future__ import annotations

import glob
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.forking import DEADLINE, Forking, Running, limit_that_leaves, open_descriptors, own_children, wait_gone

from stoker.errors import ShuttingDown, Unavailable
from stoker.protocol.events import ForkserverEnded, ForkserverStarted
from stoker.protocol.models import Environment
from stokerd.child import Exit

TARGETS = """
    import json, os, signal, subprocess, sys, time

    def tell(handles, value):
        handles.channel.sendall(json.dumps(value).encode())

    def nothing(args, handles):
        pass

    def leave(args, handles):
        sys.exit(args["code"])

    def fail(args, handles):
        raise ValueError("as asked")

    def die(args, handles):
        os.kill(os.getpid(), args["signum"])
        time.sleep(1000)

    def sleep(args, handles):
        if handles.channel:
            tell(handles, os.getpid())
        time.sleep(1000)

    def describe(args, handles):
        import multiprocessing
        tell(handles, {
            "args": args,
            "cwd": os.getcwd(), "path": sys.path, "env": dict(os.environ), "version": sys.version_info[:2],
            "executable": sys.executable, "sid": os.getsid(0), "pgid": os.getpgid(0), "ppid": os.getppid(),
            "comm": open("/proc/self/comm").read().strip(), "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "cpus": sorted(os.sched_getaffinity(0)), "files": [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)],
            "fds": len(os.listdir("/proc/self/fd")) - 1,
            "default": [signal.getsignal(s) is signal.SIG_DFL for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)],
            "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "main": sys.modules["__main__"].__dict__.get("__file__"), "argv": sys.argv,
            "name": multiprocessing.current_process().name, "limit": __import__("resource").getrlimit(7),
        })

    def family(args, handles):
        keep = subprocess.Popen(["sleep", "1000"], stdout=sys.stdout, stderr=sys.stderr, close_fds=False,
                                start_new_session=args.get("wander", False))
        tell(handles, keep.pid)
        if args.get("stay"):
            time.sleep(1000)

    def double(args, handles):
        value = int.from_bytes(handles.page[:8], "little")
        handles.page[:8] = (2 * value).to_bytes(8, "little")

    def write(args, handles):
        print("to stdout")
        print("to stderr", file=sys.stderr)

    def pack(args, handles):
        from stokerd.forkserver.borrowed import borrow
        msgpack = borrow("msgpack")
        tell(handles, [msgpack.unpackb(msgpack.packb({"a": [1, 2.5, b"x".hex()]})), sys.path, sys.version_info[:2]])
"""


@pytest.fixture
def forking(tmp_path: Path) -> Iterator[Forking]:
    bench = Forking(tmp_path)
    bench.write(TARGETS)
    yield bench
    bench.close()
    assert own_children() == set()


def describe(forking: Forking, environment: Environment | None = None, **spec: Any) -> dict[str, Any]:
    running = forking.fork("describe", environment, channel=True, **spec)
    assert forking.wait(running.ended) == Exit(code=0)
    told: dict[str, Any] = json.loads(forking.until_readable(running))
    return told


def number(forking: Forking, running: Running) -> int:
    return int(forking.until_readable(running))


def forkserver_pid(forking: Forking) -> int:
    (started,) = [event for event in forking.events if isinstance(event, ForkserverStarted)][-1:]
    return started.pid


def has_ended(forking: Forking, times: int) -> bool:
    return sum(isinstance(event, ForkserverEnded) for event in forking.events) == times


# --- how a child ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 125, 255])
def test_an_exit_code_is_reported_exactly(forking: Forking, code: int) -> None:
    how, _ = forking.exit("leave", args={"code": code})
    assert how == Exit(code=code)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGUSR1, signal.SIGSEGV])
def test_the_signal_that_ended_a_child_is_reported_exactly(forking: Forking, signum: int) -> None:
    how, _ = forking.exit("die", args={"signum": signum})
    assert how == Exit(code=-signum)


def test_an_exception_ends_a_child_with_code_1_and_its_traceback_on_stderr(forking: Forking) -> None:
    how, running = forking.exit("fail", capture=True)
    assert how == Exit(code=1)
    assert "ValueError: as asked" in running.read(1)


def test_start_is_told_before_end_and_each_once(forking: Forking) -> None:
    children = [forking.exit("nothing")[1] for _ in range(3)]
    forking.drain()
    assert [running.told for running in children] == [["started", "ended"]] * 3


def test_nothing_is_told_from_within_the_call(forking: Forking) -> None:
    running = forking.fork("nothing")
    assert running.told == []
    assert running.child.pid is None
    forking.wait(running.ended)


def test_a_target_that_does_not_exist_is_an_error_and_not_an_exit_code(forking: Forking) -> None:
    how, _ = forking.exit("nosuch")
    assert how.code is None
    assert "nosuch" in how.error


def test_many_children_that_fail_to_start_at_once_are_all_answered(forking: Forking) -> None:
    children = [forking.fork("nosuch") for _ in range(60)]
    assert all(forking.wait(running.ended).code is None for running in children)


# --- the rest of its group --------------------------------------------------------------------------------------------


def test_a_grandchild_that_holds_descriptors_does_not_delay_the_report_and_is_killed(forking: Forking) -> None:
    running = forking.fork("family", channel=True, capture=True)
    grandchild = number(forking, running)
    assert forking.wait(running.ended) == Exit(code=0)
    assert wait_gone(grandchild)


def test_a_killed_child_takes_its_group_with_it(forking: Forking) -> None:
    running = forking.fork("family", args={"stay": True}, channel=True)
    grandchild = number(forking, running)
    assert running.child.signal(signal.SIGKILL, group=False)
    assert forking.wait(running.ended) == Exit(code=-9)
    assert wait_gone(grandchild)


def test_a_grandchild_that_left_the_group_ends_with_the_forkserver(forking: Forking) -> None:
    running = forking.fork("family", args={"wander": True}, channel=True)
    grandchild = number(forking, running)
    forking.wait(running.ended)
    os.kill(grandchild, 0)
    forking.settle(forking.servers.close(DEADLINE))
    assert wait_gone(grandchild)


# --- signals ----------------------------------------------------------------------------------------------------------


def test_a_signal_reaches_the_whole_group(forking: Forking) -> None:
    running = forking.fork("family", args={"stay": True}, channel=True)
    grandchild = number(forking, running)
    assert running.child.signal(signal.SIGTERM)
    assert forking.wait(running.ended) == Exit(code=-signal.SIGTERM)
    assert wait_gone(grandchild)


def test_a_signal_that_is_asked_for_before_the_fork_is_sent_after_it(forking: Forking) -> None:
    running = forking.fork("sleep")
    assert running.child.signal(signal.SIGTERM)
    assert forking.wait(running.ended) == Exit(code=-signal.SIGTERM)


def test_a_signal_at_the_moment_of_the_fork_ends_the_child_and_not_the_forkserver(forking: Forking) -> None:
    forking.exit("nothing")
    children = [forking.fork("sleep") for _ in range(40)]
    for running in children:
        running.child.signal(signal.SIGTERM)
    assert {forking.wait(running.ended).code for running in children} == {-signal.SIGTERM}
    assert not [event for event in forking.events if isinstance(event, ForkserverEnded)]


def test_a_signal_to_what_has_ended_says_so(forking: Forking) -> None:
    _, running = forking.exit("nothing")
    assert running.child.signal(signal.SIGTERM) is False


def test_children_have_default_signals_whatever_the_daemon_ignores(tmp_path: Path) -> None:
    old = [signal.signal(signum, signal.SIG_IGN) for signum in (signal.SIGINT, signal.SIGHUP)]
    try:
        forking = Forking(tmp_path)
        forking.write(TARGETS)
        told = describe(forking)
        forking.close()
    finally:
        signal.signal(signal.SIGINT, old[0])
        signal.signal(signal.SIGHUP, old[1])
    assert all(told["default"])
    assert told["interrupt"]
    assert told["blocked"] == []


# --- what a child has -------------------------------------------------------------------------------------------------


def test_a_child_is_where_it_was_asked_to_be(forking: Forking, monkeypatch: pytest.MonkeyPatch) -> None:
    for private in ("NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "WATCHDOG_USEC"):
        monkeypatch.setenv(private, "the daemon's")
    monkeypatch.setenv("LAID_OVER", "below")
    monkeypatch.setenv("INHERITED", "yes")
    path = (str(forking.home), "/nowhere", *sys.path[1:])
    elsewhere = forking.home / "elsewhere"
    elsewhere.mkdir()
    environment = Environment(
        executable=sys.executable, cwd=str(elsewhere), path=path, env={"LAID_OVER": "above", "LISTEN_FDS": "mine"}
    )
    told = describe(forking, environment, args={"a": [1, "é", None]})
    assert told["args"] == {"a": [1, "é", None]}
    assert told["cwd"] == str(elsewhere)
    assert told["path"] == list(path)
    assert told["executable"] == sys.executable
    env = told["env"]
    assert (env["LAID_OVER"], env["INHERITED"], env["LISTEN_FDS"]) == ("above", "yes", "mine")
    assert not {"NOTIFY_SOCKET", "LISTEN_PID", "WATCHDOG_USEC"} & set(env)


def test_without_a_path_the_working_directory_comes_before_the_interpreters_own(forking: Forking) -> None:
    command = [sys.executable, "-c", "import sys, json; print(json.dumps(sys.path[1:]))"]
    own = json.loads(subprocess.run(command, capture_output=True, check=True, cwd=forking.home).stdout)
    assert describe(forking)["path"] == [str(forking.home), *own]


def test_a_child_leads_a_session_of_its_own_outside_the_daemons(forking: Forking) -> None:
    told = describe(forking)
    pid = forking.running[-1].child.pid
    assert told["sid"] == told["pgid"] == pid
    assert told["ppid"] == forkserver_pid(forking)
    assert os.getsid(forkserver_pid(forking)) == forkserver_pid(forking) != os.getsid(0)


def test_a_child_sees_nothing_of_the_forkservers_main_module(forking: Forking) -> None:
    told = describe(forking, name="a rather long name")
    assert told["main"] is None
    assert told["argv"] == ["a rather long name"]
    assert told["name"] == "a rather long name"
    assert told["comm"] == "a rather long n"


def test_a_child_has_no_descriptors_but_its_own(forking: Forking) -> None:
    others = [forking.fork("sleep", channel=True, page_bytes=4096, capture=True) for _ in range(5)]
    for running in others:
        forking.until_readable(running)
    assert describe(forking)["fds"] == 3 + 1 + 1  # its streams, its channel, multiprocessing's sentinel of the parent
    assert describe(forking)["files"] == [os.devnull] * 3


def test_a_child_has_the_limit_of_open_files_that_its_daemon_has(forking: Forking) -> None:
    assert describe(forking)["limit"] == list(resource.getrlimit(resource.RLIMIT_NOFILE))


def test_a_page_is_shared_both_ways(forking: Forking) -> None:
    running = forking.fork("double", page_bytes=4096)
    page = running.child.page
    assert page is not None
    page[:8] = (21).to_bytes(8, "little")
    assert forking.wait(running.ended) == Exit(code=0)
    assert int.from_bytes(page[:8], "little") == 42


def test_output_is_captured_per_stream(forking: Forking) -> None:
    _, running = forking.exit("write", capture=True)
    assert running.read(0) == "to stdout\n"
    assert running.read(1) == "to stderr\n"


def test_output_can_be_captured_by_pipes(forking: Forking) -> None:
    _, running = forking.exit("write", pipes=True)
    assert running.child.output is not None
    assert [os.read(fd, 100) for fd in running.child.output] == [b"to stdout\n", b"to stderr\n"]
    assert [os.read(fd, 100) for fd in running.child.output] == [b"", b""]


def test_the_end_of_a_child_is_the_end_of_its_channel(forking: Forking) -> None:
    _, running = forking.exit("nothing", channel=True)
    assert forking.until_readable(running) == b""


def test_niceness_and_cores_are_as_asked(forking: Forking) -> None:
    core = max(os.sched_getaffinity(0))
    told = describe(forking, nice=7, cpus=(core,))
    assert told["nice"] == 7
    assert told["cpus"] == [core]


def test_a_core_that_does_not_exist_is_an_error(forking: Forking) -> None:
    how, _ = forking.exit("nothing", cpus=(1000,))
    assert how.code is None
    assert "cannot pin to the cores [1000]" in how.error


def test_an_order_longer_than_a_packet_arrives(forking: Forking) -> None:
    running = forking.fork("describe", args={"long": "x" * 500_000}, channel=True)
    data = b""
    while len(data) < 500_000:
        data += forking.until_readable(running)
    assert forking.wait(running.ended) == Exit(code=0)
    assert b"x" * 500_000 in data


# --- environments -----------------------------------------------------------------------------------------------------


def other_interpreters() -> list[str]:
    """Pythons of other versions that Stoker supports, on the PATH or where pyenv keeps them."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python3.{minor}") for minor in range(11, 16)]
    candidates += sorted(glob.glob(str(pyenv / "versions" / "3.*" / "bin" / "python3")))  # noqa: PTH207
    found: dict[tuple[int, int], str] = {}
    for candidate in candidates:
        version = candidate and _version(candidate)
        if candidate and version and version >= (3, 11) and version != sys.version_info[:2]:
            found[version] = candidate
    return list(found.values())


def _version(executable: str) -> tuple[int, int] | None:
    command = [executable, "-c", "import sys; print(*sys.version_info[:2])"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return tuple(map(int, result.stdout.split())) if result.returncode == 0 else None  # type: ignore[return-value]


def test_another_interpreter_gets_its_own_version_and_a_borrowed_msgpack(forking: Forking) -> None:
    others = other_interpreters()
    if not others:
        pytest.skip("no other Python >= 3.11 on the PATH or in pyenv")
    for executable in others:
        # env: what the tests were started with must not put the daemon's own packages on the other one's path
        environment = Environment(executable=executable, cwd=str(forking.home), env={"PYTHONPATH": ""})
        how, running = forking.exit("pack", environment, channel=True, capture=True)
        assert how == Exit(code=0), running.read(1)
        value, path, version = json.loads(forking.until_readable(running))
        assert value == {"a": [1, 2.5, "78"]}
        assert tuple(version) == _version(executable)
        assert not [entry for entry in path if "stokerd" in entry or "forkserver" in entry or "msgpack" in entry]


def test_files_named_like_standard_modules_do_not_break_the_forkserver(forking: Forking) -> None:
    for module in ("json", "socket", "signal", "multiprocessing", "resource", "handles"):
        forking.write("raise RuntimeError('shadowed')", module=module)
    how, _ = forking.exit("nothing", capture=True)
    assert how == Exit(code=0)


def test_equal_environments_share_a_forkserver_and_others_do_not(forking: Forking) -> None:
    other = Environment(executable=sys.executable, cwd=str(forking.home), env={"A": "1"})
    for environment in (forking.environment, other, forking.environment, other):
        forking.exit("nothing", environment)
    started = [event.environment for event in forking.events if isinstance(event, ForkserverStarted)]
    assert started == [forking.environment.key, other.key]


# --- what bad environments get ----------------------------------------------------------------------------------------


def test_a_missing_interpreter_fails_every_order_and_says_which(forking: Forking) -> None:
    environment = Environment(executable="/no/such/python", cwd=str(forking.home))
    children = [forking.fork("nothing", environment) for _ in range(3)]
    for running in children:
        how = forking.wait(running.ended)
        assert how == Exit(code=None, error="cannot execute the interpreter /no/such/python: No such file or directory")
        assert running.told == ["ended"]


def test_a_missing_working_directory_says_which(forking: Forking) -> None:
    how, _ = forking.exit("nothing", Environment(executable=sys.executable, cwd="/no/such/directory"))
    assert how.error == "cannot enter the working directory /no/such/directory: No such file or directory"


def test_a_program_that_is_not_python_fails_the_order(forking: Forking) -> None:
    how, _ = forking.exit("nothing", Environment(executable="/bin/true", cwd=str(forking.home)))
    assert how.code is None
    assert "/bin/true does not work as an interpreter: it ended with exit code 0" in how.error


def test_what_a_broken_interpreter_writes_to_stderr_is_in_the_error(forking: Forking) -> None:
    script = forking.home / "broken"
    script.write_text("#!/bin/sh\nhead -c 100000 /dev/zero | tr '\\0' x >&2\necho the last words >&2\nexit 7\n")
    script.chmod(0o755)
    how, _ = forking.exit("nothing", Environment(executable=str(script), cwd=str(forking.home)))
    assert "exit code 7" in how.error
    assert how.error.endswith("the last words")
    assert len(how.error) < 5000


def test_an_interpreter_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    forking = Forking(tmp_path, start_seconds=0.2)
    script = tmp_path / "slow"
    script.write_text("#!/bin/sh\nexec sleep 1000\n")
    script.chmod(0o755)
    how, _ = forking.exit("nothing", Environment(executable=str(script), cwd=str(tmp_path)))
    assert how.code is None
    assert "was not ready within 0.2 s" in how.error
    forking.close()


def test_an_environment_with_a_null_character_is_an_error(forking: Forking) -> None:
    how, _ = forking.exit("nothing", Environment(executable=sys.executable, cwd=str(forking.home), env={"A": "\0"}))
    assert how.code is None
    assert "null" in how.error


# --- when forking fails -----------------------------------------------------------------------------------------------


def test_a_failed_fork_is_reported_and_the_forkserver_lives_on(forking: Forking) -> None:
    forking.write(
        """
        import os
        real = os.fork
        def fork():
            if os.path.exists("no-more"):
                raise BlockingIOError(11, "Resource temporarily unavailable")
            return real()
        os.fork = fork
        """,
        module="sitecustomize",
    )
    environment = Environment(executable=sys.executable, cwd=str(forking.home), env={"PYTHONPATH": str(forking.home)})
    assert forking.exit("nothing", environment)[0] == Exit(code=0)
    server = forkserver_pid(forking)
    before = open_descriptors(server)
    (forking.home / "no-more").touch()
    for _ in range(10):
        how, running = forking.exit("nothing", environment, channel=True, page_bytes=4096, capture=True)
        assert how.code is None
        assert "cannot fork: BlockingIOError" in how.error
        assert running.told == ["ended"]
    (forking.home / "no-more").unlink()
    assert forking.exit("nothing", environment)[0] == Exit(code=0)
    assert open_descriptors(server) == before


def test_a_forkserver_without_free_descriptors_refuses_and_recovers(forking: Forking) -> None:
    forking.exit("nothing")
    server = forkserver_pid(forking)
    before = open_descriptors(server)
    limits = resource.prlimit(server, resource.RLIMIT_NOFILE)
    for spare in range(5):
        resource.prlimit(server, resource.RLIMIT_NOFILE, (before + spare, limits[1]))
        how, _ = forking.exit("nothing", channel=True, page_bytes=4096, capture=True)
        assert how.code is None
    resource.prlimit(server, resource.RLIMIT_NOFILE, limits)
    assert forking.exit("nothing", channel=True, capture=True)[0] == Exit(code=0)
    assert open_descriptors(server) == before


def test_a_daemon_without_free_descriptors_refuses_and_leaks_nothing(forking: Forking) -> None:
    forking.exit("nothing")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = open_descriptors()
    for spare in range(4):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit_that_leaves(spare), limits[1]))
        try:
            with pytest.raises(Unavailable):
                forking.fork("nothing", channel=True, page_bytes=4096, capture=True, pipes=spare % 2 == 0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert open_descriptors() == before
    assert forking.exit("nothing")[0] == Exit(code=0)


# --- when a forkserver dies -------------------------------------------------------------------------------------------


def test_a_killed_forkserver_takes_its_children_and_each_is_reported_once(forking: Forking) -> None:
    families = [forking.fork("family", args={"stay": True}, channel=True) for _ in range(4)]
    grandchildren = [number(forking, running) for running in families]
    os.kill(forkserver_pid(forking), signal.SIGKILL)
    for running in families:
        assert forking.wait(running.ended) == Exit(code=-9)
        assert running.child.pid is not None
        assert wait_gone(running.child.pid)
    assert all(wait_gone(grandchild) for grandchild in grandchildren)
    forking.until(lambda: isinstance(forking.events[-1], ForkserverEnded))
    forking.drain()
    assert [running.told for running in families] == [["started", "ended"]] * 4
    ended = forking.events[-1]
    assert isinstance(ended, ForkserverEnded)
    assert "SIGKILL" in ended.reason
    assert forking.exit("nothing")[0] == Exit(code=0)


def test_orders_that_a_killed_forkserver_had_not_obeyed_are_answered(forking: Forking) -> None:
    forking.exit("nothing")
    server = forkserver_pid(forking)
    os.kill(server, signal.SIGSTOP)
    children = [forking.fork("nothing", channel=True, capture=True) for _ in range(500)]
    os.kill(server, signal.SIGKILL)
    for running in children:
        how = forking.wait(running.ended)
        assert how.code is None
        assert "SIGKILL" in how.error
    assert forking.exit("nothing")[0] == Exit(code=0)


def test_a_terminated_forkserver_reports_its_children_before_it_ends(forking: Forking) -> None:
    families = [forking.fork("family", args={"stay": True}, channel=True) for _ in range(3)]
    grandchildren = [number(forking, running) for running in families]
    os.kill(forkserver_pid(forking), signal.SIGTERM)
    assert [forking.wait(running.ended) for running in families] == [Exit(code=-9)] * 3
    assert all(wait_gone(grandchild) for grandchild in grandchildren)


# --- many, idle, closing ----------------------------------------------------------------------------------------------


def test_hundreds_of_children_leave_no_descriptor_and_no_zombie(forking: Forking) -> None:
    forking.exit("nothing")
    server = forkserver_pid(forking)
    here, there = open_descriptors(), open_descriptors(server)
    children = [forking.fork("nothing", channel=True, page_bytes=4096, capture=True) for _ in range(200)]
    assert {forking.wait(running.ended).code for running in children} == {0}
    assert len({running.child.pid for running in children}) == 200
    for running in children:
        running.release()
        forking.running.remove(running)
    assert open_descriptors() == here
    assert open_descriptors(server) == there
    assert forking.servers.pids() == {server}
    assert Path(f"/proc/{server}/task/{server}/children").read_text() == ""


def test_pids_are_the_forkservers_and_their_children(forking: Forking) -> None:
    children = [forking.fork("sleep", channel=True) for _ in range(3)]
    for running in children:
        forking.until_readable(running)
    forking.wait(children[-1].started)
    expected = {forkserver_pid(forking)} | {running.child.pid for running in children}
    assert forking.servers.pids() == expected
    assert forking.servers.alive() == 4


def test_an_idle_forkserver_is_retired_and_started_again_when_needed(tmp_path: Path) -> None:
    forking = Forking(tmp_path, idle_seconds=0.05)
    forking.write(TARGETS)
    for times in (1, 2):
        assert forking.exit("nothing")[0] == Exit(code=0)
        forking.until(partial(has_ended, forking, times))
    assert forking.servers.pids() == set()
    forking.close()


def test_a_forkserver_with_children_is_not_retired(tmp_path: Path) -> None:
    forking = Forking(tmp_path, idle_seconds=0.05, max_idle=0)
    forking.write(TARGETS)
    staying = forking.fork("sleep", channel=True)
    forking.until_readable(staying)
    other = Environment(executable=sys.executable, cwd=str(tmp_path), env={"A": "1"})
    forking.exit("nothing", other)
    forking.until(lambda: any(isinstance(event, ForkserverEnded) for event in forking.events))
    assert not staying.ended.done()
    forking.close()
    assert staying.told == ["started", "ended"]


def test_more_idle_forkservers_than_are_kept_retire_the_one_that_is_idle_longest(tmp_path: Path) -> None:
    forking = Forking(tmp_path, max_idle=1)
    forking.write(TARGETS)
    other = Environment(executable=sys.executable, cwd=str(tmp_path), env={"A": "1"})
    forking.exit("nothing")
    forking.exit("nothing", other)
    forking.until(lambda: any(isinstance(event, ForkserverEnded) for event in forking.events))
    (ended,) = [event for event in forking.events if isinstance(event, ForkserverEnded)]
    assert ended.environment == forking.environment.key
    assert len(forking.servers.pids()) == 1
    forking.close()


def test_a_retired_forkserver_outlives_what_its_children_left_behind(tmp_path: Path) -> None:
    forking = Forking(tmp_path, idle_seconds=0.01)
    forking.write(TARGETS)
    running = forking.fork("family", args={"wander": True}, channel=True)
    grandchild = number(forking, running)
    forking.wait(running.ended)
    replacement = [forking.exit("nothing") for _ in range(3)]
    assert [how for how, _ in replacement] == [Exit(code=0)] * 3
    os.kill(grandchild, 0)
    os.kill(grandchild, signal.SIGKILL)
    forking.until(lambda: any(isinstance(event, ForkserverEnded) for event in forking.events))
    forking.close()


def test_closing_ends_and_reaps_everything_and_refuses_what_comes_later(forking: Forking) -> None:
    staying = [forking.fork("sleep", channel=True) for _ in range(3)]
    for running in staying:
        forking.until_readable(running)
    forking.settle(forking.servers.close(DEADLINE))
    assert own_children() == set()
    forking.drain()
    assert [running.ended.result() for running in staying] == [Exit(code=-9)] * 3
    with pytest.raises(ShuttingDown):
        forking.fork("nothing")


def test_closing_while_an_interpreter_starts_answers_what_was_ordered(forking: Forking) -> None:
    running = forking.fork("nothing")
    forking.settle(forking.servers.close(DEADLINE))
    forking.drain()
    assert running.told in (["ended"], ["started", "ended"])


def test_closing_does_not_wait_for_a_stopped_forkserver_longer_than_the_grace(forking: Forking) -> None:
    running = forking.fork("sleep", channel=True)
    forking.until_readable(running)
    os.kill(forkserver_pid(forking), signal.SIGSTOP)
    forking.settle(forking.servers.close(0.2))
    forking.drain()
    assert running.ended.result() == Exit(code=-9)
    assert running.child.pid is not None
    assert wait_gone(running.child.pid)


def test_closing_without_forkservers_is_done_at_once(tmp_path: Path) -> None:
    forking = Forking(tmp_path)
    assert forking.servers.close(1.0).settled
    forking.close()
