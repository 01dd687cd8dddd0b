"""A lock that is lent: every order in which its borrower's stores and the daemon's recall can fall.

The borrower is the client's own code on the daemon's own slot, and the messages go to the daemon's own handlers. Time
is turned by hand, so the daemon's part can happen between any two accesses of the borrower's to the slot.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.unit.shared.conftest import Rig

from stoker.errors import NoSuchObject, NotOwner, ObjectDropped
from stoker.protocol.framing import Descriptor
from stoker.protocol.loans import DIED, SETTLE, SLOTS, STATE
from stoker.protocol.objects import LockAcquire, LockRelease, LockShow
from stoker.shared.borrowing import Loan
from stokerd.control.caller import Answer, Caller, Session
from stokerd.control.handlers.object_locks import acquire_lock, release_lock, show_lock
from stokerd.promise import Promise
from stokerd.shared.bias import FEWEST, MOST, WORTH
from stokerd.shared.conditions import SharedCondition
from stokerd.shared.lending import HASTE, Lent
from stokerd.shared.locks import SharedLock, SharedRLock
from stokerd.shared.waiters import Actor

ACCESSES = 6
"""More than a borrower makes at a time."""


class Killed(BaseException):
    """A process ends where this is raised."""


class Watched:
    """The words of a slot; before each access something may happen."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self.plan: dict[int, Callable[[], object]] = {}
        """What happens before which access, counted from 0."""
        self.count = 0

    def __getitem__(self, at: int) -> int:
        self._happen()
        return self._words[at]

    def __setitem__(self, at: int, value: int) -> None:
        self._happen()
        self._words[at] = value

    def _happen(self) -> None:
        number, self.count = self.count, self.count + 1
        if number in self.plan:
            self.plan[number]()

    def start(self, plan: dict[int, Callable[[], object]]) -> None:
        self.plan, self.count = plan, 0

    def rest(self) -> list[Callable[[], object]]:
        """What has not happened, and does not happen by itself any more."""
        plan, self.plan = self.plan, {}
        return [plan[number] for number in sorted(plan) if number >= self.count]


class Someone:
    """A client with one thread: it has the lock while it has a token."""

    def __init__(self, rig: Any, actor: Actor, name: str = "db") -> None:
        self.rig, self.actor, self.name = rig, actor, name
        self.parts: Any = SimpleNamespace(shared=rig.shared)
        session = Session(id=actor.session, anonymous=False, pass_descriptors=lambda: None)
        self.caller = Caller(session)
        self.loan: Loan | None = None
        self.words: Any = None
        self.life = memoryview(bytearray(4)).cast("I")
        self.first = True
        self.token = 0
        self.waiting: Promise[Any] | None = None

    def ask(self, timeout: float | None = None, **given: Any) -> None:
        """Acquire by message."""
        lend = "first" if self.first else "again"
        asked = LockAcquire(id=self.name, holder=self.actor.holder, timeout=timeout, lend=lend, **given)
        answer = acquire_lock(self.parts, self.caller, asked)
        if isinstance(answer, Promise):
            self.waiting = answer
            answer.when_settled(lambda done: None if done.error else self._answered(done.value()))
        else:
            self._answered(answer)

    def _answered(self, answer: Any) -> None:
        self.waiting = None
        if isinstance(answer, Answer):
            assert all(isinstance(frame, Descriptor) for frame in answer.payload)
            answer, self.first = answer.reply, False
        self.token = answer.token
        if answer.acquired:
            self.loan = None
        if answer.loan:
            page = self.rig.shared.lender._pages[self.actor.session]
            lent: Lent = page.lent[answer.loan]
            self.words = Watched(lent.words)
            self.loan = Loan(answer.loan, self.words, self.life, answer.token)

    def take(self) -> None:
        """Acquire on the loan, or by message where that can't be."""
        assert self.loan is not None
        token = self.loan.take(int(self.actor.holder.rpartition(":")[2]), lambda _loan, _token: None)
        if token > 0:
            self.token = token
        elif token < 0:
            number, self.loan = self.loan.number, None
            self.ask(returned=(number,), declined=-token)
        else:
            self.ask()

    def give(self) -> None:
        """Release, wherever it was acquired."""
        token, self.token = self.token, 0
        given = self.loan.give(token) if self.loan is not None else 0
        if given < 0:
            number, self.loan = self.loan.number, None  # type: ignore[union-attr]
            self.tell(-given, number)
        elif not given:
            self.tell(token)

    def tell(self, token: int | None, loan: int = 0) -> Any:
        """Release by message."""
        asked = LockRelease(id=self.name, holder=self.actor.holder, token=token, loan=loan)
        return release_lock(self.parts, self.caller, asked)

    def show(self) -> Any:
        return show_lock(self.parts, self.caller, LockShow(id=self.name))

    def borrow(self) -> None:
        """Acquire it until it is lent; it is held then."""
        for _ in range(MOST):
            self.ask()
            assert self.token
            if self.loan is not None:
                return
            self.give()
        raise AssertionError("it was never lent")


@pytest.fixture
def lock(rig: Any, ann: Actor) -> SharedLock:
    found: SharedLock = rig.open(ann, SharedLock, "db")
    return found


@pytest.fixture
def she(rig: Any, ann: Actor, lock: SharedLock) -> Someone:
    return Someone(rig, ann)


@pytest.fixture
def he(rig: Any, bob: Actor, lock: SharedLock) -> Someone:
    return Someone(rig, bob)


# --- lending ----------------------------------------------------------------------------------------------------------


def test_a_lock_is_lent_to_who_has_acquired_it_several_times_in_a_row(lock, she):
    for number in range(FEWEST):
        assert not lock.lent
        she.ask()
        assert lock.lent == (number == FEWEST - 1)
        she.give()
    assert lock.lent


def test_it_is_not_where_another_came_between_or_asked_or_waits(lock, she, he):
    for asked, between in (
        (0, lambda: (he.ask(), he.give())),
        (1, lambda: (she.ask(), he.ask(timeout=0), she.give())),
        (1, lambda: (she.ask(), he.ask(), she.give(), he.give())),
        (1, lambda: (she.ask(), he.tell(None), setattr(she, "token", 0))),
    ):
        he.ask()  # they begin anew
        he.give()
        for _ in range(FEWEST - 1 - asked):
            she.ask()
            she.give()
        between()
        she.ask()
        assert not lock.lent
        she.give()


def test_it_is_not_where_nobody_asks_for_that_or_no_descriptor_can_be_passed(lock, she):
    she.caller.session.pass_descriptors = None
    for _ in range(2 * FEWEST):
        she.ask()
        she.give()
    assert not lock.lent
    she.caller.session.pass_descriptors = lambda: None
    for _ in range(2 * FEWEST):
        answer = acquire_lock(she.parts, she.caller, LockAcquire(id="db", holder="1:1"))
        assert answer.loan == answer.slot == 0
        she.tell(answer.token)
    assert not lock.lent


def test_an_rlock_and_the_lock_of_a_condition_are_never_lent(rig, ann, lock):
    rig.open(ann, SharedRLock, "r")
    rig.open(ann, SharedCondition, "c", lock="db")
    for name in ("r", "db"):
        she = Someone(rig, ann, name)
        for _ in range(2 * FEWEST):
            she.ask()
            she.tell(None if name == "r" else she.token)
        assert she.loan is None


@pytest.mark.parametrize("holder", ["", "1", "1:", "1:x", "1:²", f"1:{'9' * 19}"])
def test_it_is_not_to_a_holder_whose_name_does_not_fit_in_a_word(rig, lock, holder):
    she = Someone(rig, Actor("ann", holder))
    for _ in range(2 * FEWEST):
        she.ask()
        she.give()
    assert not lock.lent


def test_tokens_grow_on_a_loan_and_after_it_for_every_lock(rig, she, he, ann):
    rig.open(ann, SharedLock, "other")
    she.borrow()
    last = she.token
    for _ in range(500):
        she.give()
        she.take()
        assert she.token == last + 1
        last = she.token
    she.give()
    he.ask()
    rig.clock.turn(SETTLE)
    assert he.token > last
    other = Someone(rig, he.actor, "other")
    other.ask()
    assert other.token > last


# --- every order ------------------------------------------------------------------------------------------------------


def orders() -> list[tuple[int, int]]:
    """Before which access the recall begins, and before which it ends; the last one: not before all is done."""
    return [(begin, end) for begin, end in itertools.combinations_with_replacement(range(ACCESSES + 1), 2)]


def plan(rig: Any, he: Someone, begin: int, end: int) -> dict[int, Callable[[], object]]:
    """His acquire before one access, and the end of the recall before another."""

    def both() -> None:
        he.ask()
        rig.clock.turn(SETTLE)

    if begin == end:
        return {begin: both}
    return {begin: he.ask, end: lambda: rig.clock.turn(SETTLE)}


def one_after_the_other(rig: Any, she: Someone, he: Someone) -> None:
    """Never both, and each of them in the end."""
    had: list[Someone] = []
    rig.clock.turn(SETTLE)
    for _ in range(2):
        holders = [someone for someone in (she, he) if someone.token]
        assert len(holders) == 1, "both have it, or nobody does"
        had += holders
        holders[0].give()
        rig.clock.turn(SETTLE)
    assert sorted(map(id, had)) == sorted((id(she), id(he)))
    assert she.waiting is he.waiting is None
    assert she.show().session is None


@pytest.mark.parametrize(("begin", "end"), orders())
def test_an_acquire_that_meets_a_recall_gives_the_lock_to_one_of_them_at_a_time(rig, she, he, begin, end):
    she.borrow()
    she.give()
    steps = plan(rig, he, begin, end)
    she.words.start(steps)
    she.take()
    assert not (she.token and he.token)
    for step in she.words.rest():  # what did not happen meanwhile happens now
        step()
        assert not (she.token and he.token)
    one_after_the_other(rig, she, he)


@pytest.mark.parametrize(("begin", "end"), orders())
def test_a_release_that_meets_a_recall_lets_the_other_one_in(rig, she, he, begin, end):
    she.borrow()
    she.give()
    she.take()
    steps = plan(rig, he, begin, end)
    she.words.start(steps)
    she.give()
    for step in she.words.rest():
        step()
    rig.clock.turn(SETTLE)
    assert he.token
    assert she.show().holder == he.actor.holder
    he.give()
    assert she.show().session is None


@pytest.mark.parametrize("access", range(4))
@pytest.mark.parametrize("robust", [True, False])
def test_a_borrower_that_ends_while_it_acquires_leaves_the_lock_free_or_held_as_any_holder_does(
    rig, ann, bob, access, robust
):
    rig.open(ann, SharedLock, "mine", robust=robust)
    she, he = Someone(rig, ann, "mine"), Someone(rig, bob, "mine")
    she.borrow()
    she.give()

    def kill() -> None:
        she.words.start(dict.fromkeys(range(ACCESSES), die))
        die()

    def die() -> None:
        raise Killed

    she.words.start({access: kill})
    if access < 3:
        with pytest.raises(Killed):
            she.take()
    else:  # it has acquired it
        she.take()
    rig.shared.session_closed("ann")
    he.ask(timeout=SETTLE * 2)
    rig.clock.turn(SETTLE)
    held = access >= 2
    assert bool(he.token) == (robust or not held)
    assert ("released: its holder ended" in rig.changes()) == (held and robust)


def test_what_a_release_of_somebody_else_was_to_do_is_forgiven_as_ever(rig, lock, she, bob):
    rig.shared.use(SharedLock, "db", bob)
    she.borrow()
    rig.shared.session_closed("ann")
    rig.clock.turn(SETTLE)
    lock.release(bob)
    with pytest.raises(NotOwner):
        lock.release(bob)


# --- recalls ----------------------------------------------------------------------------------------------------------


def test_what_comes_while_it_is_recalled_is_done_in_order(rig, lock, she, he, cid):
    she.borrow()
    third = Someone(rig, cid)
    he.ask()
    released = he.tell(None)
    third.ask()
    assert lock.lent
    rig.clock.turn(SETTLE)
    assert released.settled
    assert he.token  # she had it, and he released it after he had asked for it
    assert not third.token
    he.give()
    assert third.token


def test_looking_recalls_nothing(rig, lock, she, he):
    she.borrow()
    assert (he.show().session, he.show().holder, he.show().token) == ("ann", "1:1", she.token)
    assert lock.detail() == {"owner": ["ann", "1:1"], "token": she.token, "waiting": 0, "lent": True}
    she.give()
    assert he.show().session is None
    assert he.show().lent
    rig.clock.turn(1)
    assert lock.lent


def test_a_release_by_another_is_heard_of_by_the_borrower(rig, lock, she, he):
    she.borrow()
    gone = he.tell(None)
    rig.clock.turn(SETTLE)
    assert gone.error is None
    with pytest.raises(NotOwner):
        she.give()


def test_one_whose_session_ends_while_it_waits_for_a_recall_is_never_granted_it(rig, lock, she, he, cid):
    she.borrow()
    she.give()
    he.ask()
    rig.shared.session_closed("bob")
    third = Someone(rig, cid)
    third.ask()
    rig.clock.turn(SETTLE)
    assert third.token
    assert not he.token


def test_an_answer_that_nobody_wants_any_more_takes_nothing(rig, lock, she, he, cid):
    she.borrow()
    third = Someone(rig, cid)
    for someone in (he, third):
        someone.ask()
    he.waiting.abandon()
    rig.clock.turn(SETTLE)
    third.waiting.abandon()  # it waits in the line now
    she.give()
    assert lock.owner is None
    assert lock.waiting == 0


def test_the_acquisition_that_it_was_lent_with_can_be_called_back(rig, lock, she):
    for _ in range(FEWEST - 1):
        she.ask()
        she.give()
    she.ask(ticket=77)
    outcome = rig.shared.withdraw(she.actor, "db", 77)
    rig.clock.turn(SETTLE)
    assert outcome.value() == "granted"
    assert lock.owner is None


def test_a_later_acquisition_is_not_called_back_by_the_ticket_of_the_first(rig, lock, she):
    for _ in range(FEWEST - 1):
        she.ask()
        she.give()
    she.ask(ticket=77)
    she.give()
    she.take()
    outcome = rig.shared.withdraw(she.actor, "db", 77)
    rig.clock.turn(SETTLE)
    assert outcome.value() == "none"
    assert lock.owner == she.actor


def test_a_dropped_lock_is_nobodys_though_it_was_lent(rig, lock, she, he):
    she.borrow()
    he.ask()
    rig.shared.drop("db")
    assert isinstance(he.waiting.error, ObjectDropped)
    assert rig.clock.pending() == 0
    with pytest.raises(NoSuchObject):
        she.give()


def test_a_condition_made_over_it_finds_its_owner(rig, ann, lock, she):
    she.borrow()
    condition = rig.open(ann, SharedCondition, "c", lock="db")
    woken = condition.wait(ann)
    rig.clock.turn(SETTLE)
    assert lock.owner is None
    lock.acquire(ann)
    assert condition.notify(ann) == 1
    lock.release(ann)
    assert woken.value().notified
    assert lock.owner == ann


def test_a_lock_that_two_share_is_lent_after_ever_more_acquisitions_in_a_row(rig, lock, she, he):
    counts = []
    for _ in range(10):
        for someone in (she, he):
            count = 0
            while someone.loan is None:
                someone.ask()
                rig.clock.turn(SETTLE)
                count += 1
                if someone.loan is None:
                    someone.give()
            counts.append(count)
            someone.give()
            other = he if someone is she else she
            other.ask()
            rig.clock.turn(SETTLE)
            other.give()
            someone.loan = None
    assert counts[0] == FEWEST
    assert counts == sorted(counts)
    assert counts[-1] in (MOST, MOST - 1)


def test_loans_that_were_worth_it_make_it_be_lent_sooner_again(rig, lock, she, he):
    lock._bias._wanted = FEWEST * 4
    for _ in range(2):
        she.borrow()
        for _ in range(WORTH):
            she.give()
            she.take()
        she.give()
        he.ask()
        rig.clock.turn(SETTLE)
        he.give()
    assert lock._bias._wanted == FEWEST


# --- slots ------------------------------------------------------------------------------------------------------------


def test_a_slot_is_lent_again_only_when_its_borrower_has_given_it_up(rig, lock, she, he):
    she.borrow()
    she.give()
    page = rig.shared.lender._pages["ann"]
    he.ask()
    rig.clock.turn(SETTLE)
    assert len(page.free) == SLOTS - 1
    he.give()
    she.take()
    assert she.token
    assert len(page.free) == SLOTS


def test_there_are_so_many_slots_and_then_no_loan(rig, ann):
    borrowers = []
    for number in range(SLOTS + 1):
        rig.open(ann, SharedLock, f"l{number}")
        someone = Someone(rig, ann, f"l{number}")
        someone.first = number == 0
        borrowers.append(someone)
    for someone in borrowers[:-1]:
        someone.borrow()
    slots = {lent.slot for lent in rig.shared.lender._pages["ann"].lent.values()}
    assert slots == set(range(SLOTS))
    for _ in range(2 * FEWEST):
        borrowers[-1].ask()
        assert borrowers[-1].loan is None
        borrowers[-1].give()
    number = borrowers[0].loan.number
    borrowers[0].give()
    acquire_lock(borrowers[1].parts, borrowers[1].caller, LockAcquire(id="l1", timeout=0, returned=(number,)))
    borrowers[-1].borrow()


def test_a_loan_that_its_borrower_gives_up_by_itself_ends(rig, lock, she):
    she.borrow()
    number = she.loan.number
    she.give()
    she.loan = None
    she.ask(returned=(number,))
    assert she.token
    assert not lock.lent


def test_a_loan_of_another_session_is_not_ones_own_to_give_up(rig, lock, she, he):
    she.borrow()
    he.ask(timeout=0, returned=(she.loan.number,))
    assert lock.lent
    rig.clock.turn(SETTLE)
    assert lock.owner == she.actor


@pytest.mark.parametrize("state", [0, 1, (1 << 64) - 1, "past", "beyond"])
def test_what_a_slot_can_not_hold_is_not_believed(rig, lock, she, he, state):
    she.borrow()
    held = she.token
    words = rig.shared.lender._pages["ann"].lent[she.loan.number].words
    words[STATE] = {"past": (held - 1) << 1 | 1, "beyond": (held + 100 * HASTE) << 1 | 1}.get(state, state)
    he.ask()
    rig.clock.turn(SETTLE)
    assert held < he.token < held + 10


def test_a_borrower_whose_daemon_has_died_has_nothing_any_more(she):
    she.borrow()
    she.give()
    she.life[0] = DIED
    assert she.loan.take(1, lambda _loan, _token: None) < 0


# --- whatever happens -------------------------------------------------------------------------------------------------


class LentLockMachine(RuleBasedStateMachine):
    """Three sessions and one lock: never two that have it, tokens that grow, and nobody who waits for a free lock."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        self.rig.open(Actor("root"), SharedLock, "db")
        self.lock: SharedLock = self.rig.shared.use(SharedLock, "db", Actor("root"))
        self.numbers = itertools.count(1)
        self.people = [self.somebody() for _ in range(3)]
        self.last = 0
        self.loans: set[int] = set()

    def somebody(self) -> Someone:
        number = next(self.numbers)
        return Someone(self.rig, Actor(f"s{number}", f"{number}:1"))

    @rule(who=st.integers(0, 2), times=st.sampled_from([1, 1, 5, 70]), held=st.booleans())
    def acquires(self, who: int, times: int, held: bool) -> None:
        someone = self.people[who]
        for number in range(times):
            if someone.token or someone.waiting is not None:
                return
            if someone.loan is not None:
                someone.take()
            else:
                someone.ask()
            self.collect()
            if someone.token and (number < times - 1 or not held):
                someone.give()

    @rule(who=st.integers(0, 2))
    def releases(self, who: int) -> None:
        if self.people[who].token:
            self.people[who].give()
        self.collect()

    @rule(who=st.integers(0, 2))
    def tries(self, who: int) -> None:
        someone = self.people[who]
        if not someone.token and someone.waiting is None and someone.loan is None:
            someone.ask(timeout=0)
        self.collect()

    @rule()
    def time_passes(self) -> None:
        self.rig.clock.turn(SETTLE)
        self.collect()

    @rule(who=st.integers(0, 2), access=st.integers(0, 4), release=st.booleans())
    def dies(self, who: int, access: int, release: bool) -> None:
        someone = self.people[who]

        def die() -> None:
            someone.words.start(dict.fromkeys(range(ACCESSES), die))
            raise Killed

        if someone.loan is not None and bool(someone.token) == release:
            someone.words.start({access: die})
            with contextlib.suppress(Killed):
                someone.give() if release else someone.take()
        if someone.waiting is not None:
            someone.waiting.abandon()
        self.people[who] = self.somebody()
        self.rig.shared.session_closed(someone.actor.session)
        self.collect()

    @rule(who=st.integers(0, 2))
    def gives_its_loan_up(self, who: int) -> None:
        someone = self.people[who]
        if someone.loan is not None and not someone.token and someone.waiting is None:
            number, someone.loan = someone.loan.number, None
            someone.ask(returned=(number,))
        self.collect()

    @rule(who=st.integers(0, 2))
    def looks(self, who: int) -> None:
        shown = self.people[who].show()
        held = [someone for someone in self.people if someone.token]
        if held:
            assert (shown.session, shown.token) == (held[0].actor.session, held[0].token)

    def collect(self) -> None:
        for someone in self.people:
            if someone.token and someone.token != self.last:
                assert someone.token > self.last
                self.last = someone.token

    @invariant()
    def one_has_it_at_most(self) -> None:
        assert sum(bool(someone.token) for someone in self.people) <= 1

    @invariant()
    def nobody_waits_for_a_free_lock(self) -> None:
        if not self.lock.lent and self.lock.owner is None:
            assert all(someone.waiting is None for someone in self.people)

    def teardown(self) -> None:
        """All get it in the end."""
        self.rig.clock.turn(SETTLE)
        for _ in self.people:
            for someone in self.people:
                if someone.token:
                    someone.give()
            self.rig.clock.turn(SETTLE)
        assert all(someone.waiting is None and not someone.token for someone in self.people)
        assert self.lock.look().owner is None
        self.rig.shared.close()


TestLentLockMachine = LentLockMachine.TestCase
TestLentLockMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
