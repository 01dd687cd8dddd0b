"""The supervision of stress-ng: of a program of the test's own in its place, and of the real one where there is it."""

from __future__ import annotations

import math
import mmap
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.daemons import wait_until

from stokerd.burners import stressor
from stokerd.burners.burn import BELL, main
from stokerd.burners.kinds import Refusal
from stokerd.burners.page import PAGE_BYTES, Order, Page
from stokerd.forkserver.handles import Handles

FAKE = f"""#!{sys.executable}
import os, sys, time
if sys.argv[1] == "--stressors":
    print("cpu hdd fail stray")
elif sys.argv[1] == "--class":
    print("class 'cpu' stressors: cpu")
elif sys.argv[1] == "--fail":
    sys.exit("stress-ng: error: [1] no such thing on this machine") if False else sys.stderr.write(
        "stress-ng: error: [1] no such thing on this machine\\n") and sys.exit(3)
else:
    if sys.argv[1] == "--hdd":
        open(os.path.join(sys.argv[sys.argv.index("--temp-path") + 1], "junk"), "w").close()
    if sys.argv[1] == "--stray" and os.fork() == 0:
        os.setsid()
    while True:
        sum(range(1000))
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch) -> Path:
    """A program called stress-ng that is the only thing on PATH."""
    program = tmp_path / "bin" / "stress-ng"
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


class Burning:
    """A burner's process with its page and its channel."""

    def __init__(self, generator: str, target: float, folder: Path) -> None:
        memory = mmap.mmap(-1, PAGE_BYTES)
        self.page = Page(memory)
        self.page.give(Order(1, target, math.inf))
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(30)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                self.channel.close()
                args = {"generator": generator, "params": {"folder": str(folder)}, "phase": 0.0}
                main(args, Handles(theirs, memory))
                os._exit(0)
            except SystemExit as end:
                os._exit(end.code if isinstance(end.code, int) else 1)
        theirs.close()
        self.family = psutil.Process(self.pid)

    def give(self, target: float, epoch: int, *, stop: bool = False) -> None:
        self.page.give(Order(epoch, target, math.inf, stop=stop))
        self.channel.send(BELL)

    def descendants(self) -> list[psutil.Process]:
        return self.family.children(recursive=True)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def burn(tmp_path: Path) -> Iterator[Callable[[str, float], Burning]]:
    started: list[Burning] = []
    folder = tmp_path / "folder"
    folder.mkdir()

    def start(generator: str, target: float) -> Burning:
        started.append(Burning(generator, target, folder))
        return started[-1]

    yield start
    for burning in started:
        burning.channel.close()
        with_group = [burning.pid] if psutil.pid_exists(burning.pid) else []
        for pid in with_group:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_without_stress_ng_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="not installed") as caught:
        stressor.find_program()
    assert "apt install stress-ng" in caught.value.hint


def test_an_unknown_stressor_is_refused_with_the_nearest(fake: Path) -> None:
    stressor.check(str(fake), "cpu")
    with pytest.raises(Refusal, match="no stressor 'cpuu'") as caught:
        stressor.check(str(fake), "cpuu")
    assert caught.value.hint == "did you mean 'cpu'?"
    with pytest.raises(Refusal, match="no stressor 'qqqqq'") as caught:
        stressor.check(str(fake), "qqqqq")
    assert "stress-ng --stressors" in caught.value.hint


def test_a_program_that_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="does not tell what it has"):
        stressor.check(str(tmp_path / "nothing"), "cpu")


def test_its_load_is_measured_from_outside_and_held(fake: Path, burn) -> None:
    burning = burn("stress-ng:cpu", 0.5)
    assert burning.channel.recv(1) == b"."
    wait_until(lambda: (newest := burning.page.newest()) is not None and newest.wanted > 0.3)
    newest = burning.page.newest()
    assert newest is not None
    kernel = sum(sum(process.cpu_times()[:2]) for process in burning.descendants())
    assert newest.cpu == pytest.approx(kernel, abs=0.1)
    assert newest.cpu + newest.forgiven + newest.debt == pytest.approx(newest.wanted)


def test_at_a_target_of_0_all_of_it_is_stopped_and_goes_on_afterwards(fake: Path, burn) -> None:
    burning = burn("stress-ng:cpu", 0.5)
    assert burning.channel.recv(1) == b"."
    burning.give(0.0, 2)
    assert burning.channel.recv(1) == b"."
    wait_until(lambda: all(process.status() == psutil.STATUS_STOPPED for process in burning.descendants()))
    burning.give(1.0, 3)
    assert burning.channel.recv(1) == b"."
    assert any(process.status() != psutil.STATUS_STOPPED for process in burning.descendants())


@pytest.mark.parametrize("generator", ["stress-ng:hdd", "stress-ng:stray"])
def test_at_its_stop_nothing_of_it_is_left_whatever_group_it_went_to(fake: Path, burn, tmp_path, generator) -> None:
    burning = burn(generator, 0.5)
    assert burning.channel.recv(1) == b"."
    family = burning.descendants()
    assert len(family) == (2 if generator.endswith("stray") else 1)
    assert len(list((tmp_path / "folder").iterdir())) == 1
    burning.give(0.5, 1, stop=True)
    assert burning.wait() == 0
    assert gone(family)
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_sigterm_ends_it_as_well(fake: Path, burn, tmp_path) -> None:
    burning = burn("stress-ng:hdd", 0.5)
    assert burning.channel.recv(1) == b"."
    family = burning.descendants()
    os.kill(burning.pid, signal.SIGTERM)
    assert burning.wait() == 128 + signal.SIGTERM
    assert gone(family)
    assert list((tmp_path / "folder").iterdir()) == []


def test_it_dies_with_its_supervisor_and_the_next_one_clears_up(fake: Path, burn, tmp_path) -> None:
    burning = burn("stress-ng:hdd", 0.5)
    assert burning.channel.recv(1) == b"."
    family = burning.descendants()
    os.kill(burning.pid, signal.SIGKILL)
    burning.wait()
    wait_until(lambda: gone(family))
    folder = tmp_path / "folder"
    assert [path.name.startswith("stoker-stress-ng-") for path in folder.iterdir()] == [True]
    (folder / "stoker-stress-ng-of-somebody-else").mkdir()
    stressor.sweep(str(folder))
    assert [path.name for path in folder.iterdir()] == ["stoker-stress-ng-of-somebody-else"]


def test_when_it_ends_the_load_ends_with_what_it_said(fake: Path, burn) -> None:
    burning = burn("stress-ng:fail", 0.5)
    words = b""
    while part := burning.channel.recv(4096):
        words += part
    assert b"!stress-ng ended with exit code 3: no such thing on this machine\0" in words
    assert burning.wait() == 1


def test_a_folder_that_cannot_be_written_to_is_refused(fake: Path, tmp_path) -> None:
    with pytest.raises(Refusal, match="cannot be written to"), stressor._folder(str(fake), "hdd", str(tmp_path / "no")):
        pass


def test_those_of_the_class_cpu_get_no_folder(fake: Path) -> None:
    with stressor._folder(str(fake), "cpu", None) as folder:
        assert folder is None


@pytest.mark.skipif(shutil.which("stress-ng") is None, reason="stress-ng is not installed")
@pytest.mark.parametrize("name", ["cpu", "vm", "hdd"])
def test_the_real_one_is_held_at_its_load_and_leaves_nothing(burn, tmp_path, name: str) -> None:
    burning = burn(f"stress-ng:{name}", 0.3)
    assert burning.channel.recv(1) == b"."
    family = burning.descendants()
    assert family
    burning.give(0.3, 1, stop=True)
    assert burning.wait() == 0
    assert gone(family)
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.skipif(shutil.which("stress-ng") is None, reason="stress-ng is not installed")
def test_the_real_ones_list_has_every_stressor_that_its_classes_have() -> None:
    program = stressor.find_program()
    listed = subprocess.run([program, "--class", "cpu?"], capture_output=True, text=True, check=True).stdout
    for name in listed.partition(":")[2].split():
        stressor.check(program, name)
