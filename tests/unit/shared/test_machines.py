"""Whatever happens in whatever order: no item lost or twice, never two owners, tokens that only grow."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stoker.protocol.events import Event
from stokerd.bus import Bus
from stokerd.promise import Promise
from stokerd.shared.base import Item
from stokerd.shared.locks import SharedLock, SharedRLock
from stokerd.shared.queues import SharedQueue
from stokerd.shared.registry import Shared, SharedLimits
from stokerd.shared.waiters import Actor

SESSIONS = ("a", "b", "c")
ACTORS = [Actor(session, holder) for session in SESSIONS for holder in ("1:1", "2:1")]


class Timer:
    def __init__(self, call: Any) -> None:
        self.call = call

    def cancel(self) -> None:
        self.call = None


class Timers:
    """A clock whose timers fire when the machine wants."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def time(self) -> float:
        return 1.7e9

    def later(self, _seconds: float, call: Any, *args: Any) -> Timer:
        self.timers.append(Timer(lambda: call(*args)))
        return self.timers[-1]

    def fire(self, index: int) -> None:
        live = [timer for timer in self.timers if timer.call is not None]
        self.timers = live
        if live:
            timer = live[index % len(live)]
            call, timer.call = timer.call, None
            call()


def registry(timers: Timers, maxbytes: int = 1 << 20) -> Shared:
    def no_one(_seq: int, _time: float, _event: Event) -> None: ...

    bus = Bus(timers.time)
    bus.listen(no_one)
    return Shared(timers, bus, SharedLimits(object_bytes=maxbytes))  # type: ignore[arg-type]


class QueueMachine(RuleBasedStateMachine):
    """Every item is in exactly one place: parked, waiting, on loan, or gone to somebody."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = Timers()
        self.shared = registry(self.timers, 700)
        self.numbers = itertools.count()
        self.tickets = itertools.count(1)
        self.shared.open(Actor("root"), "queue", "q")
        self.queue: SharedQueue = self.shared.use(SharedQueue, "q", Actor("root"))
        self.queue.maxsize = 3
        self.puts: dict[Promise[int], tuple[Actor, list[int], int]] = {}
        self.gets: dict[Promise[Any], tuple[Actor, str, int]] = {}
        self.on_loan: dict[int, tuple[Actor, str, list[int]]] = {}
        self.gone: list[int] = []
        self.entered = 0

    def use(self, actor: Actor) -> SharedQueue:
        queue = self.shared.use(SharedQueue, "q", actor)
        for number, (taker, ack, values) in list(self.on_loan.items()):
            if taker == actor and ack == "auto":
                self.gone += values
                del self.on_loan[number]
        return queue

    @rule(actor=st.sampled_from(ACTORS), count=st.integers(1, 5), timeout=st.sampled_from([0, 1, None]))
    def put(self, actor: Actor, count: int, timeout: float | None) -> None:
        values, ticket = [next(self.numbers) for _ in range(count)], next(self.tickets)
        promise = self.use(actor).put(actor, [Item("msgpack", str(v).encode()) for v in values], timeout, ticket)
        self.puts[promise] = (actor, values, ticket)
        self.collect()

    @rule(
        actor=st.sampled_from(ACTORS),
        most=st.integers(1, 3),
        ack=st.sampled_from(["auto", "manual", "now"]),
        timeout=st.sampled_from([0, 1, None]),
    )
    def get(self, actor: Actor, most: int, ack: Any, timeout: float | None) -> None:
        ticket = next(self.tickets)
        promise = self.use(actor).get(actor, most, ack, timeout, ticket)
        self.gets[promise] = (actor, ack, ticket)
        self.collect()

    @rule(give_back=st.booleans(), which=st.integers(0, 5))
    def acknowledge(self, give_back: bool, which: int) -> None:
        if not self.on_loan:
            return
        number = sorted(self.on_loan)[which % len(self.on_loan)]
        actor, _, values = self.on_loan.pop(number)
        assert self.queue.settle(actor.session, (number,), give_back=give_back) == 1
        self.gone += [] if give_back else values
        self.collect()

    @rule(session=st.sampled_from(SESSIONS))
    def session_ends(self, session: str) -> None:
        self.end(session, None)
        self.shared.session_closed(session)
        self.collect()

    @rule(session=st.sampled_from(SESSIONS), holder=st.sampled_from(["1", "2"]))
    def process_ends(self, session: str, holder: str) -> None:
        self.end(session, holder)
        self.shared.holder_closed(session, holder)
        self.collect()

    def end(self, session: str, holder: str | None) -> None:
        def ended(actor: Actor) -> bool:
            return actor.session == session and (holder is None or actor.holder.startswith(holder))

        self.on_loan = {number: loan for number, loan in self.on_loan.items() if not ended(loan[0])}

    @rule(which=st.integers(0, 20))
    def time_over(self, which: int) -> None:
        self.timers.fire(which)
        self.collect()

    @rule(which=st.integers(0, 20), put=st.booleans())
    def nobody_wants_it(self, which: int, put: bool) -> None:
        waiting: list[Promise[Any]] = list(self.puts if put else self.gets)
        if waiting:
            waiting[which % len(waiting)].abandon()
        self.collect()

    @rule(which=st.integers(0, 20), put=st.booleans())
    def called_back(self, which: int, put: bool) -> None:
        waiting: list[tuple[Actor, Any, int]] = list((self.puts if put else self.gets).values())
        if waiting:
            actor, _, ticket = waiting[which % len(waiting)]
            assert self.shared.withdraw(actor, "q", ticket).value() == "waiting"
        self.collect()

    def collect(self) -> None:
        """Learn what was answered."""
        for promise, (_, _values, _) in list(self.puts.items()):
            if promise.settled:
                del self.puts[promise]
        for promise, (actor, ack, _) in list(self.gets.items()):
            if promise.settled:
                del self.gets[promise]
                if promise.error is None:
                    delivery = promise.value()
                    values = [int(item.data) for item in delivery.items]
                    if delivery.number:
                        self.on_loan[delivery.number] = (actor, ack, values)
                    else:
                        self.gone += values

    @invariant()
    def every_item_that_went_in_is_in_one_place(self) -> None:
        waiting = [int(item.data) for item in self.queue.items]
        lent = [value for _, _, values in self.on_loan.values() for value in values]
        everywhere = waiting + lent + self.gone
        assert len(everywhere) == len(set(everywhere)) == self.queue.tally.unfinished
        assert self.queue.detail()["on_loan"] == len(lent)

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        assert not (self.queue.items and self.gets)
        assert all(not promise.settled for promise in (*self.puts, *self.gets))

    @invariant()
    def bytes_are_counted_right(self) -> None:
        held = [*self.queue.items, *(item for loan in self.queue.loans._open.values() for item in loan.items)]
        expected = sum(len(item.data) + 128 for item in held)
        assert self.queue.detail()["bytes"] == self.shared._room.budget.used == expected


class LockMachine(RuleBasedStateMachine):
    """At most one owner; each one that was granted had a larger token than the one before."""

    kind: Any = SharedLock

    def __init__(self) -> None:
        super().__init__()
        self.timers = Timers()
        self.shared = registry(self.timers)
        self.tickets = itertools.count(1)
        self.shared.open(Actor("root"), self.kind.kind, "l")
        self.lock: SharedLock = self.shared.use(SharedLock, "l", Actor("root"))
        self.waits: dict[Promise[int], tuple[Actor, int]] = {}
        self.holds: dict[Actor, int] = {}
        self.tokens = [0]

    @rule(actor=st.sampled_from(ACTORS), timeout=st.sampled_from([0, 1, None]))
    def acquire(self, actor: Actor, timeout: float | None) -> None:
        ticket = next(self.tickets)
        lock = self.shared.use(SharedLock, "l", actor)
        self.waits[lock.acquire(actor, timeout, ticket)] = (actor, ticket)
        self.collect()

    @rule()
    def release(self) -> None:
        for actor in list(self.holds):
            self.lock.release(actor, self.tokens[-1])
            self.holds[actor] -= 1
            if not self.holds[actor]:
                del self.holds[actor]
        self.collect()

    @rule(session=st.sampled_from(SESSIONS))
    def session_ends(self, session: str) -> None:
        self.holds = {actor: depth for actor, depth in self.holds.items() if actor.session != session}
        self.shared.session_closed(session)
        self.collect()

    @rule(which=st.integers(0, 20))
    def time_over(self, which: int) -> None:
        self.timers.fire(which)
        self.collect()

    @rule(which=st.integers(0, 20))
    def nobody_wants_it(self, which: int) -> None:
        if self.waits:
            list(self.waits)[which % len(self.waits)].abandon()
        self.collect()

    @rule(which=st.integers(0, 20))
    def called_back(self, which: int) -> None:
        if self.waits:
            actor, ticket = list(self.waits.values())[which % len(self.waits)]
            assert self.shared.withdraw(actor, "l", ticket).value() == "waiting"
        self.collect()

    def collect(self) -> None:
        for promise, (actor, _) in list(self.waits.items()):
            if promise.settled:
                del self.waits[promise]
                if promise.error is None and promise.value():
                    self.granted(actor, promise.value())

    def granted(self, actor: Actor, token: int) -> None:
        if actor in self.holds:
            assert self.kind is SharedRLock
            assert token == self.tokens[-1]
        else:
            assert token > self.tokens[-1]
            self.tokens.append(token)
        self.holds[actor] = self.holds.get(actor, 0) + 1

    @invariant()
    def there_is_one_owner_and_the_lock_knows_it(self) -> None:
        assert len(self.holds) <= 1
        assert self.lock.owner == next(iter(self.holds), None)
        assert self.lock.depth == sum(self.holds.values())

    @invariant()
    def nobody_waits_for_a_free_lock(self) -> None:
        assert not (self.waits and self.lock.owner is None)
        assert self.lock.waiting == len(self.waits)


class RLockMachine(LockMachine):
    """The same, and the owner may have it several times."""

    kind = SharedRLock


TestQueueMachine = QueueMachine.TestCase
TestLockMachine = LockMachine.TestCase
TestRLockMachine = RLockMachine.TestCase
for machine in (TestQueueMachine, TestLockMachine, TestRLockMachine):
    machine.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
