"""When a job runs, how often and what is kept of it: what the command line sends, and what it says."""

from __future__ import annotations

import json

import pytest

from stoker.errors import EXIT_USAGE

JOB = {"id": 3, "state": "queued", "name": "math:sqrt", "pool": "default", "form": "call", "submitted": 1.0}


def submitted(stoker, daemon, *options: str) -> dict[str, object]:
    daemon.replies["submit"] = {"jobs": [JOB]}
    code, out, err = stoker("submit", "--detach", *options, "math:sqrt", "4")
    assert (code, out, err) == (0, "3\n", "")
    (spec,) = daemon.params("submit")["jobs"]
    spec.pop("environment", None)
    assert spec.pop("call") == {"function": "math:sqrt", "args": [4]}
    if spec["durable"]:
        assert spec["key"] == "k" or spec.pop("key").startswith("once-"), "so that it can be handed in again"
    return dict(spec)


def test_what_is_typed_is_kept_where_it_can_be(stoker, daemon):
    assert submitted(stoker, daemon) == {"durable": "if-possible"}


@pytest.mark.parametrize(("option", "durable"), [("--durable", True), ("--no-durable", False)])
def test_whether_it_is_kept_can_be_insisted_on(stoker, daemon, option, durable):
    assert submitted(stoker, daemon, option) == {"durable": durable}


def test_every_option_is_handed_over(stoker, daemon):
    options = ["--slots", "2", "--tag", "db", "--tag", "net", "--retries", "3", "--backoff", "2s", "--key", "k"]
    more = ["--retry-on", "failed", "--retry-on", "OSError", "--on-crash", "requeue", "--delay", "1m"]
    afters = ["--after", "7", "--after", "#8", "--after", "nightly", "--after-any"]
    lasts = ["--backoff-most", "1m", "--keep", "2d"]
    assert submitted(stoker, daemon, *options, *more, *afters, *lasts) == {
        "slots": 2,
        "tags": ["db", "net"],
        "retries": 3,
        "backoff": 2.0,
        "backoff_most": 60.0,
        "ttl": 172_800.0,
        "key": "k",
        "retry_on": ["failed", "OSError"],
        "on_crash": "requeue",
        "delay": 60.0,
        "after": [7, 8, "nightly"],
        "after_end": "any",
        "durable": "if-possible",
    }


@pytest.mark.parametrize(
    "options",
    [
        ("--durable", "--no-durable"),
        ("--retries", "-1"),
        ("--slots", "0"),
        ("--on-crash", "ignore"),
        ("--delay", "soon"),
        ("--at", "never"),
    ],
)
def test_what_can_t_be_meant_is_refused_before_anybody_is_asked(stoker, daemon, options):
    code, _, err = stoker("submit", *options, "math:sqrt", "4")
    assert code == EXIT_USAGE
    assert err
    assert not daemon.requests


def test_a_pool_is_drained(stoker, daemon):
    daemon.replies["drain"] = {"name": "p", "left": 0}
    code, out, _ = stoker("drain", "p")
    assert code == 0
    assert "empty" in out
    assert "--resume" in out
    assert daemon.params("drain") == {"name": "p"}


def test_a_pool_that_is_not_drained_in_time_says_how_many_are_left(stoker, daemon):
    daemon.replies["drain"] = {"name": "default", "left": 5}
    code, out, err = stoker("drain", "--timeout", "2s")
    assert code != 0
    assert out == ""
    assert "still has 5 jobs" in err
    assert daemon.params("drain") == {"name": "default", "timeout": 2.0}
    daemon.replies["drain"] = {"name": "default", "left": 1}
    assert "still has 1 job\n" in stoker("drain", "--timeout", "2s")[2]


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        ((), {}),
        (("db",), {}),
        (("db", "2"), {"tag": "db", "most": 2}),
        (("db", "0"), {"tag": "db", "most": 0}),
        (("db", "none"), {"tag": "db", "most": None}),
    ],
)
def test_a_limit_is_set_and_shown(stoker, daemon, words, sent):
    daemon.replies["limit"] = {"limits": {"db": 2, "net": 7}}
    code, out, _ = stoker("limit", *words)
    assert code == 0
    assert daemon.params("limit") == sent
    assert "db" in out
    assert ("net" in out) == (not words)
    assert json.loads(stoker("limit", "--json")[1]) == {"limits": {"db": 2, "net": 7}}


def test_where_there_is_no_limit_it_says_so(stoker, daemon):
    daemon.replies["limit"] = {"limits": {}}
    assert stoker("limit")[1] == "no limit is set\n"


def test_jobs_are_picked_by_tag_and_key(stoker, daemon):
    daemon.replies["jobs"] = {"jobs": []}
    assert stoker("jobs", "--tag", "db", "--tag", "net", "--key", "k")[0] == 0
    params = daemon.params("jobs")
    assert (params["tags"], params["keys"]) == (["db", "net"], ["k"])


def test_jobs_are_picked_by_age(stoker, daemon):
    daemon.replies["jobs"] = {"jobs": []}
    assert stoker("jobs", "--newer", "10m", "--older", "1m")[0] == 0
    params = daemon.params("jobs")
    assert (params["newer"], params["older"]) == (600.0, 60.0)


def test_a_pool_is_started_with_its_bounds_and_what_its_workers_begin_with(stoker, daemon):
    daemon.replies["start"] = {"kind": "pool", "name": "p", "pids": []}
    options = ["--workers", "2", "--max-jobs", "5", "--memory", "512M", "--initializer", "work:begin"]
    assert stoker("start", "pool", "p", *options)[0] == 0
    assert daemon.params("start") == {
        "kind": "pool",
        "name": "p",
        "workers": 2,
        "max_jobs": 5,
        "memory_bytes": 512 * 1024 * 1024,
        "initializer": {"call": {"function": "work:begin"}},
    }
