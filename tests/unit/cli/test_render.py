from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from stoker.cli import outcome, overview, render


def test_columns_are_aligned_and_colour_takes_no_room():
    plain = render.table(("NAME", ">N"), [("a", 1), ("long", 100)])
    assert plain.split("\n") == ["NAME    N", "a       1", "long  100"]
    painted = render.table(("NAME", ">N"), [(render.paint("a", "red", colour=True), 1), ("long", 100)])
    assert painted.split("\n")[1] == "\x1b[31ma\x1b[0m       1"


def fail_for(word):
    raise AssertionError(word)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.binary(), inner),
    max_leaves=20,
)


@given(values)
def test_every_messagepack_value_becomes_strict_json(value):
    json.loads(render.as_json(value), parse_constant=fail_for)


@given(values)
def test_every_messagepack_value_can_be_shown_to_people(value):
    assert isinstance(render.result(value), str)


def test_a_result_is_text_as_it_is_json_where_there_is_one_and_else_its_repr():
    assert render.result("a b") == "a b"
    assert render.result(2432902008176640000) == "2432902008176640000"
    assert render.result({"a": [1, None]}) == '{"a": [1, null]}'
    assert render.result(b"\x00") == "b'\\x00'"
    assert render.result(float("inf")) == "inf"


def test_bytes_are_base64_under_json():
    assert render.plain({"a": b"\x00\xff"}) == {"a": {"base64": "AP8="}}


def test_control_characters_of_strangers_are_shown_and_not_obeyed():
    assert render.clean("a\x1b[2Jb\n") == "a\\x1b[2Jb\\n"


def test_cores_are_spelled_as_they_are_read():
    assert render.cores([0, 1, 2, 3, 5]) == "0-3,5"
    assert render.cores([]) == ""


STATUS = {
    "daemon": {
        "pid": 7,
        "endpoint": "ipc:///x",
        "version": "0.1.0",
        "boot_id": "b",
        "uptime": 65.0,
        "state": "ready",
        "sessions": 1,
        "events": "",
    },
    "pools": [
        {
            "name": "default",
            "engine": "local",
            "size": 2,
            "queued": 3,
            "running": 1,
            "paused": False,
            "workers": [
                {"id": 1, "pid": 10, "state": "busy", "job": 5, "environment": "e", "jobs_done": 2, "started": 0.0}
            ],
        }
    ],
    "burners": [
        {
            "name": "heat",
            "state": "running",
            "kind": "spin",
            "target": 50.0,
            "achieved": 48.0,
            "shortfall": 2.0,
            "size": 1,
            "nice": 10,
            "cpus": [0, 1],
            "started": 0.0,
            "ends": 130.0,
            "reason": "others took the CPU",
            "workers": [{"pid": 11, "cpu": 0, "target": 50.0, "achieved": 48.0, "shortfall": 2.0, "cpu_seconds": 3.0}],
        }
    ],
    "processes": [
        {
            "name": "web",
            "state": "up",
            "wanted": True,
            "pid": 12,
            "argv": ["sleep", "9"],
            "started": 40.0,
            "exit_code": None,
            "restarts": 0,
            "restart": "always",
            "reason": "",
        }
    ],
    "objects": [{"id": "q1", "kind": "queue", "name": "in", "detail": {"items": 4}}],
    "jobs": {"queued": 3, "running": 1, "done": 0},
    "seq": 9,
}


def test_the_overview_tells_all_that_runs_and_what_falls_short():
    text = overview.text(STATUS, now=100.0)
    for word in (
        "stokerd 0.1.0",
        "pid 7",
        "1m 05s",
        "default",
        "1/2",
        "heat",
        "48.0 %",
        "2.0 %",
        "0-1",
        "30s",
        "others took the CPU",
        "web",
        "sleep 9",
        "queue",
        "items 4",
    ):
        assert word in text
    assert "jobs: 3 queued, 1 running" in text
    assert "\x1b" not in text


def test_the_detailed_overview_lists_every_worker():
    assert "10  busy" in overview.text(STATUS, detailed=True, now=100.0)
    assert "\x1b[" in overview.text(STATUS, detailed=True, colour=True, now=100.0)


def job(state, **facts):
    return {"id": 17, "state": state, "name": "f", "pool": "default", "form": "call", **facts}


def test_a_commands_own_code_is_passed_on_and_a_signal_is_128_and_its_number():
    assert outcome.exit_code(job("done", exit_code=0)) == 0
    assert outcome.exit_code(job("failed", exit_code=3)) == 3
    assert outcome.exit_code(job("failed", exit_code=-9)) == 137


def test_a_job_without_a_code_of_its_own_has_that_of_its_error():
    assert outcome.exit_code(job("failed", error={"code": "job-failed", "message": "x"})) == 1
    assert outcome.exit_code(job("timed-out", error={"code": "job-timed-out", "message": "x"})) == 75
    assert outcome.exit_code(job("cancelled")) == 1


def test_a_failure_names_job_and_exception_and_where_the_traceback_is():
    error = outcome.failure(
        job("failed", error={"code": "job-failed", "message": "bad", "type": "ValueError", "traceback": "Traceback"})
    )
    assert error.message == "job 17 (f): ValueError: bad"
    assert "stoker job 17" in error.hint


def test_a_batch_has_ended_when_all_of_it_has():
    assert not outcome.has_ended(job("running", counts={"done": 5, "queued": 1}))
    assert outcome.has_ended(job("running", counts={"done": 5, "failed": 1, "queued": 0}))


def test_the_states_that_count_as_ended_are_those_of_the_protocol():
    from stoker.cli.commands.jobs import STATES
    from stoker.protocol.states import ENDED_JOB_STATES, JobState

    ended = {str(state) for state in ENDED_JOB_STATES}
    assert ended == outcome.ENDED
    assert set(STATES) == {str(state) for state in JobState}
