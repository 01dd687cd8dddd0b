"""Calls that are due after the same time."""

from __future__ import annotations

from tests.unit.pool.parts import HandClock

from stokerd.overdue import Overdue


def test_each_is_called_once_when_its_own_time_is_over_in_order():
    clock = HandClock()
    overdue, called = Overdue(clock, 1.0), []
    overdue.add(lambda: called.append("first"))
    clock.advance(0.4)
    overdue.add(lambda: called.append("second"))
    clock.advance(0.5)
    assert called == []
    clock.advance(0.1)
    assert called == ["first"]
    clock.advance(0.4)
    assert called == ["first", "second"]
    clock.advance(10.0)
    assert called == ["first", "second"]


def test_one_that_is_added_by_another_waits_for_its_own_time():
    clock = HandClock()
    overdue, called = Overdue(clock, 1.0), []

    def again() -> None:
        called.append(clock.monotonic())
        if len(called) < 3:
            overdue.add(again)

    overdue.add(again)
    began = clock.monotonic()
    for _ in range(5):
        clock.advance(1.0)
    assert called == [began + 1.0, began + 2.0, began + 3.0]


def test_there_is_one_timer_whatever_waits_and_none_where_nothing_does():
    clock = HandClock()
    overdue = Overdue(clock, 1.0)
    timers: list[float] = []
    later = clock.later
    clock.later = lambda seconds, call, *args: timers.append(seconds) or later(seconds, call, *args)
    for _ in range(100):
        overdue.add(lambda: None)
    clock.advance(5.0)
    assert timers == [1.0]
