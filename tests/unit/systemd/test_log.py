"""What the log looks like for whom."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
import structlog

from stokerd.log import get_logger, set_up


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def test_without_a_terminal_each_line_is_json_with_its_ids():
    out = io.StringIO()
    set_up("info", "auto", {}, out)
    with structlog.contextvars.bound_contextvars(session="s1"):
        get_logger(burner="heat").info("burner started", workers=2)
    line = json.loads(out.getvalue())
    assert line.pop("timestamp").endswith("Z")
    expected = {"event": "burner started", "level": "info", "burner": "heat", "session": "s1", "workers": 2}
    assert line == expected


def test_an_exception_stays_on_its_line():
    out = io.StringIO()
    set_up("info", "json", {}, out)
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        get_logger().exception("bug")
    assert out.getvalue().count("\n") == 1
    assert "RuntimeError: two\nlines" in json.loads(out.getvalue())["exception"]


def test_values_without_a_json_form_do_not_fail_the_line():
    out = io.StringIO()
    set_up("info", "json", {}, out)
    get_logger().info("odd", value={1, 2}, raw=b"\xff")
    assert json.loads(out.getvalue())["raw"]


def test_what_is_below_the_level_is_not_written_and_the_level_can_change():
    out = io.StringIO()
    logger = get_logger(part="x")
    set_up("warning", "json", {}, out)
    logger.info("quiet")
    assert out.getvalue() == ""
    set_up("debug", "json", {}, out)
    logger.debug("loud")
    assert json.loads(out.getvalue())["event"] == "loud"


def test_the_console_form_is_for_people_and_without_colours_where_there_is_no_terminal():
    out = io.StringIO()
    set_up("info", "console", {}, out)
    get_logger(burner="heat").info("started")
    assert "started" in out.getvalue()
    assert "burner=heat" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_log_that_cannot_be_written_stops_nothing():
    out = io.StringIO()
    set_up("info", "json", {}, out)
    out.close()
    get_logger().error("nobody reads this")
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        set_up("info", "json", {}, full)
        get_logger().error("no space")
        try:
            full.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_under_the_journal_each_line_carries_its_priority():
    code = """
import os
from stokerd.log import get_logger, set_up
facts = os.fstat(2)
set_up("debug", "auto", {"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"})
log = get_logger()
log.debug("d"); log.info("i"); log.warning("w"); log.error("e")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("x")
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, text=True, capture_output=True, check=True)
    assert [line[:3] for line in done.stderr.splitlines()] == ["<7>", "<6>", "<4>", "<3>", "<3>"]
    assert [json.loads(line[3:])["event"] for line in done.stderr.splitlines()] == ["d", "i", "w", "e", "x"]
