"""A daemon that is killed at any moment: everything that was acknowledged is there, whole and in order."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.store.stores import LARGE, Stored, batch, move

from stokerd.store.records import Accepted, Move

KILLS = 30
MOVES_EACH = 3

VICTIM = """
import functools, os, sys
from pathlib import Path
from tests.unit.store.stores import Stored
from tests.unit.store.test_killed import MOVES_EACH, given_batch, given_move

def say(what, promise):
    assert promise.error is None, promise.error
    os.write(1, what.encode() + b"\\n")

stored = Stored(Path(sys.argv[1]))
store = stored.store
next_id = store.next_id
while True:
    for first_id in range(next_id, next_id + 1 + next_id % 7):
        store.accept([given_batch(first_id)]).when_settled(functools.partial(say, f"accepted {first_id}"))
        for number in range(MOVES_EACH):
            last = store.move([given_move(first_id, number)])
            last.when_settled(functools.partial(say, f"moved {first_id} {number}"))
        if first_id % 3 == 0:
            os.write(1, f"dropped {first_id - 1}\\n".encode())
            store.drop([first_id - 1])
    next_id = first_id + 1
    stored.wait(last)
"""


def given_batch(first_id: int) -> Accepted:
    """What the victim accepts: told from every other by each of its parts, and every fifth in a file."""
    payload = b"%020d" % first_id * (LARGE if first_id % 5 == 0 else 3)
    return batch(first_id, key=f"key {first_id}", payload=payload)


def given_move(first_id: int, number: int) -> Move:
    """What happens to it, every fourth in a file."""
    large = (first_id + number) % 4 == 0
    return move(first_id, b"%d" % number, data=b"%020d" % (first_id + number) * (LARGE if large else 2))


class Acknowledged:
    """What the victims have said."""

    def __init__(self) -> None:
        self.accepted: set[int] = set()
        self.dropped: set[int] = set()
        self.moved: dict[int, int] = {}

    def hear(self, said: bytes) -> None:
        """Lines; the last one may have been torn off."""
        for line in said[: said.rfind(b"\n") + 1].decode().splitlines():
            match line.split():
                case ["accepted", first_id]:
                    self.accepted.add(int(first_id))
                case ["moved", first_id, number]:
                    assert self.moved.get(int(first_id), -1) == int(number) - 1, "promises settled out of order"
                    self.moved[int(first_id)] = int(number)
                case ["dropped", first_id]:
                    self.dropped.add(int(first_id))
                case _:
                    raise AssertionError(line)


def kill_one(folder: Path, lines: int) -> bytes:
    """Start a victim, kill it once it has said so many lines, and return all that it said."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
    argv = [sys.executable, "-c", VICTIM, str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        said = b""
        while said.count(b"\n") < lines:
            assert select.select([process.stdout], [], [], 60)[0], "it says nothing any more"
            more = os.read(process.stdout.fileno(), 4096)
            assert more, f"it ended by itself: {process.wait()}"
            said += more
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        return said + process.stdout.read()


def check(folder: Path, known: Acknowledged) -> None:
    """All that was acknowledged is there, and what is there is whole."""
    stored = Stored(folder)
    found = {kept.accepted.first_id: kept for kept in stored.store.load()}
    assert known.accepted - known.dropped <= found.keys()
    assert stored.store.next_id > max(known.accepted)
    files = 0
    for first_id, kept in found.items():
        assert not kept.damaged
        assert kept.accepted == given_batch(first_id)
        assert kept.moves == tuple(given_move(first_id, number) for number in range(len(kept.moves)))
        if first_id not in known.dropped:
            assert len(kept.moves) >= known.moved.get(first_id, -1) + 1
        files += sum(len(data) > LARGE for data in (kept.accepted.payload, *(one.data for one in kept.moves)))
    stored.until_files(files)  # and none that no row names, once the pruning that was cut short is finished
    stored.close()


@pytest.mark.slow
@pytest.mark.timeout(400)  # on a disk that takes milliseconds for each fsync
def test_thirty_kills_at_random_moments_lose_nothing_that_was_acknowledged(folder) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 - pytest shows it when the test fails
    choice = random.Random(seed)
    known = Acknowledged()
    for _ in range(KILLS):
        known.hear(kill_one(folder, choice.randrange(1, 60)))
        check(folder, known)
    assert len(known.accepted) > KILLS
