"""Burners on real processes: the part as the daemon uses it, with the loop's clock and real forkservers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

import stoker
import stokerd
from stoker.errors import DeadlineExceeded, NameTaken, NoSuchBurner, StartFailed
from stoker.protocol.events import BurnerChanged, BurnerShortfall, Event
from stoker.protocol.models import BurnerInfo, Environment
from stoker.protocol.states import BurnerState
from stokerd.burners.registry import Burners
from stokerd.bus import Bus
from stokerd.clock import LoopClock
from stokerd.forkserver.host import ForkServers
from stokerd.promise import Promise

T = TypeVar("T")
DEADLINE = 60.0
ROOTS = [str(Path(module.__path__[0]).parent) for module in (stoker, stokerd)]


class Rig:
    """The part with all that it is handed, on the running loop."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.clock = LoopClock(loop)
        self.bus = Bus(time.time)
        self.events: list[Event] = []
        self._news = asyncio.Event()
        self.bus.listen(self._note)
        environment = Environment(executable=sys.executable, cwd=str(Path.cwd()))
        self.forker = ForkServers(self.clock, self.bus, environment)
        self.jobs = 0.0
        """How many cores running jobs use, for the test to say."""
        self.burners = Burners(
            self.clock, self.bus, self.forker, default_seconds=300.0, max_processes=64, busy=lambda: self.jobs
        )

    def _note(self, seq: int, now: float, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def event(self, wanted: Callable[[BurnerChanged], bool]) -> BurnerChanged:
        """The first such event of a burner, now or later."""
        async with asyncio.timeout(DEADLINE):
            while True:
                for event in self.events:
                    if isinstance(event, BurnerChanged) and wanted(event):
                        return event
                self._news.clear()
                await self._news.wait()

    async def shortfall(self) -> BurnerShortfall:
        """The first event of a burner that falls short, now or later."""
        async with asyncio.timeout(DEADLINE):
            while True:
                for event in self.events:
                    if isinstance(event, BurnerShortfall):
                        return event
                self._news.clear()
                await self._news.wait()

    def has_losses(self, count: int) -> bool:
        """So many processes were lost, or more."""
        return sum(isinstance(event, BurnerChanged) and bool(event.reason) for event in self.events) >= count

    def info(self, name: str = "heat") -> BurnerInfo:
        return next(info for info in self.burners.info() if info.name == name)

    def pids(self, name: str = "heat") -> list[int]:
        return [worker.pid for worker in self.info(name).workers if worker.pid is not None]


async def value(promise: Promise[T]) -> T:
    """What the promise settles with."""
    settled = asyncio.Event()
    promise.when_settled(lambda _: settled.set())
    async with asyncio.timeout(DEADLINE):
        await settled.wait()
    return promise.value()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something outside of us, of which nobody tells."""
    async with asyncio.timeout(DEADLINE):
        while not is_so():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    before = set(psutil.Process().children(recursive=True))
    try:
        yield made
    finally:
        await value(made.burners.close())
        await value(made.forker.close(1.0))
        left = set(psutil.Process().children(recursive=True)) - before
        assert [child for child in left if child.is_running()] == []


def on_rig(test: Callable[[Rig], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test with a rig of its own; nothing may be left of it."""

    async def body() -> None:
        async with rig() as made:
            await test(made)

    def run() -> None:
        asyncio.run(body())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@on_rig
async def test_a_burner_burns_by_the_time_its_start_is_answered(rig: Rig) -> None:
    info = await value(rig.burners.start("heat", 2, 40.0))
    assert info.state is BurnerState.RUNNING
    assert info.size == len(info.workers) == 2
    for worker in info.workers:
        assert psutil.Process(worker.pid).cpu_times().user > 0
        assert worker.cpu_seconds > 0
        assert worker.target == 40.0
        assert worker.achieved + worker.shortfall == pytest.approx(worker.target, abs=1e-3)
    assert info.achieved + info.shortfall == pytest.approx(info.target, abs=1e-3)


@on_rig
async def test_the_burners_own_cpu_clock_agrees_with_the_kernels(rig: Rig) -> None:
    await value(rig.burners.start("heat", 1, 50.0))
    pid = rig.pids()[0]
    kernel = (~pid << 3) | 2  # the clock id of another process's CPU clock (CPUCLOCK_SCHED), as clock_getcpuclockid(3)
    before = (time.clock_gettime(kernel), rig.info().workers[0].cpu_seconds)
    await until(lambda: rig.info().workers[0].cpu_seconds > before[1] + 0.3)
    after = (time.clock_gettime(kernel), rig.info().workers[0].cpu_seconds)
    assert after[1] - before[1] == pytest.approx(after[0] - before[0], abs=0.05)


@on_rig
async def test_a_target_of_0_is_observed_by_its_ticks(rig: Rig) -> None:
    info = await value(rig.burners.start("heat", 1, 0.0))
    assert info.target == 0.0
    assert info.achieved + info.shortfall == 0.0
    assert (info.state, info.reason) == (BurnerState.RUNNING, "")


@on_rig
async def test_a_new_load_holds_when_the_set_is_answered(rig: Rig) -> None:
    await value(rig.burners.start("heat", 2, 10.0))
    pids = rig.pids()
    info = await value(rig.burners.set("heat", load=70.0))
    assert info.target == 70.0
    assert rig.pids() == pids
    assert info.achieved + info.shortfall == pytest.approx(70.0, abs=1e-3)


@on_rig
async def test_the_number_of_processes_changes_and_those_that_stay_are_not_touched(rig: Rig) -> None:
    await value(rig.burners.start("heat", 1, 20.0))
    await value(rig.burners.start("other", 1, 20.0))
    first, other = rig.pids(), rig.pids("other")
    grown = await value(rig.burners.set("heat", workers=3))
    assert len(grown.workers) == 3
    assert rig.pids()[:1] == first
    surplus = rig.pids()[1:]
    shrunk = await value(rig.burners.set("heat", workers=1))
    assert [worker.pid for worker in shrunk.workers] == first
    assert not any(psutil.pid_exists(pid) for pid in surplus)
    assert rig.pids("other") == other
    assert not [event for event in rig.events if isinstance(event, BurnerChanged) and event.reason]


@on_rig
async def test_a_stop_leaves_no_process(rig: Rig) -> None:
    await value(rig.burners.start("heat", 3, 30.0))
    pids = rig.pids()
    assert await value(rig.burners.stop(["heat"])) == ["heat"]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert rig.burners.survivors() == 0
    assert "heat" not in rig.burners
    with pytest.raises(NoSuchBurner):
        rig.burners.stop(["heat"])


@on_rig
async def test_a_stop_ends_a_process_that_does_not_listen(rig: Rig) -> None:
    await value(rig.burners.start("heat", 1, 30.0))
    pid = rig.pids()[0]
    os.kill(pid, signal.SIGSTOP)
    assert await value(rig.burners.stop(["heat"], grace=0.3)) == ["heat"]
    assert not psutil.pid_exists(pid)


@on_rig
async def test_a_stopped_process_does_not_read_as_fine(rig: Rig) -> None:
    await value(rig.burners.start("heat", 1, 30.0))
    os.kill(rig.pids()[0], signal.SIGSTOP)
    await until(lambda: rig.info().achieved == 0.0)
    info = rig.info()
    assert (info.target, info.shortfall) == (30.0, 30.0)
    assert "has made no progress" in info.reason
    os.kill(rig.pids()[0], signal.SIGCONT)
    await until(lambda: rig.info().achieved > 0)


@on_rig
async def test_a_killed_process_is_reported_and_replaced(rig: Rig) -> None:
    await value(rig.burners.start("heat", 2, 30.0))
    victim, other = rig.pids()
    os.kill(victim, signal.SIGKILL)
    event = await rig.event(lambda event: bool(event.reason))
    assert event.reason == f"process {victim} ended by signal SIGKILL"
    assert "ended by signal SIGKILL" in rig.info().reason
    await until(lambda: rig.info().reason.endswith("replaced"))
    assert other in rig.pids()
    assert victim not in rig.pids()
    assert len(rig.pids()) == 2


@on_rig
async def test_a_process_that_is_killed_again_and_again_fails_the_burner(rig: Rig) -> None:
    await value(rig.burners.start("heat", 1, 30.0))
    for deaths in range(1, 4):
        await until(lambda: bool(rig.pids()))
        os.kill(rig.pids()[0], signal.SIGKILL)
        await until(partial(rig.has_losses, deaths))
    failed = await rig.event(lambda event: event.state is BurnerState.FAILED)
    assert "3 in a row" in failed.reason
    assert rig.info().state is BurnerState.FAILED
    assert await value(rig.burners.stop(["heat"])) == ["heat"]


@on_rig
async def test_the_time_limit_ends_it(rig: Rig) -> None:
    await value(rig.burners.start("heat", 1, 30.0, seconds=0.5))
    pid = rig.pids()[0]
    stopped = await rig.event(lambda event: event.state is BurnerState.STOPPED)
    assert stopped.reason == "its time limit of 0.5 s is over"
    assert rig.burners.info() == []
    assert not psutil.pid_exists(pid)


@on_rig
async def test_the_time_limit_holds_even_if_the_daemon_does_not_look(rig: Rig) -> None:
    await value(rig.burners.start("heat", 1, 30.0, seconds=0.5))
    process = psutil.Process(rig.pids()[0])
    limit = time.monotonic() + DEADLINE
    while process.status() != psutil.STATUS_ZOMBIE and process.is_running() and time.monotonic() < limit:
        time.sleep(0.01)  # noqa: ASYNC251  # the loop must not run: that is the point
        with contextlib.suppress(psutil.NoSuchProcess):
            process.status()
        if not psutil.pid_exists(process.pid):
            break
    assert time.monotonic() < limit


@on_rig
async def test_pins_and_niceness_are_the_processes_own(rig: Rig) -> None:
    cores = tuple(sorted(os.sched_getaffinity(0))[:2])
    info = await value(rig.burners.start("heat", 3, 10.0, cpus=cores, nice=15))
    for index, worker in enumerate(info.workers):
        assert worker.pid is not None
        assert worker.cpu == cores[index % len(cores)]
        assert os.sched_getaffinity(worker.pid) == {worker.cpu}
        assert psutil.Process(worker.pid).nice() == 15


@on_rig
async def test_several_burners_each_with_its_own_load(rig: Rig) -> None:
    loads = {"one": 5.0, "two": 10.0, "three": 15.0}
    starts = [rig.burners.start(name, 1, load) for name, load in loads.items()]
    for start in starts:
        await value(start)
    assert {info.name: info.target for info in rig.burners.info()} == loads
    with pytest.raises(NameTaken):
        rig.burners.start("one", 1, 1.0)
    replaced = await value(rig.burners.start("one", 2, 1.0, replace=True))
    assert (replaced.target, replaced.size) == (1.0, 2)


@on_rig
async def test_a_paused_burner_burns_nothing_until_it_goes_on(rig: Rig) -> None:
    await value(rig.burners.start("heat", 1, 30.0))
    info = await value(rig.burners.set("heat", paused=True))
    assert (info.state, info.target) == (BurnerState.PAUSED, 0.0)
    before = rig.info().workers[0].cpu_seconds
    info = await value(rig.burners.set("heat", paused=False))
    assert info.workers[0].cpu_seconds == pytest.approx(before, abs=0.2)
    assert info.target == 30.0


@on_rig
async def test_an_interpreter_that_does_not_exist_fails_the_start_with_a_reason(rig: Rig) -> None:
    nowhere = Environment(executable="/nowhere/python", cwd=str(Path.cwd()))
    with pytest.raises(StartFailed, match="/nowhere/python"):
        await value(rig.burners.start("heat", 2, 30.0, environment=nowhere))
    assert "heat" not in rig.burners


# --- what a percentage is of, and what holds a burner back

CORES = len(os.sched_getaffinity(0))


def given(info: BurnerInfo) -> list[str]:
    """The codes of its reasons."""
    return [reason.code for reason in info.reasons]


@on_rig
async def test_a_load_of_the_machine_is_spread_over_a_process_per_core(rig: Rig) -> None:
    info = await value(rig.burners.start("heat", None, 30.0, of="machine"))
    assert len(info.workers) == CORES
    assert (info.of, info.cores, info.target) == ("machine", CORES, 30.0)
    assert [worker.target for worker in info.workers] == [30.0] * CORES
    assert info.achieved + info.shortfall == pytest.approx(info.target, abs=1e-3)
    assert all(psutil.Process(worker.pid).cpu_times().user > 0 for worker in info.workers)


@on_rig
async def test_a_load_of_the_quota_is_of_what_the_cgroup_allows(rig: Rig) -> None:
    info = await value(rig.burners.start("heat", None, 20.0, of="quota"))
    assert 0 < info.cores <= CORES
    assert sum(worker.target for worker in info.workers) == pytest.approx(20.0 * info.cores, abs=0.01)


@on_rig
async def test_burners_leave_the_reserve_free_until_they_are_asked_not_to(rig: Rig) -> None:
    info = await value(rig.burners.start("heat", None, 100.0, of="machine"))
    assert (info.asked, info.target) == (100.0, pytest.approx(100 * (1 - info.reserve / CORES), abs=0.01))
    assert "reserve" in given(info)
    info = await value(rig.burners.set("heat", no_reserve=True))
    assert (info.asked, info.target, info.reserve) == (100.0, 100.0, 0.0)
    assert "reserve" not in given(info)


@on_rig
async def test_a_total_burns_what_is_missing_and_ends(rig: Rig) -> None:
    info = await value(rig.burners.start("heat", None, 40.0, mode="total"))
    assert (info.of, info.mode, len(info.workers)) == ("machine", "total", CORES)
    await until(lambda: rig.info().achieved > 0 or rig.info().others >= 40.0)
    info = rig.info()
    assert info.asked == 40.0
    assert info.achieved + info.shortfall == pytest.approx(info.target, abs=1e-3)
    pids = rig.pids()
    await value(rig.burners.stop(["heat"]))
    assert not any(psutil.pid_exists(pid) for pid in pids)


@on_rig
async def test_a_burner_that_yields_burns_nothing_while_jobs_use_all_cores(rig: Rig) -> None:
    await value(rig.burners.start("heat", 1, 30.0, yield_to_jobs=True))
    rig.jobs = float(CORES)
    await until(lambda: rig.info().target == 0.0)
    assert "jobs" in given(rig.info())
    burnt = rig.info().workers[0].cpu_seconds
    rig.jobs = 0.0
    await until(lambda: rig.info().workers[0].cpu_seconds > burnt)
    assert "jobs" not in given(rig.info())


@on_rig
async def test_processes_that_are_pinned_together_are_told(rig: Rig) -> None:
    core = min(os.sched_getaffinity(0))
    await value(rig.burners.start("heat", 2, 100.0, cpus=(core,), no_reserve=True))
    event = await rig.shortfall()
    assert (event.name, event.short, event.code) == ("heat", True, "pinned-together")
    assert event.reason == f"pinned-together: processes that want 2.00 cores are pinned on core {core}"
    assert event.achieved + event.shortfall == pytest.approx(event.target, abs=1e-3)
    assert all(worker.shortfall > 0 for worker in rig.info().workers)


@on_rig
async def test_each_second_leaves_its_figures(rig: Rig) -> None:
    await value(rig.burners.start("heat", 1, 30.0))
    await until(lambda: len(rig.burners.figures()[0].seconds) >= 2)
    for second in rig.burners.figures(["heat"])[0].seconds:
        assert second.asked == 30.0
        assert second.achieved + second.shortfall == pytest.approx(second.target, abs=1e-3)
        assert second.others >= 0


# --- guards


@on_rig
async def test_a_guard_on_memory_pauses_a_real_load(rig: Rig) -> None:
    await value(rig.burners.start("heat", 1, 30.0, guards=("memory<1000T:pause",)))
    await until(lambda: rig.info().guards[0].tripped)
    await until(lambda: rig.info().target == 0.0)
    info = rig.info()
    assert info.guards[0].reading == pytest.approx(psutil.virtual_memory().available, rel=0.5)
    assert "MiB are available" in info.reason


@on_rig
async def test_a_guard_whose_probe_fails_ends_the_load_with_that_reason(rig: Rig) -> None:
    started = rig.burners.start("heat", 1, 30.0, guards=("probe:sh -c 'exit 3':abort",))
    await until(lambda: bool(rig.pids()))
    pid = rig.pids()[0]
    with contextlib.suppress(StartFailed):  # the probe may have ended before the load was observed
        await value(started)
    stopped = await rig.event(lambda event: event.state is BurnerState.STOPPED)
    assert stopped.reason == "guard probe:sh -c 'exit 3':abort: it ended with exit code 3"
    assert not psutil.pid_exists(pid)


def _psi() -> bool:
    try:
        return Path("/proc/pressure/cpu").read_text().startswith("some")
    except OSError:
        return False


@pytest.mark.parametrize(
    ("guard", "state", "target"),
    [
        ("lateness>0.000001ms:cap", BurnerState.RUNNING, 15.0),
        ("load>0.0001:pause", BurnerState.RUNNING, 0.0),
        ("load>0.0001:warn", BurnerState.RUNNING, 30.0),
        pytest.param(
            "psi.cpu.some>0.0001:pause",
            BurnerState.RUNNING,
            0.0,
            marks=pytest.mark.skipif(not _psi(), reason="this kernel has no pressure stall information"),
        ),
    ],
)
def test_a_guard_that_trips_holds_a_real_load_back_as_its_action_says(
    guard: str, state: BurnerState, target: float
) -> None:
    @on_rig
    async def on_a_rig(rig: Rig) -> None:
        with contextlib.suppress(DeadlineExceeded, StartFailed):  # held back before its load could be observed
            await value(rig.burners.start("heat", 1, 30.0, guards=(guard,), no_reserve=True))
        await until(lambda: rig.info().guards[0].tripped)
        await until(lambda: rig.info().target == target)
        info = rig.info()
        assert info.state is state
        assert info.guards[0].reading is not None
        assert info.guards[0].reason in info.reason or info.guards[0].action == "warn"

    on_a_rig()


@pytest.mark.parametrize(
    "guard", ["steal>99:pause", "psi.cpu.some>99.9:pause", "load>9999:abort", "lateness>60s:abort"]
)
def test_a_guard_that_does_not_trip_leaves_a_real_load_alone_and_tells_its_reading(guard: str) -> None:
    @on_rig
    async def on_a_rig(rig: Rig) -> None:
        await value(rig.burners.start("heat", 1, 30.0, guards=(guard,)))
        await until(lambda: rig.info().guards[0].reading is not None)
        assert rig.info().target == 30.0
        assert not rig.info().guards[0].tripped

    if guard.startswith("psi") and not _psi():
        pytest.skip("this kernel has no pressure stall information")
    on_a_rig()


@on_rig
async def test_a_probe_that_succeeds_leaves_the_load_alone_and_nothing_behind(rig: Rig) -> None:
    await value(rig.burners.start("heat", 1, 30.0, guards=("probe:true:abort",)))
    await until(lambda: rig.info().guards[0].reading is not None)
    assert (rig.info().guards[0].reading, rig.info().target) == (0.0, 30.0)


HOST = """
    import asyncio, json, os, sys, time
    from stoker.protocol.models import Environment
    from stokerd.burners.registry import Burners
    from stokerd.bus import Bus
    from stokerd.clock import LoopClock
    from stokerd.forkserver.host import ForkServers

    async def main():
        clock, bus = LoopClock(asyncio.get_running_loop()), Bus(time.time)
        forker = ForkServers(clock, bus, Environment(executable=sys.executable, cwd=os.getcwd()))
        burners = Burners(clock, bus, forker, 300.0, 64)
        start = burners.start("heat", 3, 30.0)
        def started(done):
            print(json.dumps([worker.pid for worker in done.value().workers]), flush=True)
        start.when_settled(started)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


def test_the_load_ends_when_the_daemon_is_killed() -> None:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(ROOTS)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOST)], stdout=subprocess.PIPE, env=environ, text=True
    ) as host:
        assert host.stdout is not None
        burning = [psutil.Process(pid) for pid in json.loads(host.stdout.readline())]
        assert len(burning) == 3
        host.kill()
        _, left = psutil.wait_procs(burning, timeout=DEADLINE)
        assert left == []
