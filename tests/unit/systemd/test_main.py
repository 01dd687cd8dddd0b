"""The daemon's command line: what it refuses, how it says so, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from stoker import __version__


def stokerd(*arguments: str, **environ: str) -> tuple[int, Any, str]:
    """Exit code, the line on --ready-fd as a map, and what was printed."""
    read, write = os.pipe()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ}
    argv = [sys.executable, "-m", "stokerd", *arguments, "--ready-fd", str(write)]
    with os.fdopen(read, "rb") as ready:
        done = subprocess.run(argv, env=env, pass_fds=[write], capture_output=True, text=True, timeout=60)
        os.close(write)
        line = ready.read()
    return done.returncode, json.loads(line) if line else None, done.stdout + done.stderr


def test_its_version_is_that_of_the_distribution():
    assert stokerd("--version") == (0, None, f"stokerd {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sokcet", "x"],
        ["--idle-exit", "soon"],
        ["--idle-exit", "-1"],
        ["--idle-exit", "nan"],
        ["--log-level", "loud"],
        ["extra"],
    ],
)
def test_a_usage_error_is_told_to_whoever_waits_and_ends_with_64(arguments):
    code, line, printed = stokerd(*arguments)
    assert code == 64
    assert line["error"]["code"] == "bad-request"
    assert "Traceback" not in printed


def test_a_configuration_error_ends_with_78_and_has_line_and_suggestion(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[daemon]\nsockt = 'x'\n")
    code, line, printed = stokerd("--config", str(path))
    assert code == 78
    assert (line["error"]["code"], line["error"]["data"]["line"]) == ("config-error", 2)
    assert "socket" in line["error"]["hint"]
    assert f"{path}:2" in printed


def test_every_problem_of_a_configuration_is_told_with_its_line(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[daemon]\nsockt = 'x'\nnice = 99\n[pool.default]\nworkers = 'many'\n")
    code, line, printed = stokerd("--check", "--config", str(path))
    assert (code, len(line["error"]["data"]["problems"])) == (78, 3)
    assert [told.split(": ")[1] for told in printed.splitlines()] == [f"{path}:{number}" for number in (2, 3, 5)]


def test_a_valid_configuration_is_checked_without_starting_anything(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[daemon]\nnice = 0\n")
    assert stokerd("--check", STOKER_CONFIG=str(path)) == (0, None, f"{path}: valid\n")


def test_an_endpoint_that_cannot_be_is_a_usage_error():
    code, line, _ = stokerd("--socket", "/" + "x" * 200)
    assert (code, line["error"]["code"]) == (64, "bad-endpoint")
