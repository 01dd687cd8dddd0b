"""All pools of a daemon with workers whose ends the test plays itself: no process, no waiting, every turn by hand."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

from tests.unit.pool.parts import HERE, HandClock, Pretence, make_batch

from stoker.errors import StokerError
from stoker.protocol.events import Event
from stokerd.bus import Bus
from stokerd.child import Child, Exit, ForkSpec
from stokerd.pool import messages, page
from stokerd.pool.batch import Batch
from stokerd.pool.ledger import Ledger
from stokerd.pool.options import Options
from stokerd.pool.pool import Pool
from stokerd.pool.pools import Order, Pools
from stokerd.pool.settings import PoolSettings
from stokerd.pool.worker import Worker
from stokerd.promise import Promise

NO_PID = 5_000_000
"""Above the highest process id that Linux gives: nobody is hit by mistake."""
KILLED = Exit(code=-9)


class Hand:
    """The far end of one worker, and its process as far as there is one."""

    def __init__(self, clock: HandClock, pid: int, on_exit: Callable[[Child, Exit], None]) -> None:
        self.child = Pretence()
        self.child.pid = pid
        self.alive = True
        self.near: Worker | None = None
        self._clock, self._on_exit = clock, on_exit
        self._words = page.words(self.child.far_page)

    def say(self, op: int, body: bytes = b"", **fields: Any) -> None:
        """Send a message, and have it read."""
        self.child.far.send(messages.pack(op, size=len(body), **fields) + body)
        self.hear()

    def hear(self) -> None:
        """Have the daemon read."""
        watched = self._clock.watched.get(self.child.channel.fileno())
        if watched is not None:
            watched()

    def ready(self) -> None:
        """It has come up."""
        self.say(messages.READY, seq=self.child.pid)

    def begin(self) -> int:
        """Begin with the next job; returns its seq."""
        self._words[page.STARTED] = int(self._clock.monotonic() * 1e9)
        self._words[page.CLAIMED] += 1
        return int(self._words[page.CLAIMED])

    def end(self, value: bytes = b"value", *, failed: bool = False, seconds: float = 0.001) -> None:
        """Answer the job that it began with, or else the next one."""
        if self._words[page.CLAIMED] == self._words[page.DONE]:
            self.begin()
        seq = self._words[page.DONE] = self._words[page.CLAIMED]
        lengths = array("I", [len(value) | (messages.ERROR if failed else 0)]).tobytes()
        self.say(messages.RESULTS, lengths + value, seq=seq, count=1, extra=int(seconds * 1e9))

    def die(self, how: Exit = KILLED) -> None:
        """It ends, and is reaped."""
        if self.alive:
            self.alive = False
            self._words.release()
            self._on_exit(self.child, how)
            self.child.close()


class House:
    """See the module.

    Args:
        settings: of the default pool.
        up: workers come up as soon as they are hired.
    """

    def __init__(
        self,
        settings: PoolSettings,
        *,
        ledger: Ledger | None = None,
        tags: dict[str, int] | None = None,
        up: bool = True,
        **options: Any,
    ) -> None:
        self.clock = HandClock()
        self.events: list[Event] = []
        self.hands: list[Hand] = []
        self.refusal: StokerError | None = None
        self.default = HERE
        self._up = up
        bus = Bus(self.clock.time)
        bus.listen(lambda _seq, _time, event: self.events.append(event))
        self.pools = Pools(
            {"default": settings},
            clock=self.clock,
            bus=bus,
            forker=self,
            history_jobs=1000,
            history_bytes=1_000_000,
            tag_limits=tags,
            ledger=ledger,
            **options,
        )
        self.pools.recover()
        self.turn()

    # --- who can fork

    def fork(self, _environment: object, _spec: ForkSpec, _on_started: object, on_exit: Callable[..., None]) -> Child:
        """Make the ends of a worker."""
        if self.refusal is not None:
            raise self.refusal
        hand = Hand(self.clock, NO_PID + len(self.hands), on_exit)
        self.hands.append(hand)
        if self._up:
            self.clock.soon(lambda: hand.ready() if hand.alive else None)
        return hand.child  # type: ignore[return-value] # of a child it has what a worker uses

    # --- what tests do

    @property
    def pool(self) -> Pool:
        """The default one."""
        return self.pools.get("default")

    def turn(self, seconds: float = 0.0) -> None:
        """Let the loop turn."""
        self.clock.advance(seconds)

    def submit(self, count: int = 1, *, before: tuple[tuple[Batch, int], ...] = (), **options: Any) -> Batch:
        """Hand in jobs."""
        names = Options.__dataclass_fields__.keys() & options.keys()
        its = {name: options.pop(name) for name in names}
        batch = make_batch(count, options=Options(**its), **options)
        found, accepted = self.pools.submit([Order(batch, before)])
        assert accepted is None or not accepted.settled or accepted.error is None
        return found[0]

    def running(self) -> list[Hand]:
        """Those whose workers have something to do, in the order in which they were hired."""
        busy = {worker.pid for worker in self.pool.crew.members.values() if worker.outstanding}
        return [hand for hand in self.hands if hand.alive and hand.child.pid in busy]

    def idle(self) -> list[Hand]:
        """Those whose workers have nothing to do."""
        busy = self.running()
        return [hand for hand in self.hands if hand.alive and hand not in busy]

    def worker(self, hand: Hand) -> Worker:
        """The near end."""
        return next(worker for worker in self.pool.crew.members.values() if worker.pid == hand.child.pid)

    def told(self, topic: type[Event]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, topic)]

    def close(self) -> None:
        """End every worker."""
        self.pools.close(0.0)
        for hand in self.hands:
            hand.die()


def settled(promise: Promise[Any]) -> bool:
    """Whether there is an answer, and a good one."""
    return promise.settled and promise.error is None
