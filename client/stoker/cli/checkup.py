"""What Stoker needs of a machine, looked at one by one: each check finds ok, warn or fail, and says what to do."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from stoker.cli import render
from stoker.errors import NobodyListening, StokerError

Verdict = Literal["ok", "warn", "fail"]

_PR_GET_PDEATHSIG = 2
_PR_SET_PDEATHSIG = 1
PATIENCE = 5.0


class Finding(NamedTuple):
    """What one check found.

    Args:
        name: what was looked at.
        verdict: ok; warn: works, with less; fail: does not work.
        found: one line.
        advice: what to do; empty where all is well.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine(socket: str | None) -> list[Finding]:
    """Every check, in order; one that breaks is a finding too.

    Args:
        socket: the endpoint that the user named, if any.
    """
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", _python),
        ("zmq", _zmq),
        ("packages", _packages),
        ("daemon", lambda: _daemon(socket)),
        ("directory", _directory),
        ("cores", _cores),
        ("shared memory", _shared_memory),
        ("pidfd", _pidfd),
        ("pdeathsig", _pdeathsig),
        ("niceness", _niceness),
        ("descriptors", _descriptors),
        ("processes", _processes),
        ("clock", _clock),
    ]
    return [_guarded(name, check) for name, check in checks]


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as why:
        return Finding(name, "fail", f"the check itself failed: {type(why).__name__}: {why}")


def _python() -> Finding:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    if sys.version_info < (3, 11):  # noqa: UP036 - somebody may run the source with an older one
        return Finding("python", "fail", found, "Stoker needs Python 3.11 or later")
    return Finding("python", "ok", found)


def _zmq() -> Finding:
    import zmq

    found = f"libzmq {zmq.zmq_version()}, pyzmq {zmq.pyzmq_version()}"
    if not zmq.has("ipc"):
        return Finding("zmq", "fail", f"{found}, without ipc", "install a pyzmq wheel that has ipc")
    if not zmq.has("curve"):
        return Finding("zmq", "warn", f"{found}, without CURVE", "tcp endpoints will not be possible")
    return Finding("zmq", "ok", found)


def _packages() -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    missing, found = [], []
    for name in ("msgpack", "msgspec", "structlog", "cloudpickle", "psutil", "rich"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(
            "packages", "fail", f"missing: {', '.join(missing)}", "install Stoker again, with its dependencies"
        )
    return Finding("packages", "ok", ", ".join(found))


def _daemon(socket: str | None) -> Finding:
    from stoker.cli.connecting import connect

    try:
        with connect(socket, start=False) as peer:
            begin = time.perf_counter()
            pong, _ = peer.call("ping", {}, timeout=PATIENCE)
            took = (time.perf_counter() - begin) * 1000
            where = peer.endpoint
    except NobodyListening as why:
        return Finding("daemon", "ok" if not socket else "warn", f"none runs: {why.message}", "`stoker up` starts one")
    except StokerError as why:
        return Finding("daemon", "fail", why.message, why.hint)
    return Finding("daemon", "ok", f"{pong['version']}, pid {pong['pid']}, answers in {took:.1f} ms at {where}")


def _directory() -> Finding:
    from stoker.protocol.endpoint import user_runtime_dir

    path = Path(user_runtime_dir(os.environ, os.getuid()))
    if not path.exists():
        parent = next(folder for folder in path.parents if folder.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return Finding("directory", "ok", f"{path} can be made")
        return Finding(
            "directory",
            "fail",
            f"{path} cannot be made: {parent} is not writable",
            "set XDG_RUNTIME_DIR or TMPDIR to a directory of yours",
        )
    facts = path.stat()
    mode = stat.S_IMODE(facts.st_mode)
    if facts.st_uid != os.getuid():
        return Finding(
            "directory",
            "fail",
            f"{path} belongs to user {facts.st_uid}",
            "remove it, or set XDG_RUNTIME_DIR to a directory of yours",
        )
    if mode & 0o077:
        return Finding(
            "directory", "fail", f"{path} has mode {mode:04o}: others can reach your daemon", f"chmod 700 {path}"
        )
    return Finding("directory", "ok", f"{path}, mode {mode:04o}")


def _cores() -> Finding:
    mine, all_of_them = sorted(os.sched_getaffinity(0)), os.cpu_count() or 1
    quota = _cgroup_cores()
    found = f"{len(mine)} of {all_of_them} cores ({render.cores(mine)})"
    if quota is None:
        return Finding("cores", "ok", f"{found}, no cgroup quota")
    found += f", cgroup quota of {quota:g} cores"
    if quota < len(mine):
        return Finding("cores", "warn", found, "loads and pools cannot get more than the quota")
    return Finding("cores", "ok", found)


def _cgroup_cores() -> float | None:
    """The tightest CPU quota on the way up from our cgroup (v2), in cores."""
    line = next((text for text in Path("/proc/self/cgroup").read_text().splitlines() if text.startswith("0::")), "")
    here, root = Path("/sys/fs/cgroup") / line.removeprefix("0::").lstrip("/"), Path("/sys/fs/cgroup")
    found: list[float] = []
    for folder in (here, *here.parents):
        if folder != root and root not in folder.parents:
            break
        file = folder / "cpu.max"
        if file.exists() and (words := file.read_text().split()) and words[0] != "max":
            found.append(int(words[0]) / int(words[1]))
    return min(found, default=None)


def _shared_memory() -> Finding:
    fd = os.memfd_create("stoker-doctor", os.MFD_CLOEXEC)
    os.close(fd)
    if not Path("/dev/shm").is_dir():  # noqa: S108 - looked at, not written to
        return Finding(
            "shared memory", "warn", "memfd works; there is no /dev/shm", "numpy and joblib like to have one"
        )
    room = os.statvfs("/dev/shm")  # noqa: S108 - likewise
    free = room.f_bavail * room.f_frsize
    found = f"memfd works; /dev/shm has {render.size(free)} free"
    if free < 64 * 1024 * 1024:
        return Finding("shared memory", "warn", found, "free some, or mount it with a larger size")
    return Finding("shared memory", "ok", found)


def _pidfd() -> Finding:
    try:
        fd = os.pidfd_open(os.getpid())
        signal.pidfd_send_signal(fd, 0)
    except (OSError, AttributeError) as why:
        return Finding(
            "pidfd",
            "fail",
            f"not possible: {why}",
            "Stoker needs Linux 5.3 or later, and no seccomp filter on pidfd_open",
        )
    os.close(fd)
    return Finding("pidfd", "ok", f"works (Linux {os.uname().release})")


def _pdeathsig() -> Finding:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    before = ctypes.c_int(0)
    works = (
        prctl(_PR_GET_PDEATHSIG, ctypes.byref(before), 0, 0, 0) == 0
        and prctl(_PR_SET_PDEATHSIG, before.value, 0, 0, 0) == 0
    )
    if not works:
        return Finding(
            "pdeathsig", "fail", os.strerror(ctypes.get_errno()), "without it children could outlive the daemon"
        )
    return Finding("pdeathsig", "ok", "works")


def _niceness() -> Finding:
    own = os.nice(0)
    lowest = (
        20 - resource.getrlimit(resource.RLIMIT_NICE)[0] if resource.getrlimit(resource.RLIMIT_NICE)[0] >= 0 else -20
    )
    if os.geteuid() == 0 or lowest < own:
        return Finding("niceness", "ok", f"we run at {own}; the daemon may favour itself over its load")
    return Finding(
        "niceness",
        "warn",
        f"we run at {own} and may not go lower",
        "the daemon keeps ahead of burners because these run at 10; the system service can do more",
    )


def _descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{_limit(soft)} open files, {_limit(hard)} at most"
    if hard != resource.RLIM_INFINITY and hard < 4096:
        return Finding("descriptors", "warn", found, "a worker takes some five of them: raise `ulimit -n`")
    return Finding("descriptors", "ok", found)


def _processes() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY and soft < 512:
        return Finding("processes", "warn", f"at most {soft} for this user", "raise `ulimit -u`")
    return Finding("processes", "ok", f"{_limit(soft)} for this user")


def _limit(number: int) -> str:
    return "unlimited" if number == resource.RLIM_INFINITY else str(number)


def _clock() -> Finding:
    facts = time.get_clock_info("thread_time")
    if facts.resolution > 1e-6:
        return Finding(
            "clock", "warn", f"CPU time comes in steps of {facts.resolution:g} s", "loads will be less exact"
        )
    if time.time() < 1_600_000_000:
        return Finding("clock", "warn", "the date is long past", "set it: times in lists will be odd")
    return Finding("clock", "ok", f"CPU time to {facts.resolution * 1e9:.0f} ns")
