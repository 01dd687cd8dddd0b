"""The word that the kernel changes when a process dies."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading

import pytest

from stoker.protocol.loans import DIED, LIFE_AT, SIZE
from stokerd.shared.life import life

CODE = """
import os, sys
from stokerd.shared.life import life
print(life().fd, flush=True)
sys.stdin.readline()
os._exit(0)
"""


@pytest.mark.parametrize("by_force", [True, False])
def test_it_is_set_when_the_process_dies_however_that_happens_and_not_before(by_force: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        fd = os.open(f"/proc/{process.pid}/fd/{int(process.stdout.readline())}", os.O_RDONLY)
        with mmap.mmap(fd, SIZE, prot=mmap.PROT_READ) as memory, memoryview(memory).cast("I") as words:
            at = words[LIFE_AT]
            assert not words[at] & DIED
            assert words[at] == process.pid
            if by_force:
                process.send_signal(signal.SIGKILL)
            else:
                process.communicate(b"\n")
            process.wait()
            assert words[at] & DIED
    os.close(fd)


def test_nobody_else_can_write_there() -> None:
    fd = os.open(f"/proc/self/fd/{life().fd}", os.O_RDWR)
    with pytest.raises(PermissionError):
        mmap.mmap(fd, SIZE)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    os.close(fd)


def test_it_is_the_threads_own() -> None:
    mine, theirs = life(), []
    thread = threading.Thread(target=lambda: theirs.append(life()))
    thread.start()
    thread.join()
    assert life() is not theirs[0]
    assert theirs[0] is not mine
    with mmap.mmap(theirs[0].fd, SIZE, prot=mmap.PROT_READ) as memory, memoryview(memory).cast("I") as words:
        assert words[words[LIFE_AT]] & DIED
