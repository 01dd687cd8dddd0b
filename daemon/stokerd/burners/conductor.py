"""Who burns how much now: one place that decides it for all burners of a daemon.

What a burner is to burn comes from its settings (or wherever its target comes from) as a *wish* in cores. On the way to
its processes it is held back, in this order, and whatever held it back is told with the figures:

1. its guards: half of it, or nothing;
2. running jobs, if it yields to them: the cores that they use are taken off what all yielding burners wish, in
   proportion;
3. the reserve: burners leave one core or 10 % of the machine free. Who started first is served first; a burner that was
   asked to do without the reserve gets what it wishes, and is counted.

Burners of mode ``total`` wish something of the machine and not of themselves. The highest of their wishes counts, the
reserve bounds it, and the :mod:`governor <stokerd.burners.governor>` says what is missing: that is shared out among
them in proportion to their wishes. Whatever else runs counts in full: burners of mode ``add``, jobs, other programs. So
jobs are given way to without being asked for it.

Nothing is looked at on a timer unless something moves: while a burner of mode ``total`` or one that yields runs, the
machine is looked at twenty times a second, once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from stoker.protocol.models import BurnerReason
from stokerd.burners import measure
from stokerd.burners.governor import Governor
from stokerd.burners.host import Capacity, Host, Snapshot, Usage, usage
from stokerd.burners.meter import Odometer
from stokerd.burners.settings import Settings
from stokerd.burners.spinner import Spinner
from stokerd.clock import Clock, Timer

TICK_SECONDS = 0.05
"""Between two looks while something moves. A foreign load is known and answered within two of them, and the error that
it leaves until then is paid back: the shorter, the less that is. Each costs about 0.1 ms."""

_ALMOST = 1e-6

Busy = Callable[[], float]
"""How many cores the jobs of all pools use now."""


class Load(Protocol):
    """A burner, as far as it is conducted."""

    @property
    def settings(self) -> Settings:
        """What it was asked to be."""

    @property
    def is_burning(self) -> bool:
        """It is to burn: neither paused nor ended."""

    @property
    def is_moving(self) -> bool:
        """What it is to burn changes without anybody asking for it."""

    @property
    def brake(self) -> tuple[float, str]:
        """The part of its wish that its guards let through, 0 to 1, and why it is not all."""

    @property
    def spinners(self) -> Sequence[Spinner]:
        """Its processes."""

    @property
    def allotted(self) -> float:
        """Cores that it is to burn now, after all that holds it back."""

    def wish(self, capacity: Capacity) -> float:
        """Cores that it is to burn; in mode ``total``: that the machine is to be at. 0 where it is not burning."""

    def allot(self, cores: float, held: tuple[BurnerReason, ...]) -> None:
        """Burn so many cores from now on, and say why it is not what was wished."""


class Conductor:
    """See the module.

    Args:
        clock: time.
        host: the machine.
        loads: all burners, the oldest first.
        busy: how many cores running jobs use.
    """

    def __init__(self, clock: Clock, host: Host, loads: Callable[[], Iterable[Load]], busy: Busy) -> None:
        self._clock, self._host, self._loads, self._busy = clock, host, loads, busy
        self.capacity = host.capacity()
        """What may be used of the machine; looked at again whenever somebody asks for something."""
        self._governor = Governor()
        self._odometer = Odometer()
        self._last: tuple[float, Snapshot] | None = None
        self._timer: Timer | None = None
        self._working = 0.0

    def look_again(self) -> None:
        """The machine may have been given other bounds: if so, all is decided anew."""
        before, self.capacity = self.capacity, self._host.capacity()
        if before != self.capacity:
            self.settle()

    def settle(self) -> None:
        """Decide anew for all, and go on doing so while something moves."""
        loads = list(self._loads())
        moving = any(load.is_moving for load in loads)
        if moving and self._timer is None:
            self._begin(loads)
        elif not moving and self._timer is not None:
            self._timer.cancel()
            self._timer = self._last = None
        self._decide(loads)

    def pinned(self) -> dict[int, float]:
        """What all processes that are pinned to a core are to burn of it, in cores."""
        asked: dict[int, float] = {}
        for load in self._loads():
            settings = load.settings
            for index in range(settings.workers if settings.cpus else 0):
                core = settings.cpus[index % len(settings.cpus)]
                asked[core] = asked.get(core, 0.0) + load.allotted / settings.workers
        return asked

    def wanted(self) -> float:
        """What all burners are to burn, in cores."""
        return sum(load.allotted for load in self._loads() if load.settings.is_cpu)

    # --- while something moves

    def _begin(self, loads: Sequence[Load]) -> None:
        self._governor, self._odometer = Governor(), Odometer()
        self._working = self._busy()
        self._look(loads)
        self._timer = self._clock.later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = self._clock.later(TICK_SECONDS, self._tick)
        loads = list(self._loads())
        before, self._working = self._working, self._busy()
        if self._working != before:
            self._serve([load for load in loads if load.is_burning])
        found = self._look(loads)
        if found is not None:
            seconds, used, burnt = found
            governed = [load for load in loads if load.settings.is_governed and load.is_burning]
            target, _ = self._total(governed)
            most = sum(_most(load) for load in governed)
            self._governor.step(seconds, used.busy, burnt, target, most, self.capacity.cores)
            self._govern(governed)

    def _look(self, loads: Sequence[Load]) -> tuple[float, Usage, float] | None:
        """Seconds since the last look, what became of the machine in them, and what governed burners burnt of it."""
        governed = [load for load in loads if load.settings.is_governed]
        if not governed:
            self._last = None
            return None
        now, times = self._clock.monotonic(), self._host.times()
        burnt = self._odometer.since([spinner for load in governed for spinner in load.spinners])
        before, self._last = self._last, (now, times)
        if before is None:
            return None
        return now - before[0], usage(before[1], times, now - before[0]), burnt

    # --- the decision

    def _decide(self, loads: Sequence[Load]) -> None:
        burning = [load for load in loads if load.is_burning]
        for load in burning:
            if not load.settings.is_cpu:  # a disk keeps no core
                cores, held = self._braked(load)
                load.allot(cores, tuple(held))
        self._serve(burning)
        self._govern([load for load in burning if load.settings.is_governed])
        for load in loads:
            if not load.is_burning:
                load.allot(0.0, ())

    def _serve(self, burning: Sequence[Load]) -> None:
        """Those of mode ``add``, the oldest first."""
        room = max(0.0, self.capacity.quota - measure.reserve(self.capacity))
        served = [load for load in burning if load.settings.is_cpu and not load.settings.is_governed]
        braked = [self._braked(load) for load in served]
        asked = sum(cores for cores, _ in braked)
        yielding = sum(cores for load, (cores, _) in zip(served, braked, strict=True) if load.settings.yields)
        for load, (wish, held) in zip(served, braked, strict=True):
            cores = wish
            if load.settings.yields and self._working > 0 and cores > 0:
                taken = min(cores, self._working * cores / yielding)
                cores -= taken
                held.append(_reason("jobs", f"running jobs use {self._working:.2f} cores: it gives {taken:.2f} way"))
            if not load.settings.no_reserve and cores > room + _ALMOST:
                held.append(self._reserved(asked, cores, room))
                cores = room
            room = max(0.0, room - cores)
            load.allot(cores, tuple(held))

    def _govern(self, loads: Sequence[Load]) -> None:
        """Those of mode ``total``."""
        target, capped = self._total(loads)
        braked = [self._braked(load) for load in loads]
        shares = measure.share_out(self._governor.own, [wish for wish, _ in braked], [_most(load) for load in loads])
        for load, cores, (wish, held) in zip(loads, shares, braked, strict=True):
            if capped and wish > target:
                held.append(self._reserved(wish, wish, target))
            load.allot(cores, tuple(held))

    def _total(self, loads: Sequence[Load]) -> tuple[float, bool]:
        """Cores that the machine is to be at, and whether the reserve bounds that."""
        room = self.capacity.quota - measure.reserve(self.capacity)
        free = max((self._braked(load)[0] for load in loads if load.settings.no_reserve), default=0.0)
        bound = max((self._braked(load)[0] for load in loads if not load.settings.no_reserve), default=0.0)
        return max(free, min(bound, room)), bound > room + _ALMOST

    def _braked(self, load: Load) -> tuple[float, list[BurnerReason]]:
        part, why = load.brake
        return load.wish(self.capacity) * part, [BurnerReason(code="guard", text=why)] if why else []

    def _reserved(self, asked: float, wish: float, granted: float) -> BurnerReason:
        capacity = self.capacity
        return _reason(
            "reserve",
            f"burners are asked for {asked:.2f} of {capacity.quota:g} cores, of which {measure.reserve(capacity):.2f}"
            f" are left free: it gets {granted:.2f} instead of {wish:.2f}; --no-reserve lifts that",
        )


def _most(load: Load) -> float:
    """Cores that a burner's processes can burn."""
    settings = load.settings
    return float(min(settings.workers, len(set(settings.cpus)) or settings.workers))


def _reason(code: str, text: str) -> BurnerReason:
    return BurnerReason(code=code, text=f"{code}: {text}")
