"""Whatever is killed, at whatever moment: nothing of it lives on."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest

DEADLINE = 10.0
"""Seconds. The promise is one second; a machine that is busy with other tests may take longer."""

HOST = """
    import asyncio, os, sys, time
    from stoker.protocol.models import Environment
    from stokerd.bus import Bus
    from stokerd.child import ForkSpec
    from stokerd.clock import LoopClock
    from stokerd.forkserver.host import ForkServers

    loop = asyncio.new_event_loop()
    clock = LoopClock(loop)
    environments = [Environment(executable=sys.executable, cwd=os.getcwd(), env={"WHICH": str(n)}) for n in range(2)]
    servers = ForkServers(clock, Bus(time.time), environments[0])

    def go():
        sys.stdout.write("x")
        sys.stdout.flush()
        for environment in environments:
            for _ in range(4):
                fork(environment)

    def fork(environment):
        spec = ForkSpec(target="family:main", name="family", channel=True, page_bytes=4096, capture=True)
        servers.fork(environment, spec, lambda child: None, lambda child, how: (release(child), fork(environment)))

    def release(child):
        child.channel.close()
        child.page.close()
        for fd in child.output:
            os.close(fd)

    loop.call_soon(go)
    loop.run_forever()
"""

FAMILY = """
    import os, random, signal, subprocess, time

    def main(args, handles):
        subprocess.Popen(["sleep", "1000"])
        subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1000 & wait"])
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        if os.fork() == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
            time.sleep(1000)
        time.sleep(random.choice([0, 0.02, 1000]))
"""


def marked(mark: str) -> set[int]:
    """Processes that were started, at whatever distance, with this mark in their environment. Zombies have none."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
    return found


def wait_none(mark: str) -> set[int]:
    """Wait for the end of each marked process; those that are left at the deadline."""
    end = time.monotonic() + DEADLINE
    while (left := marked(mark)) and time.monotonic() < end:
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(min(left))
            select.select([pidfd], [], [], max(0.0, end - time.monotonic()))
            os.close(pidfd)
    return left


def start_host(home: Path, mark: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "STOKER_TEST_MARK": mark, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "host.py"], cwd=home, env=env, stdout=subprocess.PIPE)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "host.py").write_text(textwrap.dedent(HOST))
    (tmp_path / "family.py").write_text(textwrap.dedent(FAMILY))
    return tmp_path


def kill_all(pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_survives_a_kill_of_the_daemon_at_any_moment(home: Path) -> None:
    """Forty moments, most of them while interpreters start and the first children are forked."""
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    for turn in range(40):
        mark = uuid.uuid4().hex
        with start_host(home, mark) as host:
            assert host.stdout is not None
            host.stdout.read(1)
            time.sleep(moments.uniform(0, 0.1 if turn % 4 else 0.6))  # the moment itself, not a wait for anything
            host.kill()
        left = wait_none(mark)
        kill_all(left)
        assert not left, f"turn {turn}, seed {seed}"


@pytest.mark.slow
def test_nothing_survives_when_daemon_and_forkservers_are_killed_together(home: Path) -> None:
    """Then only the kernel is left to do it, which ends the children; what they started themselves is beyond it."""
    for _ in range(5):
        mark = uuid.uuid4().hex
        with start_host(home, mark) as host:
            assert host.stdout is not None
            host.stdout.read(1)
            children = _family_members(host.pid)
            host.send_signal(signal.SIGSTOP)
            for forkserver in _children(host.pid):
                os.kill(forkserver, signal.SIGKILL)
            host.kill()
        left = {pid for pid in children if not _ended(pid)}
        kill_all(marked(mark))
        assert not left


def _family_members(host: int) -> set[int]:
    """Children of the host's forkservers, as soon as there are some."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        found = {child for forkserver in _children(host) for child in _children(forkserver)}
        if found:
            return found
    raise AssertionError(f"the host {host} has forked nothing")


def _children(pid: int) -> set[int]:
    with contextlib.suppress(OSError):
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return set()


def _ended(pid: int) -> bool:
    """Wait for the end of a process."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], DEADLINE)[0])
    finally:
        os.close(pidfd)
