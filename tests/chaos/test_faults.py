"""The system has nothing to spare: new work is refused with the reason, what runs goes on, what was accepted is not
lost, and service resumes by itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.houses import Build, House, nothing_leaks
from tests.daemons import DEADLINE, wait_until
from tests.peers import Peer

import stoker

MEGABYTE = 1024 * 1024
PIDS = Path("/sys/fs/cgroup/pids")


# --- the disk is full -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(short_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    where = short_path / "disk"
    where.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={24 * MEGABYTE},mode=700", "stoker-chaos", str(where)]
    if os.geteuid() or subprocess.run(["mount", *options], check=False, capture_output=True).returncode:
        pytest.skip("needs root, to mount a small file system")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)


def fill(disk: Path) -> Path:
    """Leave not a page of it free; returns what takes it up."""
    ballast = disk / "ballast"
    fd = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for size in (MEGABYTE, 4096):
            with contextlib.suppress(OSError):
                while True:
                    os.write(fd, bytes(size))
    finally:
        os.close(fd)
    return ballast


def durable(house: House, number: int, **options: Any) -> dict[str, Any]:
    """A job that leaves a line."""
    call = {"function": "deeds:writes_line", "args": [house.path("lines"), number]}
    return {"call": call, "durable": True, **options}


def store(house: House) -> str:
    """What is wrong with the store."""
    reason: str = house.daemon.result("status")["daemon"]["store"]
    return reason


def test_a_full_disk_refuses_what_is_new_and_durable_and_nothing_else(build: Build, small_disk: Path):
    house = build(arguments=("--state-dir", str(small_disk / "state")))
    runs = house.submit("marked", house.path("runs"), house.path("go"), durable=True)
    waits = [house.submit_spec(durable(house, number, after=[runs])) for number in range(20)]
    house.wait_for_marks("runs")
    ballast = fill(small_disk)

    # new durable work is refused, with the reason
    big = {"function": "work:square", "args": [1], "kwargs": {}}
    refusals = []

    def refused() -> bool:
        reply = house.daemon.call("submit", jobs=[{"call": big, "durable": True, "name": "n" * 200}])
        refusals.extend([reply["error"]] if "error" in reply else [])
        return "error" in reply

    wait_until(refused)  # what fits into pages that the log has already is still accepted
    assert (refusals[0]["code"], refusals[0]["retryable"]) == ("unavailable", True)
    assert "full" in refusals[0]["message"]
    assert "full" in store(house)

    # what is not durable goes on, also with workers that are new
    plain = house.run("square", 5)
    assert (plain["state"], plain.get("value")) == ("done", 25), plain
    for pid in house.pids() - house.marks("runs"):
        os.kill(pid, 9)
    assert house.values(house.submit_many("square", [[x] for x in range(200)]))[-1] == 199 * 199
    house.daemon.wait_for_workers(2)

    # what runs goes on, and what was accepted is run, and told
    house.go()
    assert house.ended(runs)["state"] == "done"
    assert {entry["state"] for entry in house.all_ended(waits)} == {"done"}
    assert sorted(house.lines("lines")) == list(range(20))

    # service resumes by itself
    ballast.unlink()
    wait_until(lambda: store(house) == "")
    after = house.submit_spec(durable(house, 100))
    assert house.ended(after)["state"] == "done"

    # and nothing of it is lost, or done twice
    house.die()
    house.again()
    assert {entry["state"] for entry in house.all_ended([runs, *waits, after])} == {"done"}
    assert sorted(house.lines("lines")) == [*range(20), 100]


def test_a_daemon_killed_while_its_disk_is_full_has_what_was_accepted_when_it_comes_back(
    build: Build, small_disk: Path
):
    house = build(arguments=("--state-dir", str(small_disk / "state")), workers=1)
    runs = house.submit("marked", house.path("runs"), house.path("go"), durable=True, on_crash="requeue")
    waits = [house.submit_spec(durable(house, number, on_crash="requeue")) for number in range(20)]
    house.wait_for_marks("runs")
    fill(small_disk)
    house.die()
    house.go()
    house.again()  # the disk is as full as before
    assert house.ended(runs)["state"] == "done"
    assert {entry["state"] for entry in house.all_ended(waits)} == {"done"}
    assert sorted(set(house.lines("lines"))) == list(range(20))


# --- the table of descriptors is full ---------------------------------------------------------------------------------


@contextlib.contextmanager
def no_descriptors(pid: int) -> Iterator[None]:
    """A process can open nothing more; what it has stays."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    first_free = next(number for number in range(100_000) if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def submit_by(peer: Peer, function: str, *args: Any, **options: Any) -> dict[str, Any]:
    """The whole reply to a submit."""
    return peer.ask("submit", jobs=[{"call": {"function": function, "args": list(args)}, **options}])


def check_refused_and_resumed(house: House, peer: Peer, fault: contextlib.AbstractContextManager[None]) -> None:
    """While there is the fault: what runs goes on, what is queued waits, new work is refused. After it, all is done."""
    runs = submit_by(peer, "work:marked", house.path("runs"), house.path("go"))["result"]["jobs"][0]["id"]
    (busy,) = house.wait_for_marks("runs")
    (idle,) = house.pids() - {busy}
    with fault:
        os.kill(idle, 9)
        wait_until(lambda: len(peer.result("status")["pools"][0]["workers"]) < 2)
        queued = submit_by(peer, "work:square", 8)["result"]["jobs"][0]["id"]  # there is a worker
        house.go()
        assert peer.result("result", id=runs)["job"]["value"] == busy
        assert peer.result("result", id=queued)["job"]["value"] == 64
        waits = peer.result(
            "submit",
            jobs=[
                {"call": {"function": "work:marked", "args": [house.path("last"), house.path("never")]}},
                {"call": {"function": "work:square", "args": [9]}},
            ],
        )["jobs"]
        house.wait_for_marks("last")
        os.kill(busy, 9)
        assert peer.result("result", id=waits[0]["id"])["job"]["state"] == "worker-died"
        wait_until(lambda: peer.result("status")["pools"][0]["reason"] != "")
        error = submit_by(peer, "work:square", 10)["error"]
        assert (error["code"], error["retryable"]) == ("unavailable", True)
        assert peer.result("jobs", ids=[waits[1]["id"]])["jobs"][0]["state"] == "queued"
        assert peer.result("status")["pools"][0]["reason"] in error["message"]
    assert peer.result("result", id=waits[1]["id"])["job"]["value"] == 81
    house.daemon.wait_for_workers(2)
    assert house.run("square", 11)["value"] == 121
    assert house.daemon.result("status")["pools"][0]["reason"] == ""


def test_with_a_full_table_of_descriptors_new_work_is_refused_and_what_waits_is_run_later(house: House):
    with Peer(house.daemon.endpoint) as peer:
        peer.result("ping")
        check_refused_and_resumed(house, peer, no_descriptors(house.daemon.pid))


@contextlib.contextmanager
def few_descriptors(pid: int, left: int) -> Iterator[None]:
    """A process can open so many descriptors more."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1 + left, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_more_clients_than_there_are_descriptors_wait_at_the_door_and_are_let_in_later(house: House):
    with contextlib.ExitStack() as guests, Peer(house.daemon.endpoint) as early:
        early.result("ping")
        answers: list[int] = []
        with few_descriptors(house.daemon.pid, 40):
            threads = [
                threading.Thread(target=lambda: answers.append(guest(house.daemon.endpoint, guests))) for _ in range(60)
            ]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(answers) >= 10)
            # libzmq has room that is kept for it: who came by it before is served, whoever waits at the door
            assert submit_by(early, "work:square", 4)["result"]
            assert house.daemon.process.poll() is None
            assert len(answers) < 60
        for thread in threads:
            thread.join(DEADLINE)
        assert answers == [house.daemon.pid] * 60


def guest(endpoint: str, guests: contextlib.ExitStack) -> int:
    """A client by the direct channel, which stays; the pid that it was answered with."""
    client = guests.enter_context(stoker.Client(endpoint))
    return client.ping().pid


# --- nothing can be forked --------------------------------------------------------------------------------------------


@pytest.fixture
def pids_group() -> Iterator[Path]:
    """A control group that can be told how many processes there may be."""
    group = PIDS / f"stoker-chaos-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("needs root and the pids controller of control groups (version 1) at /sys/fs/cgroup/pids")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


@contextlib.contextmanager
def no_forks(group: Path) -> Iterator[None]:
    """Every fork fails with EAGAIN."""
    (group / "pids.max").write_text("1")
    try:
        yield
    finally:
        (group / "pids.max").write_text("max")


def test_while_nothing_can_be_forked_new_work_is_refused_and_what_waits_is_run_later(build: Build, pids_group: Path):
    enter = f'echo $$ > {pids_group}/cgroup.procs && exec {sys.executable} -m stokerd "$@"'
    house = build(program=("sh", "-c", enter, "sh"))
    with nothing_leaks(house), Peer(house.daemon.endpoint) as peer:
        check_refused_and_resumed(house, peer, no_forks(pids_group))
    house.daemon.stop()


def test_a_command_that_can_t_be_forked_fails_and_says_why(build: Build, pids_group: Path):
    enter = f'echo $$ > {pids_group}/cgroup.procs && exec {sys.executable} -m stokerd "$@"'
    house = build(program=("sh", "-c", enter, "sh"))
    with no_forks(pids_group):
        entry = house.ended(house.command("true"))
        assert entry["state"] == "failed"
        assert os.strerror(errno.EAGAIN) in entry["error"]["message"]
    assert house.ended(house.command("true"))["state"] == "done"
    house.daemon.stop()
