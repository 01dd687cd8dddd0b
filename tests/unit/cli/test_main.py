from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from stoker import __version__
from stoker.cli import verbs
from stoker.errors import NoSuchBurner, QueueFull

PONG = {"time": 1.0, "pid": 7, "version": "0.1.0"}


def test_without_a_verb_the_verbs_are_listed_and_the_code_is_2(stoker):
    code, out, err = stoker()
    assert (code, out) == (2, "")
    assert all(verb.words in err for verb in verbs.VERBS)


@pytest.mark.parametrize("argv", [("--help",), ("-h",), ("help",)])
def test_help_goes_to_stdout(stoker, argv):
    code, out, _ = stoker(*argv)
    assert code == 0
    assert "submit" in out


@pytest.mark.parametrize("verb", verbs.VERBS, ids=lambda verb: verb.words)
def test_every_verb_has_help_and_the_common_options(stoker, verb):
    code, out, _ = stoker(*verb.words.split(), "--help")
    assert code == 0
    for option in ("--json", "--socket", "--timeout"):
        assert option in out


def test_the_version_is_that_of_the_package(stoker):
    assert stoker("--version") == (0, f"stoker {__version__}\n", "")


def test_an_unknown_verb_gets_the_nearest_one(stoker):
    code, out, err = stoker("statsu")
    assert (code, out) == (2, "")
    assert "did you mean `stoker status`?" in err


def test_a_verb_with_kinds_says_which_there_are(stoker):
    for argv in (("start",), ("start", "bunner")):
        code, _, err = stoker(*argv)
        assert code == 2
        assert "stoker start burner" in err


def test_an_unknown_option_gets_the_nearest_one(stoker):
    code, _, err = stoker("start", "burner", "heat", "--laod", "50")
    assert code == 2
    assert "did you mean --load?" in err or "--load" in err


def test_a_wrong_value_is_a_usage_error_with_a_hint(stoker):
    code, _, err = stoker("start", "burner", "heat", "--load", "150")
    assert code == 2
    assert "from 0 to 100" in err


def test_options_may_stand_before_the_verb(stoker, daemon, monkeypatch):
    monkeypatch.delenv("STOKER_SOCKET")
    daemon.replies["ping"] = PONG
    code, out, _ = stoker("--socket", daemon.path, "--json", "ping")
    assert code == 0
    assert json.loads(out)["pid"] == 7


def test_a_failure_is_a_message_and_a_hint_and_the_code_of_its_class(stoker, daemon):
    daemon.replies["set"] = NoSuchBurner("there is no burner heat", hint="did you mean beat?")
    code, out, err = stoker("set", "heat", "--load", "5")
    assert (code, out) == (4, "")
    assert err == "stoker: there is no burner heat\n  hint: did you mean beat?\n"


def test_a_failure_under_json_is_a_map_on_stdout_and_words_on_stderr(stoker, daemon):
    daemon.replies["submit"] = QueueFull("full", hint="wait")
    code, out, err = stoker("submit", "--json", "math:sqrt", "2")
    assert code == 75
    assert json.loads(out) == {"error": {"code": "queue-full", "message": "full", "hint": "wait", "retryable": True}}
    assert "stoker: full" in err


def test_a_usage_error_under_json_is_a_map_too(stoker):
    code, out, _ = stoker("burn", "--json", "--load", "x")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "usage"


def test_nobody_listening_is_69(stoker, tmp_path):
    code, _, err = stoker("ping", "--socket", str(tmp_path / "nobody.sock"))
    assert code == 69
    assert "nobody listens" in err


def test_a_file_that_is_no_socket_and_a_path_too_long_are_said_so(stoker, tmp_path):
    (tmp_path / "file").write_text("x")
    assert stoker("ping", "--socket", str(tmp_path / "file"))[0] == 2
    code, _, err = stoker("ping", "--socket", "/tmp/" + "x" * 200)
    assert code == 2
    assert "too long" in err


def test_json_after_the_dashes_belongs_to_the_command(stoker, daemon):
    daemon.replies["submit"] = {
        "jobs": [{"id": 1, "state": "queued", "name": "x", "pool": "default", "form": "command"}]
    }
    _, out, _ = stoker("submit", "--detach", "--", "prog", "--json")
    assert out == "1\n"
    assert daemon.params("submit")["jobs"][0]["command"]["argv"] == ["prog", "--json"]


def test_a_bug_is_a_message_without_a_traceback(stoker, monkeypatch):
    monkeypatch.setattr("stoker.cli.commands.api.run", lambda args, out: 1 / 0)
    code, _, err = stoker("api")
    assert code == 1
    assert "ZeroDivisionError" in err


def test_an_interrupt_is_130_and_says_nothing(stoker, monkeypatch):
    def interrupted(args, out):
        raise KeyboardInterrupt

    monkeypatch.setattr("stoker.cli.commands.api.run", interrupted)
    assert stoker("api") == (130, "", "")


def test_a_reader_that_leaves_early_is_no_failure_worth_words():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "stoker", "api"], stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_colour_is_for_terminals_and_no_color_switches_it_off():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    from stoker.cli.render import wants_colour

    assert wants_colour(Terminal(), {"TERM": "xterm"})
    assert not wants_colour(Terminal(), {"TERM": "xterm", "NO_COLOR": "1"})
    assert not wants_colour(Terminal(), {"TERM": "dumb"})
