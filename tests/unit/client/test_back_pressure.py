"""A full queue: the client waits for room and sends again, in halves where all of it never fits, or raises."""

from __future__ import annotations

import math
import pickle
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import FakeDaemon

import stoker
from stoker.batch import Batch, never_fits
from stoker.errors import NoSuchPool, QueueFull, TooManyJobs
from stoker.functions import pack_value


class Full(FakeDaemon):
    """Holds so many jobs and is full the first times; the value of each job is the number of bytes it came with."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.limit, self.refusals, self.error = 100, 0, QueueFull
        self.next_id = 1
        self.replies |= {"submit": self.on_submit, "room": {}}

    def on_submit(self, params: dict[str, Any]) -> Any:
        spec = params["jobs"][0]
        sizes = array("I", spec["pickle"]["lengths"] if "pickle" in spec else b"\0\0\0\0")
        if self.refusals or len(sizes) > self.limit:
            self.refusals = max(0, self.refusals - 1)
            return self.error("full", hint="wait", data={"queued": 0, "limit": self.limit})
        first, self.next_id = self.next_id, self.next_id + len(sizes)
        if not params.get("stream"):
            return {"jobs": [{"id": first, "count": len(sizes), "state": "queued"}]}
        values = [pickle.dumps(size) for size in sizes]
        lengths = array("I", map(len, values)).tobytes()
        part = {"spec": 0, "id": first, "first": 0, "count": len(sizes), "lengths": lengths}
        return [(part, [b"".join(values)])]

    def asked(self, method: str) -> list[dict[str, Any]]:
        return [params for name, params in self.requests if name == method]


@pytest.fixture
def daemon(tmp_path) -> Iterator[Full]:
    made = Full(tmp_path / "control.sock")
    yield made
    made.close()


@pytest.fixture
def client(daemon) -> Iterator[stoker.Client]:
    with stoker.Client(daemon.path) as made:
        yield made


def size_of(number: int) -> int:
    return len(pack_value(((number,), {})))


@pytest.mark.parametrize("error", [QueueFull, TooManyJobs])
def test_what_was_refused_is_sent_again_when_there_is_room(daemon, client, error):
    daemon.refusals, daemon.error = 3, error
    job = client.options(pool="default").submit(math.sqrt, 2)
    assert job.result(30) == size_of(2)
    assert len(daemon.asked("submit")) == 4
    assert daemon.asked("room") == [{"pool": "default", "jobs": 1, "bytes": size_of(2)}] * 3


def test_a_job_that_is_detached_waits_for_room_as_well(daemon, client):
    daemon.refusals = 2
    assert client.options(detach=True).submit(math.sqrt, 2).id == 1
    assert client.call("math:sqrt", 2).id == 2
    assert len(daemon.asked("room")) == 2


def test_who_does_not_want_to_wait_is_told(daemon, client):
    daemon.refusals = 3
    hasty = client.options(block=False)
    with pytest.raises(QueueFull, match="full"):
        hasty.submit(math.sqrt, 2).result(30)
    with pytest.raises(QueueFull):
        hasty.call("math:sqrt", 2)
    with pytest.raises(QueueFull):
        hasty.options(detach=True).submit(math.sqrt, 2)
    assert daemon.asked("room") == []


@pytest.mark.parametrize("count", [2, 5, 8])
def test_what_never_fits_together_is_sent_in_halves_and_each_job_has_its_own_answer(daemon, client, count):
    daemon.limit = 2
    batch = Batch(client.outbox, client.template(math.sqrt, "call"))
    numbers = [10 ** (3 * place) for place in range(count)]
    with client.connection.lock:
        jobs = [batch.add(pack_value(((number,), {}))) for number in numbers]
        batch.post()
    assert [job.result(30) for job in jobs] == [size_of(number) for number in numbers]
    assert len({size_of(number) for number in numbers}) > 1, "the answers can be told apart"
    assert sorted(job.id for job in jobs) == list(range(1, count + 1))


def test_a_job_that_fits_into_no_queue_fails_and_is_not_tried_for_ever(daemon, client):
    daemon.limit = 0
    with pytest.raises(QueueFull):
        client.submit(math.sqrt, 2).result(30)
    with pytest.raises(QueueFull):
        client.call("math:sqrt", 2)
    assert daemon.asked("room") == []


def test_where_asking_for_room_is_refused_the_job_fails_with_why(daemon, client):
    daemon.refusals = 1
    daemon.replies["room"] = NoSuchPool("there is no pool 'default'")
    with pytest.raises(NoSuchPool):
        client.submit(math.sqrt, 2).result(30)


@pytest.mark.parametrize(
    ("data", "jobs", "size", "never"),
    [
        ({"limit": 5}, 5, 10**9, False),
        ({"limit": 5}, 6, 0, True),
        ({"limit": 5, "bytes": 3}, 6, 5, False),
        ({"limit": 5, "bytes": 3}, 1, 6, True),
        ({}, 10**9, 10**9, False),
        ({"limit": "5"}, 6, 6, False),
    ],
)
def test_what_never_fits_is_told_by_the_limit_that_was_met(data, jobs, size, never):
    assert never_fits(QueueFull("full", data=data), jobs, size) is never
