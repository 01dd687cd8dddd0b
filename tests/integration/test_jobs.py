"""Jobs on a real daemon: every form, every end, and nobody else disturbed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest
from tests.conftest import StartDaemon
from tests.daemons import alive, wait_until
from tests.farms import Farm, make_farm


@pytest.fixture
def farm(start_daemon: StartDaemon, short_path: Path) -> Farm:
    """Two workers."""
    return make_farm(start_daemon, short_path / "home")


@pytest.fixture
def small_farm(start_daemon: StartDaemon, short_path: Path) -> Farm:
    """One worker."""
    return make_farm(start_daemon, short_path / "home", workers=1)


def pickled(function: str, payloads: list[bytes], shape: str = "call") -> dict[str, Any]:
    """The entry of a batch of pickled calls; payload frame 0 is theirs."""
    lengths = struct.pack(f"<{len(payloads)}I", *map(len, payloads))
    return {"pickle": {"function": function, "shape": shape, "lengths": lengths}}


def upload(farm: Farm, function: Any) -> str:
    code = cloudpickle.dumps(function)
    reference = f"sha256:{hashlib.sha256(code).hexdigest()}"
    reply, _ = farm.daemon.exchange("upload", function=reference, name="uploaded", payload=(code,))
    assert reply["result"] == {"function": reference}
    return reference


# --- the forms


def test_a_named_function_a_pickled_one_and_a_command_have_their_values(farm: Farm):
    assert farm.run("math:factorial", 20)["value"] == 2432902008176640000

    offset = 1000
    reference = upload(farm, lambda x, y=1: x * y + offset)
    payload = pickle.dumps(((6,), {"y": 7}))
    reply, frames = farm.daemon.exchange("submit", jobs=[pickled(reference, [payload])], wait=30, payload=(payload,))
    entry = reply["result"]["jobs"][0]
    assert (entry["state"], entry["name"]) == ("done", "uploaded")
    assert pickle.loads(frames[entry["payload"]]) == 1042

    entry = farm.ended(farm.command("sh", "-c", "cat; echo $NAME >&2", stdin=b"in and out", env={"NAME": "blue"}))
    assert (entry["state"], entry["exit_code"], entry["name"]) == ("done", 0, "sh")
    assert farm.logs(entry["id"]) == (b"in and out", b"blue\n")


def test_every_job_of_a_batch_has_its_own_value(farm: Farm):
    jobs = farm.submit_many("square", [[x] for x in range(5000)])
    assert {entry["state"] for entry in farm.all_ended(jobs)} == {"done"}
    assert [farm.ended(job)["value"] for job in jobs[::500]] == [x * x for x in range(0, 5000, 500)]

    payloads = [pickle.dumps(x) for x in range(100)]
    spec = pickled("work:square", payloads, "item")
    reply, frames = farm.daemon.exchange("submit", jobs=[spec], wait=30, payload=(b"".join(payloads),))
    assert [pickle.loads(frames[entry["payload"]]) for entry in reply["result"]["jobs"]] == [x * x for x in range(100)]


def test_a_remote_exception_comes_with_the_job_s_own_traceback(farm: Farm):
    entry = farm.run("fails", "on purpose")
    assert entry["state"] == "failed"
    error = entry["error"]
    assert (error["code"], error["type"], error["message"]) == ("job-failed", "ValueError", "on purpose")
    lines = error["traceback"].splitlines()
    assert 'work.py", line' in lines[1]
    assert lines[1].endswith("in fails")
    assert lines[-1] == "ValueError: on purpose"


@pytest.mark.parametrize(
    ("function", "args", "code"),
    [
        ("builtins:object", [], "result-not-packable"),
        ("extension", [], "result-not-packable"),
        ("nested", [1020], "result-not-packable"),
        ("nested", [2000], "result-not-packable"),
        ("no_such_function", [], "function-not-found"),
        ("no_such_module:f", [], "function-not-found"),
        ("math:pi", [], "function-not-found"),
        ("sys:exit", [3], "job-failed"),
    ],
)
def test_what_can_t_be_run_or_returned_is_the_job_s_own_failure(farm: Farm, function: str, args: list[Any], code: str):
    before = farm.pids()
    entry = farm.run(function, *args)
    assert (entry["state"], entry["error"]["code"]) == ("failed", code)
    assert farm.pids() == before


def test_a_deeply_nested_value_comes_back_whole(farm: Farm):
    value = farm.run("nested", 700)["value"]
    depth = 0
    while value:
        (value,), depth = value, depth + 1
    assert depth == 700


def test_a_payload_and_a_value_of_thirty_megabytes(farm: Farm):
    data = os.urandom(1_000_000) * 30
    payload = pickle.dumps(data)
    spec = pickled("copy:copy", [payload], "item")
    reply, frames = farm.daemon.exchange("submit", jobs=[spec], wait=60, payload=(payload,))
    entry = reply["result"]["jobs"][0]
    assert entry["state"] == "done"
    assert pickle.loads(frames[entry["payload"]]) == data
    half = data[: len(data) // 2]
    job = farm.command("sha256sum", stdin=half)
    assert farm.ended(job)["state"] == "done"
    assert farm.logs(job)[0].split()[0].decode() == hashlib.sha256(half).hexdigest()


def test_a_value_over_the_limit_is_refused_and_the_worker_lives_on(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", limits="[limits]\nresult_bytes = 100_000")
    before = farm.pids()
    entry = farm.run("large", 100_000)
    assert (entry["state"], entry["error"]["code"]) == ("failed", "result-too-large")
    assert "raise limits.result_bytes" in entry["error"]["hint"]
    assert len(farm.run("large", 99_000)["value"]) == 99_000
    assert farm.pids() == before


# --- the pool while it works


def test_a_resize_disturbs_nobody_who_works(small_farm: Farm):
    farm = small_farm
    jobs = farm.submit_many("marked", [["ran", farm.path("go")]] * 6)
    first = farm.wait_for_marks("ran", 1)
    farm.daemon.result("set", name="default", workers=4)
    four = farm.wait_for_marks("ran", 4)
    assert first < four
    farm.daemon.result("set", name="default", workers=1)
    assert four <= farm.daemon.family(), "those that work are left to it"
    farm.go()
    assert {entry["state"] for entry in farm.all_ended(jobs)} == {"done"}
    wait_until(lambda: len(farm.daemon.result("status")["pools"][0]["workers"]) == 1)
    farm.daemon.result("set", name="default", workers=0)
    wait_until(lambda: not farm.daemon.result("status")["pools"][0]["workers"])
    waiting = farm.submit("square", 3)
    assert farm.state(waiting) == "queued"
    farm.daemon.result("set", name="default", workers=1)
    assert farm.ended(waiting)["value"] == 9


def test_a_retired_worker_that_a_job_left_a_thread_in_is_ended_all_the_same(small_farm: Farm):
    left = small_farm.run("leaves_a_thread")["value"]
    small_farm.daemon.result("set", name="default", workers=0)
    wait_until(lambda: not alive({left}))


def test_a_paused_pool_starts_nothing_until_it_goes_on(farm: Farm):
    farm.daemon.result("set", name="default", paused=True)
    jobs = farm.submit_many("square", [[x] for x in range(10)])
    assert farm.daemon.result("status")["pools"][0]["paused"]
    assert {farm.state(job) for job in jobs} == {"queued"}
    farm.daemon.result("set", name="default", paused=False)
    assert farm.values(jobs) == [x * x for x in range(10)]


def test_a_higher_priority_runs_first(small_farm: Farm):
    farm = small_farm
    blocker = farm.submit("marked", "blocks", farm.path("go"))
    farm.wait_for_marks("blocks")
    log = farm.path("order")
    jobs = [farm.submit("appends", log, text, priority=priority) for text, priority in (("c", -5), ("b", 0), ("a", 9))]
    farm.go()
    farm.all_ended([blocker, *jobs])
    assert Path(log).read_text() == "abc"


def test_a_single_job_does_not_wait_for_a_long_batch(small_farm: Farm):
    farm = small_farm
    batch = farm.submit_many("spends", [[0.001, x] for x in range(5000)])
    single = farm.run("square", 5)
    assert single["value"] == 25
    assert farm.state(batch[-1]) == "queued"
    farm.daemon.result("cancel", ids=batch)


def test_jobs_behind_a_slow_one_are_run_by_whoever_is_idle(farm: Farm):
    mark, go = "stuck", farm.path("go")
    farm.values(farm.submit_many("blocks_at", [[x, -1, mark, go] for x in range(2000)]))  # known as quick from here on
    jobs = farm.submit_many("blocks_at", [[x, 300, mark, go] for x in range(2000)])
    farm.wait_for_marks(mark)
    others = [job for job in jobs if job != jobs[300]]
    assert {entry["state"] for entry in farm.all_ended(others)} == {"done"}
    assert farm.state(jobs[300]) == "running"
    farm.go()
    assert farm.ended(jobs[300])["value"] == 301


def test_results_do_not_wait_for_a_slow_job_behind_them(small_farm: Farm):
    farm = small_farm
    mark, go = "slow", farm.path("go")
    farm.values(farm.submit_many("blocks_at", [[x, -1, mark, go] for x in range(1000)]))
    for at in (1, 7, 150):
        jobs = farm.submit_many("blocks_at", [[x, at, f"{mark}{at}", go + str(at)] for x in range(at + 5)])
        assert {entry["state"] for entry in farm.all_ended(jobs[:at])} == {"done"}
        assert farm.state(jobs[at]) == "running"
        farm.go(f"go{at}")
        farm.all_ended(jobs)


def test_what_waits_in_a_pool_that_is_stopped_has_an_answer(farm: Farm):
    farm.daemon.result("start", kind="pool", name="extra", workers=1)
    farm.daemon.wait_for_workers(1, "extra")
    mark, go = "held", farm.path("never")
    farm.values(farm.submit_many("blocks_at", [[x, -1, mark, go] for x in range(1000)], pool="extra"))
    jobs = farm.submit_many("blocks_at", [[x, 100, mark, go] for x in range(2000)], pool="extra")
    farm.wait_for_marks(mark)
    assert farm.daemon.result("stop", names=["extra"], grace=0.1) == {"stopped": ["extra"], "survivors": 0}
    states = [entry["state"] for entry in farm.all_ended(jobs)]
    assert (states[0], states[100], states[1999]) == ("done", "cancelled", "failed")
    assert set(states) == {"done", "cancelled", "failed"}
    assert farm.ended(jobs[1999])["error"]["code"] == "shutting-down"


# --- environments


def interpreters() -> list[str]:
    """Other Pythons of this machine, 3.11 and up."""
    found = [shutil.which(f"python3.{minor}") for minor in (11, 12, 13, 14)]
    versions = Path(sys.base_prefix).parent
    found += [str(path) for path in sorted(versions.glob("3.1[1-4]*/bin/python3"))]
    works = []
    for path in filter(None, found):
        with contextlib.suppress(OSError, subprocess.CalledProcessError, ValueError):
            told = subprocess.run(
                [path, "-c", "import sys; print(sys.version_info[1])"], capture_output=True, check=True
            )
            if int(told.stdout) >= 11 and int(told.stdout) != sys.version_info[1]:
                works.append(path)
    return works


def test_a_job_runs_in_its_own_interpreter_directory_and_path(farm: Farm, tmp_path: Path):
    others = interpreters()
    if not others:
        pytest.skip("there is no other Python on this machine")
    venv = tmp_path / "venv"
    subprocess.run([others[-1], "-m", "venv", "--without-pip", str(venv)], check=True)
    (tmp_path / "only_here.py").write_text(Path(farm.path("work.py")).read_text())
    environment = {"executable": str(venv / "bin" / "python"), "cwd": str(tmp_path)}
    there = farm.run("only_here:where", environment=environment)["value"]
    assert there["version"] > [3, 11]
    assert there["version"][1] != sys.version_info[1]
    assert (there["cwd"], there["prefix"]) == (str(tmp_path), str(venv))
    assert str(tmp_path) in there["path"]
    assert not any("stokerd" in entry for entry in there["path"])
    here = farm.run("where")["value"]
    assert (here["version"], here["cwd"]) == (list(sys.version_info[:2]), str(farm.home))
    assert farm.run("only_here:where")["error"]["code"] == "function-not-found"
    failed = farm.run("only_here:fails", "there", environment=environment)
    assert failed["error"]["traceback"].splitlines()[-1] == "ValueError: there"


def test_environments_that_share_one_worker_s_place_take_turns(small_farm: Farm, tmp_path: Path):
    farm = small_farm
    other = {"executable": sys.executable, "cwd": str(farm.home), "env": {"WHICH": "other"}}
    third = {"executable": sys.executable, "cwd": str(farm.home), "env": {"WHICH": "third"}}
    batches = [
        farm.submit_many("spends", [[0.02, x] for x in range(30)], **options)
        for options in ({}, {"environment": other}, {"environment": third})
    ]
    for jobs in batches:
        assert {entry["state"] for entry in farm.all_ended(jobs)} == {"done"}


@pytest.mark.parametrize("kind", ["missing", "broken", "not-python"])
def test_an_interpreter_that_does_not_work_fails_its_jobs_at_once_and_no_others(farm: Farm, kind: str, tmp_path: Path):
    executable = tmp_path / "python"
    if kind == "broken":
        executable.write_text("#!/bin/sh\necho broken on purpose >&2\nexit 9\n")
        executable.chmod(0o755)
    elif kind == "not-python":
        executable.write_text("this is not a program")
        executable.chmod(0o755)
    before = farm.pids()
    entry = farm.run("square", 2, environment={"executable": str(executable), "cwd": str(tmp_path)})
    assert (entry["state"], entry["error"]["code"]) == ("failed", "environment-broken")
    assert str(executable) in entry["error"]["message"]
    if kind == "broken":
        assert "broken on purpose" in entry["error"]["message"]
    assert farm.run("square", 3)["value"] == 9
    wait_until(lambda: len(farm.pids()) == 2)
    assert farm.pids() & before


# --- ends before their time


def test_a_job_over_its_time_limit_is_ended(farm: Farm):
    entry = farm.run("time:sleep", 1000, timeout=0.2)
    assert (entry["state"], entry["error"]["code"]) == ("timed-out", "job-timed-out")
    assert "0.2 s" in entry["error"]["message"]


def test_a_short_limit_holds_whatever_limits_were_there_before(small_farm: Farm):
    farm = small_farm
    assert farm.run("square", 2, timeout=1000)["value"] == 4
    jobs = [farm.submit("time:sleep", seconds, timeout=limit) for seconds, limit in ((0.3, 500), (1000, 0.2))]
    assert [entry["state"] for entry in farm.all_ended(jobs)] == ["done", "timed-out"]


def test_a_command_over_its_time_limit_is_ended_and_the_worker_stays(small_farm: Farm):
    before = small_farm.pids()
    entry = small_farm.ended(small_farm.command("sleep", "1000", timeout=0.2))
    assert (entry["state"], small_farm.pids()) == ("timed-out", before)


def test_a_queued_job_is_cancelled_at_once(small_farm: Farm):
    farm = small_farm
    blocker = farm.submit("marked", "blocks", farm.path("go"))
    farm.wait_for_marks("blocks")
    queued = farm.submit("time:sleep", 5)
    assert farm.daemon.result("cancel", ids=[queued]) == {"cancelled": [queued], "already_ended": []}
    assert farm.state(queued) == "cancelled"
    assert farm.daemon.result("cancel", ids=[queued]) == {"cancelled": [], "already_ended": [queued]}
    farm.go()
    assert farm.ended(blocker)["state"] == "done"


def test_a_prefetched_job_is_cancelled_and_its_neighbours_are_run(small_farm: Farm):
    farm = small_farm
    mark, go = "blocks", farm.path("go")
    farm.values(farm.submit_many("blocks_at", [[x, -1, mark, go] for x in range(2000)]))
    jobs = farm.submit_many("blocks_at", [[x, 100, mark, go] for x in range(110)])
    farm.wait_for_marks(mark)
    assert farm.daemon.result("cancel", ids=jobs[101:104])["cancelled"] == jobs[101:104]
    assert farm.state(jobs[100]) == "running"
    farm.go()
    states = [entry["state"] for entry in farm.all_ended(jobs)]
    assert states == ["done"] * 101 + ["cancelled"] * 3 + ["done"] * 6


@pytest.mark.parametrize("victim", ["sleeps", "swallows", "in_c"])
def test_a_running_function_is_cancelled_whatever_it_does_and_nobody_else_notices(farm: Farm, victim: str):
    mark = farm.path("mark")
    job = farm.submit("marked", mark, farm.path("never")) if victim == "sleeps" else farm.submit(victim, mark)
    if victim == "sleeps":
        farm.wait_for_marks("mark")
    else:
        farm.wait_for_file("mark")
    neighbours = farm.submit_many("spends", [[0.001, x] for x in range(300)])
    before = farm.pids()
    reply = farm.daemon.result("cancel", ids=[job], grace=0.05)
    assert reply == {"cancelled": [job], "already_ended": []}
    assert farm.ended(job)["error"]["code"] == "job-cancelled"
    assert {entry["state"] for entry in farm.all_ended(neighbours)} == {"done"}
    if victim == "sleeps":
        assert farm.pids() == before, "an interrupt is enough, the worker stays"
    wait_until(lambda: len(farm.pids()) == 2)


def test_a_command_that_ignores_gentle_signals_is_cancelled_and_the_worker_stays(small_farm: Farm):
    farm = small_farm
    before = farm.pids()
    job = farm.command("sh", "-c", f"trap '' INT TERM; touch {farm.path('mark')}; sleep 1000 & sleep 1000")
    farm.wait_for_file("mark")
    neighbours = farm.submit_many("square", [[x] for x in range(100)])
    assert farm.daemon.result("cancel", ids=[job], grace=0.05)["cancelled"] == [job]
    assert farm.values(neighbours) == [x * x for x in range(100)]
    assert farm.pids() == before
    wait_until(lambda: not [c for c in psutil.Process(farm.daemon.pid).children(recursive=True) if c.name() == "sleep"])


def test_what_a_command_leaves_in_the_background_is_gone_when_its_job_has_ended(small_farm: Farm):
    entry = small_farm.ended(small_farm.command("sh", "-c", "sleep 1000 & echo $!"))
    left = int(small_farm.logs(entry["id"])[0])
    assert entry["state"] == "done"
    wait_until(lambda: not alive({left}))


def test_a_failed_job_can_be_tried_again_and_a_done_one_can_t(farm: Farm):
    path = farm.path("appears")
    job = farm.submit("fails_unless", path)
    assert farm.ended(job)["state"] == "failed"
    assert farm.daemon.result("retry", ids=[job])["jobs"][0]["id"] == job
    assert farm.ended(job)["attempt"] == 2
    Path(path).write_text("there")
    farm.daemon.result("retry", ids=[job])
    entry = farm.ended(job)
    assert (entry["state"], entry["value"], entry["attempt"]) == ("done", "there", 3)
    assert farm.daemon.error("retry", ids=[job])["code"] == "illegal-move"


# --- output


@pytest.mark.slow
def test_what_each_of_many_jobs_wrote_is_its_own_at_every_level(farm: Farm):
    jobs = farm.submit_many("writes", [[x] for x in range(500)])
    farm.all_ended(jobs)
    for number, job in enumerate(jobs):
        out, err = farm.logs(job)
        assert sorted(out.splitlines()) == [b"child %d" % number, b"print %d" % number, b"write %d" % number]
        assert err == b"error %d\n" % number


def test_the_output_of_a_running_job_can_be_followed(farm: Farm):
    job = farm.command("sh", "-c", f"echo one; while ! [ -e {farm.path('go')} ]; do sleep 0.01; done; echo two")
    wait_until(lambda: farm.logs(job)[0] == b"one\n")
    farm.go()
    farm.ended(job)
    reply, frames = farm.daemon.exchange("logs", id=job, out=4)
    assert (reply["result"]["ended"], frames[0]) == (True, b"two\n")


def memory_of_output(daemon_pid: int) -> int:
    """Bytes of memory behind the files that workers write to."""
    total = 0
    for fd in Path(f"/proc/{daemon_pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(fd.readlink()).startswith("/memfd:stoker-std"):
                total += fd.stat().st_blocks * 512
    return total


def test_a_flood_of_output_neither_blocks_its_job_nor_fills_the_memory(farm: Farm):
    before = psutil.Process(farm.daemon.pid).memory_info().rss
    job = farm.submit("floods", 100, "flooded", farm.path("go"))
    farm.wait_for_marks("flooded")
    wait_until(lambda: memory_of_output(farm.daemon.pid) < 5_000_000)
    out, _ = farm.logs(job)
    assert 1_000_000 <= len(out) <= 1_100_000
    assert b"bytes dropped" in out
    farm.go()
    assert farm.ended(job)["value"] == 100
    wait_until(lambda: memory_of_output(farm.daemon.pid) < 1_000_000)
    assert psutil.Process(farm.daemon.pid).memory_info().rss - before < 60_000_000


# --- what is remembered


def test_no_more_than_the_history_is_remembered_and_whoever_waits_gets_all(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", limits="[limits]\nkept_jobs = 20")
    specs = [{"call": {"function": "work:square", "args": [x]}} for x in range(100)]
    entries = farm.daemon.result("submit", jobs=specs, wait=30)["jobs"]
    assert [entry["value"] for entry in entries] == [x * x for x in range(100)]
    values = {entry["id"]: entry["value"] for entry in entries}
    remembered = [entry["id"] for entry in farm.daemon.result("jobs")["jobs"]]
    assert len(remembered) == 20
    assert all(farm.ended(job)["value"] == values[job] for job in remembered)
    for job in values.keys() - set(remembered):
        error = farm.daemon.error("result", id=job)
        assert error["code"] == "no-such-job"
        assert "forgotten" in error["message"]


def test_a_value_is_dropped_when_its_time_is_over_and_the_record_stays(farm: Farm):
    job = farm.submit("square", 7, ttl=0.0)
    farm.all_ended([job])
    wait_until(lambda: "value" not in farm.ended(job))
    assert farm.state(job) == "done"


def test_a_full_queue_is_refused_whole(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", workers=1, limits="[limits]\nqueue_jobs = 10")
    farm.daemon.result("set", name="default", paused=True)
    specs = [{"call": {"function": "work:square", "args": [x]}} for x in range(11)]
    error = farm.daemon.error("submit", jobs=specs)
    assert (error["code"], error["retryable"]) == ("queue-full", True)
    assert farm.daemon.result("jobs")["jobs"] == []
    farm.daemon.result("submit", jobs=specs[:10])
    farm.daemon.result("set", name="default", paused=False)
    wait_until(lambda: farm.daemon.result("status")["jobs"] == {"done": 10})


def test_values_of_any_messagepack_type_come_back_as_they_were(farm: Farm):
    value = {"list": [1, -1, 2**63, 1.5, None, True], "bytes": b"\0\xff", "map": {"nested": "ü"}}
    assert farm.run("copy:copy", value)["value"] == value
