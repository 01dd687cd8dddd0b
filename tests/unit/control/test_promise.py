"""Answers that are not known yet, and those that have only so long."""

from __future__ import annotations

from typing import Any

import pytest
from tests.clocks import HandClock

from stoker.errors import DeadlineExceeded, InternalError, NotFound, StokerError
from stokerd.deadline import with_deadline
from stokerd.promise import Promise, gather


def test_a_value_is_told_at_once_to_who_waits_and_to_who_comes_later() -> None:
    promise: Promise[int] = Promise()
    told: list[int] = []
    promise.when_settled(lambda done: told.append(done.value()))
    assert not told
    promise.resolve(5)
    assert told == [5]
    promise.when_settled(lambda done: told.append(done.value() + 1))
    assert told == [5, 6]
    assert promise.error is None


def test_an_error_is_raised_where_the_value_is_asked_for() -> None:
    promise: Promise[int] = Promise()
    promise.reject(NotFound("no"))
    assert isinstance(promise.error, NotFound)
    with pytest.raises(NotFound):
        promise.value()


def test_it_is_settled_once() -> None:
    promise: Promise[int] = Promise()
    promise.resolve(1)
    promise.resolve(2)
    promise.reject(NotFound("no"))
    promise.settle_with(lambda: 3)
    promise.abandon()
    assert promise.value() == 1


def test_the_value_of_one_that_is_not_settled_is_a_mistake() -> None:
    with pytest.raises(RuntimeError):
        Promise[int]().value()


def test_settle_with_takes_what_is_returned_what_is_refused_and_what_breaks() -> None:
    def refuse() -> int:
        raise NotFound("no")

    def bug() -> int:
        raise ZeroDivisionError("oops")

    good, refused, broken = Promise[int](), Promise[int](), Promise[int]()
    good.settle_with(lambda: 1)
    refused.settle_with(refuse)
    broken.settle_with(bug)
    assert good.value() == 1
    assert isinstance(refused.error, NotFound)
    assert isinstance(broken.error, InternalError)
    assert isinstance(broken.error.__cause__, ZeroDivisionError)


def test_an_abandoned_one_lets_its_maker_clean_up_and_tells_nobody() -> None:
    cleaned: list[str] = []
    told: list[object] = []
    promise: Promise[int] = Promise(lambda: cleaned.append("up"))
    promise.when_settled(told.append)
    promise.abandon()
    promise.abandon()
    promise.resolve(1)
    assert cleaned == ["up"]
    assert not told
    assert promise.settled


def test_an_abandon_after_the_end_does_nothing() -> None:
    cleaned: list[str] = []
    promise: Promise[int] = Promise(lambda: cleaned.append("up"))
    promise.resolve(1)
    promise.abandon()
    assert not cleaned


def test_gather_waits_for_all_and_keeps_their_order() -> None:
    parts: list[Promise[int]] = [Promise() for _ in range(3)]
    whole = gather(parts)
    for at in (2, 0):
        parts[at].resolve(at)
        assert not whole.settled
    parts[1].resolve(1)
    assert whole.value() == [0, 1, 2]


def test_gather_of_nothing_is_settled() -> None:
    assert gather([]).value() == []


def test_gather_waits_for_all_even_if_one_fails_and_tells_the_first_error_in_order() -> None:
    parts: list[Promise[int]] = [Promise() for _ in range(3)]
    whole = gather(parts)
    parts[2].reject(StokerError("last"))
    parts[1].reject(NotFound("middle"))
    assert not whole.settled
    parts[0].resolve(0)
    assert isinstance(whole.error, NotFound)


def test_gather_of_the_same_one_twice() -> None:
    one: Promise[int] = Promise()
    whole = gather([one, one])
    one.resolve(4)
    assert whole.value() == [4, 4]


# --- with a deadline


def limited(seconds: float | None, finish: Any = lambda late: late) -> tuple[HandClock, Promise[int], Promise[Any]]:
    clock, inner = HandClock(), Promise[int](lambda: None)
    return clock, inner, with_deadline(clock, inner, seconds, finish)


def test_in_time_it_is_finished_as_not_late_and_its_timer_is_gone() -> None:
    clock, inner, outer = limited(5)
    clock.turn(4.9)
    inner.resolve(1)
    assert outer.value() is False
    assert clock.pending() == 0


def test_when_the_time_is_over_it_is_finished_as_late_and_the_inner_one_abandoned() -> None:
    cleaned: list[str] = []
    clock, inner = HandClock(), Promise[int](lambda: cleaned.append("up"))
    outer = with_deadline(clock, inner, 5, lambda late: late)
    clock.turn(5)
    assert outer.value() is True
    assert cleaned == ["up"]
    inner.resolve(1)
    assert outer.value() is True


def test_without_a_limit_it_waits_for_ever() -> None:
    clock, inner, outer = limited(None)
    clock.turn(1e9)
    assert not outer.settled
    inner.resolve(1)
    assert outer.value() is False


def test_what_is_settled_already_needs_no_timer() -> None:
    clock, inner = HandClock(), Promise[int]()
    inner.resolve(1)
    assert with_deadline(clock, inner, 5, lambda late: late).value() is False
    assert clock.pending() == 0


def test_no_time_at_all_is_over_in_the_next_turn() -> None:
    clock, _, outer = limited(0)
    assert not outer.settled
    clock.turn()
    assert outer.value() is True


def test_what_finish_raises_is_the_error() -> None:
    def finish(late: bool) -> int:
        raise DeadlineExceeded("over") if late else ZeroDivisionError("oops")

    clock, _, outer = limited(1, finish)
    clock.turn(1)
    assert isinstance(outer.error, DeadlineExceeded)
    _, inner, outer = limited(1, finish)
    inner.resolve(1)
    assert isinstance(outer.error, InternalError)


def test_an_error_of_the_inner_one_also_finishes_it() -> None:
    _, inner, outer = limited(1)
    inner.reject(NotFound("no"))
    assert outer.value() is False


def test_abandoning_the_outer_one_abandons_the_inner_and_cancels_the_timer() -> None:
    cleaned: list[str] = []
    clock, inner = HandClock(), Promise[int](lambda: cleaned.append("up"))
    with_deadline(clock, inner, 5, lambda late: late).abandon()
    assert cleaned == ["up"]
    assert clock.pending() == 0
