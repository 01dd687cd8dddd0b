"""What jobs can say and do: progress, waiting for other jobs, fresh code, threads; on a real daemon."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.conftest import StartDaemon
from tests.daemons import DEADLINE, wait_until
from tests.farms import Farm, make_farm

import stoker
from stoker.errors import InvalidParams, QueueFull


@pytest.fixture
def farm(start_daemon: StartDaemon, short_path: Path) -> Farm:
    """Two workers."""
    return make_farm(start_daemon, short_path / "home")


# --- progress


def test_a_function_says_how_far_it_has_come(farm: Farm):
    job = farm.submit("counts_to", 10, farm.path("mark"), farm.path("go"))
    farm.wait_for_marks("mark")
    [entry] = farm.daemon.result("jobs", ids=[job])["jobs"]
    assert entry["progress"] == {"done": 5.0, "total": 10.0, "note": "half-way"}
    told = [event for event in farm.daemon.result("events", limit=100)["events"] if event[1] == "job.progress"]
    assert told[0][2]["id"] == job
    farm.go()
    assert farm.ended(job)["value"] == 10


def test_a_command_says_how_far_it_has_come(farm: Farm):
    program = (
        "import os, stoker, time\n"
        "stoker.progress(3, 4, 'nearly')\n"
        f"while not os.path.exists({farm.path('go')!r}): time.sleep(0.002)\n"
    )
    job = farm.command(sys.executable, "-c", program)
    progress = lambda: farm.daemon.result("jobs", ids=[job])["jobs"][0].get("progress")  # noqa: E731
    wait_until(lambda: progress() == {"done": 3.0, "total": 4.0, "note": "nearly"})
    farm.go()
    assert farm.ended(job)["state"] == "done"


def test_progress_of_a_job_that_does_not_run_is_refused(farm: Farm):
    job = farm.submit("square", 2)
    farm.ended(job)
    assert farm.daemon.error("progress", id=job, done=1)["code"] == "illegal-move"
    assert farm.daemon.error("progress", id=99, done=1)["code"] == "no-such-job"


def test_outside_of_a_job_progress_does_nothing_but_look_at_its_numbers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("STOKER_JOB", raising=False)
    stoker.progress(1, 2)
    for done, total in ((-1, None), (float("nan"), 1), (1, float("inf"))):
        with pytest.raises(InvalidParams, match="progress"):
            stoker.progress(done, total)


# --- jobs that wait for jobs


def test_jobs_that_wait_for_jobs_lend_their_slots_and_can_t_deadlock(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", workers=1)
    assert farm.run("descends", 5)["value"] == 5
    wait_until(lambda: len(farm.pids()) == 1)


def test_a_command_that_waits_for_jobs_lends_its_slot_too(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", workers=1)
    program = "import math, stoker; print(stoker.Client().submit(math.factorial, 5).result())"
    job = farm.command(sys.executable, "-c", program)
    assert farm.ended(job)["state"] == "done", farm.logs(job)
    assert farm.logs(job)[0] == b"120\n"


def test_lending_from_outside_of_a_job_does_nothing(farm: Farm):
    assert farm.daemon.result("lend", lent=True) == {"lent": False}
    assert len(farm.pids()) == 2


# --- fresh code


def test_a_worker_runs_the_function_as_it_was_last_written(farm: Farm):
    module = farm.home / "fresh.py"
    module.write_text("def f():\n    return 'old'\n")
    assert {farm.run("fresh:f")["value"] for _ in range(4)} == {"old"}
    before = farm.pids()
    module.write_text("def f():\n    return 'new, and longer'\n")
    assert {farm.run("fresh:f")["value"] for _ in range(4)} == {"new, and longer"}
    wait_until(lambda: len(farm.pids()) == 2)
    assert farm.pids() != before


def test_a_file_that_is_replaced_as_editors_do_is_noticed(farm: Farm):
    module = farm.home / "fresh.py"
    module.write_text("def f():\n    return 1\n")
    assert farm.run("fresh:f")["value"] == 1
    other = farm.home / "fresh.tmp"
    # Not of the same size: within one second, Python itself takes what it compiled before for this one's.
    other.write_text("def f():\n    return 22\n")
    other.replace(module)
    assert {farm.run("fresh:f")["value"] for _ in range(4)} == {22}


def test_jobs_that_wait_behind_stale_code_are_run_with_the_new(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", workers=1)
    module = farm.home / "fresh.py"
    module.write_text("def f(x):\n    return (1, x)\n")
    assert farm.run("fresh:f", 0)["value"] == [1, 0]
    module.write_text("def f(x):\n    return (2, 0 + x)\n")
    jobs = farm.submit_many("fresh:f", [[x] for x in range(100)])
    assert farm.values(jobs) == [[2, x] for x in range(100)]


def test_a_module_that_has_not_changed_costs_no_worker(farm: Farm):
    module = farm.home / "fresh.py"
    module.write_text("def f():\n    return 1\n")
    for _ in range(4):
        farm.run("fresh:f")
    before = farm.pids()
    (farm.home / "beside.txt").write_text("not a module")
    for _ in range(4):
        farm.run("fresh:f")
    assert farm.pids() == before


def test_a_cancel_in_the_middle_of_an_import_spoils_it_for_no_other_job(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", workers=1)
    package, hold, up = farm.home / "halves", farm.home / "hold", farm.home / "up"
    package.mkdir()
    # Python keeps the first half of a broken import, without its package: the next one finds no `first` there.
    (package / "__init__.py").write_text("from .first import *\nfrom .second import *\n__all__ = first.__all__\n")
    (package / "first.py").write_text("__all__ = ['f']\ndef f(): return 'whole'\n")
    (package / "second.py").write_text(
        f"import pathlib, time\npathlib.Path({str(up)!r}).touch()\n"
        f"while pathlib.Path({str(hold)!r}).exists(): time.sleep(0.001)\n"
    )
    hold.touch()
    jobs = farm.submit_many("halves:f", [[], []])
    wait_until(up.exists)
    farm.daemon.result("cancel", ids=jobs[:1])
    farm.all_ended(jobs[:1])
    hold.unlink()
    assert farm.ended(jobs[1]).get("value") == "whole"
    assert farm.run("halves:f").get("value") == "whole"


# --- threads


def test_blas_and_openmp_have_as_many_threads_as_the_job_has_slots(farm: Farm):
    assert set(farm.run("threads")["value"]) == {"1"}
    assert set(farm.run("threads", slots=2)["value"]) == {"2"}
    assert set(farm.run("threads")["value"]) == {"1"}


def test_threads_of_a_blas_that_is_loaded_already_follow(farm: Farm):
    pytest.importorskip("numpy")
    (farm.home / "blas.py").write_text(
        "import ctypes, numpy\n"
        "from stokerd.pool import threads\n"
        "def used():\n"
        "    numpy.ones((200, 200)) @ numpy.ones((200, 200))\n"
        "    for path, names in threads._loaded():\n"
        "        for name in names:\n"
        "            getter = getattr(ctypes.CDLL(path), name.replace('_set_', '_get_'), None)\n"
        "            if getter is not None: return getter()\n"
    )
    first = farm.run("blas:used", slots=1)
    if first.get("value") is None:
        pytest.skip(f"this numpy brings no BLAS whose threads can be asked for: {first}")
    pool = [farm.run("blas:used", slots=slots)["value"] for slots in (1, 2, 1, 2, 1)]
    assert pool == [1, 2, 1, 2, 1]


# --- output of commands


def test_a_shell_that_opens_its_stderr_anew_cuts_nothing_off(farm: Farm):
    script = "echo one; echo two > /dev/stderr; echo three > /dev/stdout; echo four > /dev/stderr; echo five"
    job = farm.command("sh", "-c", script)
    assert farm.ended(job)["state"] == "done"
    assert farm.logs(job) == (b"one\nthree\nfive\n", b"two\nfour\n")
    assert farm.logs(farm.command("true")) == (b"", b"")


# --- a full queue


def test_a_client_waits_for_room_and_all_its_jobs_are_run(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", limits="[limits]\nqueue_jobs = 50")
    with stoker.Client(farm.daemon.endpoint) as client:
        jobs = [client.submit(abs, -number) for number in range(2000)]
        assert [job.result(DEADLINE) for job in jobs] == list(range(2000))


def test_a_client_that_does_not_want_to_wait_is_told(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", limits="[limits]\nqueue_jobs = 5")
    farm.daemon.result("set", name="default", paused=True)
    with stoker.Client(farm.daemon.endpoint) as client:
        impatient = client.options(block=False)
        jobs = [impatient.submit(abs, -number) for number in range(2000)]
        errors = [error for job in jobs if isinstance(error := job_error(job), QueueFull)]
        assert errors
        assert errors[0].retryable


def job_error(job: stoker.Job | stoker.KeptJob) -> BaseException | None:
    """Why a job has no value, if that is known by now."""
    try:
        return job.exception(0.05)
    except TimeoutError:
        return None


def test_room_is_answered_when_there_is_some_and_not_before(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", limits="[limits]\nqueue_jobs = 2")
    farm.daemon.result("set", name="default", paused=True)
    first, _ = farm.submit_many("square", [[1], [2]])
    assert (
        farm.daemon.error("submit", jobs=[{"call": {"function": "work:square", "args": [3]}}])["code"] == "queue-full"
    )
    answers: list[dict[str, object]] = []
    seeker = threading.Thread(target=lambda: answers.append(farm.daemon.call("room", jobs=1)))
    seeker.start()
    farm.daemon.result("ping")
    assert not answers
    farm.daemon.result("cancel", ids=[first])
    seeker.join(DEADLINE)
    assert "result" in answers[0]


def test_one_session_may_have_so_many_unfinished_jobs(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", limits="[limits]\nsession_jobs = 10")
    farm.daemon.result("set", name="default", paused=True)
    spec = {"call": {"function": "work:square", "many": [[x] for x in range(11)]}}
    error = farm.daemon.error("submit", jobs=[spec])
    assert (error["code"], error["retryable"]) == ("too-many-jobs", True)


# --- the command line


def stoker_cli(farm: Farm, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stoker", *words],
        env={**os.environ, "STOKER_SOCKET": farm.daemon.endpoint},
        cwd=farm.home,
        capture_output=True,
        text=True,
        timeout=DEADLINE * 2,
    )


def test_the_command_line_has_all_of_it(farm: Farm):
    done = stoker_cli(farm, "submit", "--detach", "--key", "k", "--tag", "t", "--retries", "2", "work:square", "4")
    job = done.stdout.strip()
    assert stoker_cli(farm, "submit", "--key", "k", "work:square", "4").stdout == "16\n"
    assert (
        stoker_cli(farm, "submit", "--after", job, "--delay", "10ms", "--no-durable", "work:square", "5").stdout
        == "25\n"
    )
    shown = stoker_cli(farm, "job", job).stdout
    for line in ("key         k", "tags        t", "durable     yes", "attempt     1 of 3", "state       done"):
        assert line in shown, shown
    assert stoker_cli(farm, "jobs", "--tag", "t", "--newer", "1h").stdout.count("work:square") == 1
    assert "TAG" in stoker_cli(farm, "limit", "t", "3").stdout
    drained = stoker_cli(farm, "drain", "--timeout", "30s")
    assert drained.returncode == 0, drained.stderr
    refused = stoker_cli(farm, "submit", "work:square", "4")
    assert refused.returncode == 75
    assert "being drained" in refused.stderr
    assert stoker_cli(farm, "set", "default", "--resume").returncode == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--delay", "soon"], "not a duration"),
        (["--at", "teatime"], "not a time"),
        (["--slots", "0"], "too few"),
        (["--durable", "--no-durable"], "not allowed with"),
        (["--after", "999999"], "there is no job 999999"),
    ],
)
def test_what_can_t_be_is_said_clearly(farm: Farm, words, complaint):
    done = stoker_cli(farm, "submit", *words, "work:square", "4")
    assert done.returncode in (2, 4)
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
