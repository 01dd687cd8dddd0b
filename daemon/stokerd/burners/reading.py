"""What one process has done lately, from its page: read when somebody asks, never on a timer.

The stretch that is looked at ends now and starts a second ago, or when the present target came into effect if that
is later: old and new targets are never averaged, so that ``target`` reads as what was ordered.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from stokerd.burners.control import PERIOD
from stokerd.burners.page import RING, Page, Record

WINDOW = 1.0
"""Seconds that figures are about."""

SILENT = 0.050
"""Seconds without a tick after which the time since the last one counts as time in which nothing was burnt."""

ATTEMPTS = 3
"""To find the records: whoever is kept from the core while it looks finds them overwritten."""


class Reading(NamedTuple):
    """Figures over a stretch of at most :data:`WINDOW`; see :mod:`stokerd.burners.control` for how they add up.

    Args:
        target: mean share of one core that was asked for, 0 to 1.
        achieved: mean share that was burnt.
        shortfall: ``target - achieved``.
        cpu_seconds: burnt since the process began.
        seconds: length of the stretch.
        silent: seconds since the last tick.
        work: what got done per second, in the kind's unit of work.
    """

    target: float
    achieved: float
    shortfall: float
    cpu_seconds: float
    seconds: float
    silent: float
    work: float = 0.0


def read(page: Page, now: float) -> Reading | None:
    """The figures at ``now``, seconds of CLOCK_MONOTONIC; None: too few ticks yet."""
    for _ in range(ATTEMPTS):
        newest = page.newest()
        if newest is not None and (reading := _reading(page, newest, now)) is not None:
            return reading
    return None


def _reading(page: Page, newest: Record, now: float) -> Reading | None:
    silent = max(0.0, now - newest.wall)
    if silent <= SILENT:
        first = _first(page, newest, newest.wall - WINDOW)
        return None if first is None else _between(first, newest, silent)
    return _silent(page, newest, now, silent)


def _silent(page: Page, newest: Record, now: float, silent: float) -> Reading:
    """The figures of a process that has not ticked for a while: until it does, it has burnt nothing since."""
    order = page.order()
    target = order.target if order is not None else 0.0
    if silent >= WINDOW:
        return Reading(target, 0.0, target, newest.cpu, WINDOW, silent)
    last = newest._replace(wall=now, wanted=newest.wanted + target * silent)
    same = order is not None and order.epoch == newest.epoch
    first = _first(page, newest, now - WINDOW) if same else None
    return _between(first or newest, last, silent)


def _between(first: Record, last: Record, silent: float) -> Reading:
    seconds = last.wall - first.wall
    target = (last.wanted - first.wanted) / seconds
    achieved = (last.cpu - first.cpu) / seconds
    work = (last.work - first.work) / seconds
    return Reading(target, achieved, target - achieved, last.cpu, seconds, silent, work)


def _first(page: Page, newest: Record, begin: float) -> Record | None:
    """The first record of the newest's epoch that is not before ``begin``, half a tick of jitter allowed.

    Where the epoch has only just begun, the stretch is that of the epoch before.
    """
    since = newest.since
    if since == newest.tick:
        before = page.record(newest.tick - 1)
        if before is None:
            return None
        since = min(before.since, before.tick)
    ticks = range(max(since, newest.tick - RING + 1), newest.tick)

    def wall(tick: int) -> float:
        record = page.record(tick)
        return record.wall if record is not None else float("-inf")  # overwritten while we look: too old

    at = bisect_left(ticks, begin - PERIOD / 2, key=wall)
    return page.record(ticks[at]) if at < len(ticks) else page.record(newest.tick - 1)
