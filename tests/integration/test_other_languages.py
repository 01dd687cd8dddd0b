"""The clients of docs/protocol.md, run as they stand there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.daemons import DEADLINE, RunningDaemon

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
ANSWER = "2432902008176640000"


def program(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_the_python_client_has_ten_lines_and_works(daemon: RunningDaemon) -> None:
    text = program("python")
    assert len([line for line in text.splitlines() if line]) <= 10
    assert "stoker" not in text
    done = subprocess.run(
        [sys.executable, "-c", text, daemon.endpoint], capture_output=True, text=True, timeout=DEADLINE, check=True
    )
    assert done.stdout.strip() == ANSWER


@pytest.mark.skipif(
    not all(map(shutil.which, ("cc", "pkg-config"))) or subprocess.run(["pkg-config", "libzmq", "msgpack"]).returncode,
    reason="needs a C compiler and the headers of libzmq and msgpack",
)
def test_the_c_client_works(daemon: RunningDaemon, tmp_path: Path) -> None:
    (tmp_path / "client.c").write_text(program("c"))
    subprocess.run(["cc", "client.c", "-o", "client", "-lzmq", "-lmsgpackc"], cwd=tmp_path, check=True)
    done = subprocess.run(
        [str(tmp_path / "client"), daemon.endpoint], capture_output=True, text=True, timeout=DEADLINE, check=True
    )
    assert ANSWER in done.stdout
