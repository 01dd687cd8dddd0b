"""Completion scripts: generated from the parsers, and the bash one at work in a real bash."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from stoker.cli import shells, verbs

ASK = """
source /dev/stdin <<< "$SCRIPT"
COMP_WORDS=("$@")
COMP_CWORD=$(( $# - 1 ))
_stoker
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def tables():
    return shells.tables()


def complete(tables, *words):
    script = shells.bash(tables)
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", *words],
        env={"SCRIPT": script, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_bash_completes_verbs(tables):
    assert complete(tables, "stoker", "sta") == ["status", "start"]
    assert set(complete(tables, "stoker", "")) == set(verbs.firsts())


def test_bash_completes_kinds_then_their_options(tables):
    assert complete(tables, "stoker", "start", "") == ["burner", "process", "pool"]
    assert complete(tables, "stoker", "start", "burner", "--lo") == ["--load"]
    assert complete(tables, "stoker", "config", "ch") == ["check"]


def test_bash_completes_the_options_of_one_verb_and_not_of_others(tables):
    found = complete(tables, "stoker", "submit", "--")
    assert {"--detach", "--pool", "--json", "--socket"} <= set(found)
    assert "--load" not in found


def test_bash_completes_the_words_that_an_option_or_a_verb_takes(tables):
    assert "timed-out" in complete(tables, "stoker", "jobs", "--state", "")
    assert complete(tables, "stoker", "start", "process", "web", "--restart", "on") == ["on-failure"]
    assert complete(tables, "stoker", "completion", "z") == ["zsh"]


def test_bash_completes_files_where_a_file_is_wanted(tables, tmp_path):
    (tmp_path / "input.txt").touch()
    assert complete(tables, "stoker", "map", "m:f", "--input", f"{tmp_path}/in") == [f"{tmp_path}/input.txt"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_verb_and_every_option_is_in_every_script(tables, shell):
    script = getattr(shells, shell)(tables)
    for table in tables:
        assert all(word in script for word in table.verb.words.split())
        for option in table.options:
            assert all(name.lstrip("-") in script for name in option.names)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_take_their_script(tables, shell):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [program, "-n"], input=getattr(shells, shell)(tables), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_verb_prints_the_script(stoker, tables):
    assert stoker("completion", "bash")[1] == shells.bash(tables) + "\n"
    assert stoker("completion", "tcsh")[0] == 2
