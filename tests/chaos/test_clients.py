"""Clients are killed and stopped at every moment: their jobs end as they asked for, and nobody else notices."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.chaos.houses import Build, House, nothing_leaks
from tests.daemons import DEADLINE, wait_until

from stoker import Client

Program = Callable[[str], "subprocess.Popen[bytes]"]

SESSION = """
    import os, zmq, msgpack
    from stoker import Client

    def session(on_disconnect):
        socket = zmq.Context().socket(zmq.DEALER)
        socket.connect(ENDPOINT)
        def ask(method, **params):
            head = {"v": 1, "id": 1, "method": method, "params": params}
            socket.send_multipart([b"", msgpack.packb(head)])
            return msgpack.unpackb(socket.recv_multipart()[1])["result"]
        ask("hello", pid=os.getpid(), on_disconnect=on_disconnect)
        return ask

    def go(name):
        open(os.path.join(HOME, name), "w").close()
"""


@pytest.fixture
def house(build: Build) -> Iterator[House]:
    """Two workers, and a forkserver for each environment that the clients here are in."""
    made = build()

    def warm_up() -> None:
        with Client(made.daemon.endpoint) as client:
            assert client.submit(pow_of_two, 3).result() == 8
        start(made, "with Client(ENDPOINT) as client: client.submit(pow, 2, 3).result()").communicate(timeout=DEADLINE)

    with nothing_leaks(made, warm_up=warm_up):
        yield made


def start(house: House, code: str) -> subprocess.Popen[bytes]:
    """Start a program that is a client: ``ENDPOINT``, ``HOME``, ``session`` and ``go`` are there for it."""
    text = f"ENDPOINT = {house.daemon.endpoint!r}\nHOME = {str(house.home)!r}\n"
    text += textwrap.dedent(SESSION) + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", text], cwd=house.home, stdout=subprocess.PIPE)


@pytest.fixture
def program(house: House) -> Iterator[Program]:
    """See :func:`start`; they are ended after the test."""
    started = []

    def begin(code: str) -> subprocess.Popen[bytes]:
        started.append(start(house, code))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate(timeout=DEADLINE)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(DEADLINE)


def sessions(house: House) -> int:
    """How many clients have said hello and are there."""
    count: int = house.daemon.result("status")["daemon"]["sessions"]
    return count


def open_jobs(house: House) -> int:
    """How many jobs have not ended."""
    jobs = house.daemon.result("status")["jobs"]
    return sum(jobs.get(state, 0) for state in ("queued", "running", "delayed", "waiting"))


def test_a_client_that_dies_while_it_waits_costs_nobody_anything(house: House, program: Program):
    waiting = program(
        """
        import work
        with Client(ENDPOINT) as client:
            client.submit(work.marked, os.path.join(HOME, "theirs"), os.path.join(HOME, "go")).result()
        """
    )
    ours = house.submit("marked", house.path("ours"), house.path("go"))
    house.wait_for_marks("theirs")
    (pid,) = house.wait_for_marks("ours")
    kill(waiting)
    wait_until(lambda: sessions(house) == 0)
    house.go()
    assert house.ended(ours)["value"] == pid
    wait_until(lambda: open_jobs(house) == 0)


def test_a_client_that_dies_half_way_through_a_map(house: House, program: Program):
    mapping = program(
        """
        import work
        with Client(ENDPOINT) as client:
            for number, value in enumerate(client.map(work.square, range(1_000_000))):
                if number == 5000:
                    go("half-way")
        """
    )
    house.wait_for_file("half-way")
    kill(mapping)
    ours = house.submit_many("square", [[x] for x in range(500)])
    assert house.values(ours[::100]) == [0, 10_000, 40_000, 90_000, 160_000]
    wait_until(lambda: sessions(house) == 0)
    wait_until(lambda: open_jobs(house) == 0)


@pytest.mark.parametrize("policy", ["cancel", "keep"])
def test_a_dead_client_s_jobs_end_as_it_asked_for(house: House, program: Program, policy: str):
    owner = program(
        f"""
        ask = session({policy!r})
        running = {{"function": "work:marked", "args": [HOME + "/theirs", HOME + "/go"]}}
        queued = {{"function": "deeds:writes_line", "many": [[HOME + "/lines", x] for x in range(50)]}}
        jobs = ask("submit", jobs=[{{"call": running}}, {{"call": queued, "priority": -1}}])["jobs"]
        print(*(job["id"] for job in jobs), flush=True)
        ask("wait", ids=[jobs[0]["id"]])
        """
    )
    assert owner.stdout is not None
    running, queued = map(int, owner.stdout.readline().split())
    house.wait_for_marks("theirs")
    ours = house.submit("marked", house.path("ours"), house.path("never"))
    (pid,) = house.wait_for_marks("ours")  # both workers have a job: what is queued has not begun
    begun = house.lines("lines")
    kill(owner)
    theirs = [running, *range(queued, queued + 50)]
    if policy == "cancel":
        states = [entry["state"] for entry in house.all_ended(theirs)]
        assert states.count("cancelled") == 51 - len(begun)
        assert states[0] == "cancelled"
        assert house.lines("lines") == begun
    else:
        house.go()
        assert {entry["state"] for entry in house.all_ended(theirs)} == {"done"}
        assert sorted(house.lines("lines")) == list(range(50))
    assert house.state(ours) == "running"
    assert house.marks("ours") == {pid}
    house.daemon.result("cancel", ids=[ours])


def test_a_client_that_dies_while_a_hundred_megabytes_are_on_the_way_to_it(house: House, program: Program):
    receiver = program(
        """
        import signal
        ask = session("keep")
        job = ask("submit", jobs=[{"call": {"function": "work:large", "args": [100_000_000]}}])["jobs"][0]["id"]
        ask("wait", ids=[job])
        print(job, flush=True)
        for _ in range(3):
            ask("result", id=job)
        """
    )
    assert receiver.stdout is not None
    job = int(receiver.stdout.readline())
    kill(receiver)
    wait_until(lambda: sessions(house) == 0)
    assert len(house.ended(job)["value"]) == 100_000_000
    assert house.run("square", 3)["value"] == 9


def test_a_client_that_stops_holds_up_nobody_and_has_every_answer_when_it_goes_on(house: House, program: Program):
    stopped = program(
        """
        import work
        with Client(ENDPOINT) as client:
            jobs = [client.submit(work.large, 1_000_000) for _ in range(60)]
            go("sent")
            values = [job.result() for job in jobs]
            print(len(values), set(map(len, values)), flush=True)
        """
    )
    house.wait_for_file("sent")
    stopped.send_signal(signal.SIGSTOP)
    try:
        with Client(house.daemon.endpoint) as client:
            assert list(client.map(pow_of_two, range(200))) == [2**x for x in range(200)]
        assert house.run("square", 12)["value"] == 144
        wait_until(lambda: open_jobs(house) == 0)
    finally:
        stopped.send_signal(signal.SIGCONT)
    assert stopped.communicate(timeout=DEADLINE)[0] == b"60 {1000000}\n"


def pow_of_two(exponent: int) -> int:
    return 2**exponent


def test_clients_that_die_one_after_the_other_leave_nothing(house: House, program: Program):
    code = """
        import work
        with Client(ENDPOINT) as client:
            for value in client.map(work.square, range(1_000_000)):
                if value == 900:
                    print("on", flush=True)
        """
    for _ in range(8):
        process = program(code)
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        kill(process)
    wait_until(lambda: sessions(house) == 0)
    wait_until(lambda: open_jobs(house) == 0)
    entry: Any = house.run("square", 11)
    assert entry["value"] == 121
