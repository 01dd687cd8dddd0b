"""A hundred thousand random messages, and the daemon goes on as if nothing had been."""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.daemons import RunningDaemon
from tests.peers import Peer
from tests.protocol_values import instances

from stoker.errors import StokerError
from stoker.protocol import codec, typed
from stoker.protocol.methods import METHODS
from stoker.protocol.requests import (
    Bye,
    Hello,
    Request,
    Set,
    Shutdown,
    StartBurner,
    StartPool,
    StartProcess,
    Submit,
)

MESSAGES = 100_000
WINDOW = 500
"""Messages under way at a time."""
MORE_MEMORY = 100 << 20
CONFIG = """
[limits]
message_bytes = 65536
head_bytes = 16384
frames = 8
queue_jobs = 20000
jobs_per_request = 50
[pool.default]
workers = 1
"""
OBJECTS = {
    **{kind: {} for kind in ("queue", "lock", "semaphore", "event", "condition", "dict", "list")},
    "barrier": {"parties": 2},
    "value": {"typecode": "q"},
    "array": {"typecode": "d", "length": 5},
}
"""Shared objects that are there, by kind, which is their name as well."""
COSTLY = (Shutdown, StartBurner, StartPool, StartProcess, Set, Bye)
"""Requests that are sent only when something is wrong with them: they would end the daemon, fork a thousand processes,
pause the pool whose answers are counted, or give up answers that are under way."""


def samples(kind: Any) -> list[Request[Any]]:
    """Some instances of a request."""
    found: list[Request[Any]] = []

    @settings(
        max_examples=12,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(instances(kind))
    def collect(request: Request[Any]) -> None:
        found.append(request)

    collect()
    return found


@functools.cache
def seeds() -> list[tuple[str, Any]]:
    """Valid requests of every method, as word and parameters."""
    found: list[tuple[str, Any]] = []
    for word, kind in METHODS.items():
        found += [(word, typed.encode_params(request)) for request in samples(kind)]
    call = {"function": "math:sqrt", "args": [2]}
    found += [("submit", {"jobs": [{"call": call}], "wait": 0.0})] * 5
    found += [("submit", {"jobs": [{"call": call}], "stream": True})] * 5
    found += [(f"{word}", {"id": "x", "timeout": 0.0}) for word in ("lock.acquire", "queue.get", "event.wait")]
    return [(word, params) for word, params in found if word != "shutdown"]


def is_harmless(frames: list[bytes]) -> bool:
    """Whether the daemon can be sent this, because it refuses it or answers it soon."""
    try:
        head, _ = codec.decode_head(frames, limit=16384)
        request = typed.decode_request(head)
    except StokerError:
        return True
    if isinstance(request, COSTLY):
        return False
    if isinstance(request, Hello):
        return request.heartbeat is None
    if isinstance(request, Submit) and request.wait is None:
        return True
    return all(
        getattr(request, name, 0) is not None and getattr(request, name, 0) <= 0.01 for name in ("timeout", "wait")
    )


class Fuzzer:
    """Makes messages."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def __iter__(self) -> Iterator[list[bytes]]:
        makers = [self.frames, self.values, self.mutated_bytes, *[self.mutated_params] * 4]
        while True:
            make = self.dice.choice(makers)
            message = make()
            if make == self.frames or is_harmless(message):
                yield message

    def frames(self) -> list[bytes]:
        """Bytes that mean nothing."""
        dice = self.dice
        first = b"" if dice.random() < 0.7 else dice.randbytes(dice.randrange(5))
        return [first, *(dice.randbytes(dice.randrange(40)) for _ in range(dice.randrange(12)))]

    def values(self) -> list[bytes]:
        """MessagePack that means nothing."""
        dice = self.dice
        keys = ["v", "id", "method", "params", "x", 5]
        head = (
            {dice.choice(keys): self.value(4) for _ in range(dice.randrange(6))}
            if dice.random() < 0.8
            else self.value(4)
        )
        return [b"", msgpack.packb(head), *(dice.randbytes(dice.randrange(20)) for _ in range(dice.randrange(3)))]

    def value(self, depth: int) -> Any:
        """Anything."""
        dice = self.dice
        kind = dice.randrange(11 if depth else 9)
        if kind == 9:
            return [self.value(depth - 1) for _ in range(dice.randrange(4))]
        if kind == 10:
            return {
                dice.choice(["name", "ids", "jobs", "id", "kind", 7]): self.value(depth - 1)
                for _ in range(dice.randrange(4))
            }
        words = ["default", "", "x" * dice.randrange(200), "math:sqrt", *METHODS]
        choices: list[Callable[[], Any]] = [
            lambda: None,
            lambda: dice.random() < 0.5,
            lambda: dice.choice([0, 1, -1, 2**63, 2**64 - 1, -(2**63), 10_000, dice.randrange(200)]),
            lambda: dice.choice([0.0, -1.5, 1e308, float("inf"), float("nan"), dice.random()]),
            lambda: dice.choice(words),
            lambda: dice.randbytes(dice.randrange(20)),
            lambda: msgpack.ExtType(dice.randrange(100), dice.randbytes(3)),
            lambda: msgpack.Timestamp(dice.randrange(2**33)),
            lambda: dice.choice(words),
        ]
        return choices[kind]()

    def seed(self) -> dict[str, Any]:
        """The head of a valid request; of a shared object that there is, where it is about one."""
        word, params = self.dice.choice(seeds())
        kind = word.partition(".")[0]
        if kind in OBJECTS:
            params = params | {"id": kind, "timeout": 0.0} if "timeout" in params else params | {"id": kind}
        return {"v": 1, "id": self.dice.randrange(1000), "method": word, "params": dict(params)}

    def mutated_bytes(self) -> list[bytes]:
        """A valid request with some bytes changed, or none."""
        dice = self.dice
        head = bytearray(msgpack.packb(self.seed()))
        for _ in range(dice.randrange(4)):
            at = dice.randrange(len(head))
            match dice.randrange(3):
                case 0:
                    head[at] = dice.randrange(256)
                case 1:
                    head[at:at] = dice.randbytes(2)
                case _:
                    del head[at : at + 2]
                    head += b"\xc0" * (not head)
        return [b"", bytes(head), *(dice.randbytes(dice.randrange(20)) for _ in range(dice.randrange(3)))]

    def mutated_params(self) -> list[bytes]:
        """A valid request, as it is or with a parameter replaced, added or left out."""
        dice = self.dice
        head = self.seed()
        params = head["params"]
        if dice.random() < 0.3:
            pass
        elif params and dice.random() < 0.8:
            key = dice.choice(list(params))
            if dice.random() < 0.3:
                del params[key]
            else:
                params[key] = self.value(3)
        else:
            params[dice.choice(["name", "id", "timeout", "wait", "nmae", ""])] = self.value(2)
        return [b"", msgpack.packb(head), *(dice.randbytes(dice.randrange(20)) for _ in range(dice.randrange(3)))]


def resident(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


class Counting:
    """Sends messages with a window, and counts answers."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.sent = self.answered = 0
        self.outcomes: Counter[str] = Counter()

    def send(self, frames: list[bytes]) -> None:
        while self.sent - self.answered >= WINDOW:
            self.take()
        self.peer.send(*frames)
        self.sent += 1

    def take(self) -> None:
        head, _ = self.peer.receive()
        assert ("result" in head) is not ("error" in head)
        if head.get("more"):
            return
        self.answered += 1
        outcome = head["error"]["code"] if "error" in head else "result"
        assert outcome != "internal-error", head
        self.outcomes[outcome] += 1

    def finish(self) -> None:
        while self.answered < self.sent:
            self.take()


@pytest.mark.slow
def test_a_hundred_thousand_random_messages_are_answered_one_by_one(start_daemon: Callable[..., RunningDaemon]) -> None:
    daemon = start_daemon("--log-level", "warning", config=CONFIG)
    seed = random.randrange(2**32)
    messages = iter(Fuzzer(seed))
    with Peer(daemon.endpoint) as peer:
        peer.result("hello", client="a fuzzer")
        for kind, options in OBJECTS.items():
            peer.result("object.open", kind=kind, name=kind, options=options)
        counting = Counting(peer)
        for _ in range(MESSAGES // 20):
            counting.send(next(messages))
        counting.finish()
        before = resident(daemon.pid)
        for _ in range(MESSAGES - counting.sent):
            counting.send(next(messages))
        counting.finish()
        # Nothing was answered twice: what is asked now is answered next.
        assert "result" in peer.ask("ping", "the end"), f"seed {seed}"
        assert counting.answered == MESSAGES
        assert counting.outcomes["result"] > 1000
        assert len(counting.outcomes) > 10, counting.outcomes
    assert resident(daemon.pid) - before < MORE_MEMORY, f"seed {seed}"
    assert daemon.call("ping")["result"]["pid"] == daemon.pid
    assert "a handler failed" not in daemon.log, f"seed {seed}: {daemon.log[-5000:]}"
    assert "a bug in the daemon" not in daemon.log, f"seed {seed}: {daemon.log[-5000:]}"
