"""How many ticks of 10 ms a burner needs for a new target, from the process's own records of its ticks."""

from __future__ import annotations

import itertools
import math
import mmap
import multiprocessing
import time
from collections.abc import Callable

from stokerd.burners.burn import run
from stokerd.burners.control import PERIOD, Grid
from stokerd.burners.diary import Clocks
from stokerd.burners.kinds import KINDS
from stokerd.burners.page import PAGE_BYTES, Order, Page

SETTLED = 2.0
"""Points of a core over one tick within which a new target counts as reached."""


def step(before: float, after: float) -> int:
    """Ticks from the order until five in a row are right."""
    page = Page(mmap.mmap(-1, PAGE_BYTES))
    page.give(Order(1, before, math.inf))
    process = multiprocessing.get_context("fork").Process(target=_burn, args=(page,), daemon=True)
    process.start()
    _await(lambda: (newest := page.newest()) is not None and newest.observed == 1)
    ordered = time.monotonic()
    page.give(Order(2, after, math.inf))
    _await(lambda: (newest := page.newest()) is not None and newest.epoch == 2 and newest.tick - newest.since >= 50)
    page.give(Order(2, after, math.inf, stop=True))
    process.join()
    newest = page.newest()
    assert newest is not None
    records = [record for tick in range(newest.tick - 110, newest.tick + 1) if (record := page.record(tick))]
    since = [record for record in records if record.tick >= newest.since]
    good = [
        abs((last.cpu - first.cpu) / (last.wall - first.wall) - after) * 100 <= SETTLED
        for first, last in itertools.pairwise(since)
    ]
    settled = next((n for n in range(len(good) - 5) if all(good[n : n + 5])), len(good))
    return math.ceil((since[0].wall - ordered) / PERIOD) + settled


def _burn(page: Page) -> None:
    run(page, KINDS["spin"]({}), Clocks(time.monotonic, time.sleep, time.sleep), Grid(), lambda: None)


def _await(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end, "the burner did not do as it was told"
        time.sleep(0.001)
