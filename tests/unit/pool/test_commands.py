"""Commands: run to their end, with nothing left of them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.daemons import wait_until

from stokerd.pool import commands
from stokerd.pool.commands import CommandFailed, run_command


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """What was announced, as it happened."""
    told: list[int] = []
    monkeypatch.setattr(commands, "announce", told.append)
    before = signal.signal(signal.SIGINT, lambda *_: commands.shelter.admit(KeyboardInterrupt))
    yield told
    with pytest.raises(KeyboardInterrupt):  # nothing is kept out any more
        os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def run(*argv: str, **options: Any) -> int:
    return run_command({"argv": list(argv), **options})


def failure(*argv: str, **options: Any) -> CommandFailed:
    with pytest.raises(CommandFailed) as failed:
        run(*argv, **options)
    return failed.value


def test_success_is_zero_and_the_command_is_announced_while_it_runs(announced: list[int]):
    assert run("true") == 0
    assert len(announced) == 2
    assert announced[0] > 1
    assert announced[1] == 0
    assert not psutil.pid_exists(announced[0])


def test_a_failure_tells_the_exit_code_or_the_signal(announced: list[int]):
    failed = failure("sh", "-c", "exit 7")
    assert (failed.exit_code, str(failed)) == (7, "sh ended with exit code 7")
    failed = failure("sh", "-c", "kill -SEGV $$")
    assert (failed.exit_code, str(failed)) == (-11, "sh was ended by SIGSEGV")


def test_what_can_t_be_started_has_the_exit_code_that_a_shell_gives(announced: list[int], tmp_path: Path):
    failed = failure("no-such-program-anywhere")
    assert (failed.exit_code, str(failed)) == (127, "there is no program 'no-such-program-anywhere'")
    failed = failure("true", cwd=str(tmp_path / "gone"))
    assert failed.exit_code == 127
    assert "there is no directory" in str(failed)
    plain = tmp_path / "plain"
    plain.write_text("no program")
    failed = failure(str(plain))
    assert (failed.exit_code, "Permission denied" in str(failed)) == (126, True)
    assert announced == []


def test_stdin_cwd_and_variables_are_those_of_the_command(announced: list[int], tmp_path: Path):
    data = bytes(range(256)) * 8192
    run("sh", "-c", 'cat > copy; echo "$COLOUR" > colour', cwd=str(tmp_path), stdin=data, env={"COLOUR": "blue"})
    assert (tmp_path / "copy").read_bytes() == data
    assert (tmp_path / "colour").read_text() == "blue\n"


def test_what_a_command_leaves_in_the_background_ends_with_it(announced: list[int], tmp_path: Path):
    run("sh", "-c", "sleep 1000 & echo $! > pid", cwd=str(tmp_path))
    left = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE)


def test_an_interrupt_that_comes_while_a_command_is_being_started_ends_the_command(
    announced: list[int], monkeypatch: pytest.MonkeyPatch
):
    started = subprocess.Popen

    def interrupted(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = started(*args, **options)
        os.kill(os.getpid(), signal.SIGINT)  # held back until the command can be known
        return process

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("sleep", "1000")
    assert len(announced) == 2
    assert not psutil.pid_exists(announced[0])


def test_a_command_has_the_signals_that_its_worker_handles(announced: list[int], tmp_path: Path):
    failed = failure("sh", "-c", "kill -INT $$; sleep 1000")
    assert failed.exit_code == -signal.SIGINT
    failed = failure("sh", "-c", "kill -TERM $$; sleep 1000")
    assert failed.exit_code == -signal.SIGTERM
