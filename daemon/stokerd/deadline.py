"""A promise with a time limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from stokerd.clock import Clock, Timer
from stokerd.promise import Promise

T = TypeVar("T")


def with_deadline(clock: Clock, inner: Promise[Any], seconds: float | None, finish: Callable[[bool], T]) -> Promise[T]:
    """Settles when ``inner`` does or when the time is over, with what ``finish`` returns or raises then.

    Args:
        clock: keeps the time.
        inner: what is waited for; abandoned when the time is over first.
        seconds: None waits for ever.
        finish: called once, with True when the time was over first.
    """
    timer: Timer | None = None

    def abandon() -> None:
        if timer is not None:
            timer.cancel()
        inner.abandon()

    outer: Promise[T] = Promise(on_abandon=abandon)

    def settle(late: bool) -> None:  # noqa: FBT001 - the two ways in which it ends
        outer.settle_with(lambda: finish(late))

    def on_inner(_: Promise[Any]) -> None:
        if timer is not None:
            timer.cancel()
        settle(late=False)

    def on_time() -> None:
        inner.abandon()
        settle(late=True)

    inner.when_settled(on_inner)
    if not outer.settled and seconds is not None:
        timer = clock.later(seconds, on_time)
    return outer
