"""The machine's clock is set: whoever keeps appointments is told. Here it is set to what it shows."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.daemons import DEADLINE

from stokerd.clock import LoopClock


def test_whoever_keeps_appointments_is_told_each_time_the_clock_is_set():
    try:
        time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))
    except PermissionError:
        pytest.skip("needs CAP_SYS_TIME, to set the clock to what it shows")

    async def run() -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        clock = LoopClock(asyncio.get_running_loop())
        clock.when_set(lambda: told.put_nowait("first"))
        clock.when_set(lambda: told.put_nowait("second"))
        for _ in range(2):
            assert told.empty()
            time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))
            for name in ("first", "second"):
                assert await asyncio.wait_for(told.get(), DEADLINE) == name

    asyncio.run(run())
