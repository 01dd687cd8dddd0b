"""Once a second, while there is a burner: what became of the machine, and what each burner did.

One timer for all burners, and per process one record of its page and one small file: 64 processes cost well below a
hundredth of a core. It makes the figures that need two looks, which ``status`` shows and ``figures`` plots, and says
when a burner begins to fall short of its target, and when it no longer does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from stokerd.burners.host import Capacity, Host, Snapshot, Usage, usage
from stokerd.burners.meter import Stint
from stokerd.clock import Clock, Timer
from stokerd.cores import Throttling

SECOND = 1.0

_NOTHING = Usage(0.0, 0.0, 0.0, 0.0)


class Scene(NamedTuple):
    """The machine in the last second, as far as a burner's figures and reasons need it.

    Args:
        seconds: how long that was; 0: nothing is known yet.
        machine: what became of all cores.
        cores: the same for each core.
        burnt: CPU seconds that burners burnt: on each core those that are pinned there, under -1 the others.
        throttled: what CPU quotas cost in that second.
        capacity: of the machine.
    """

    seconds: float
    machine: Usage
    cores: dict[int, Usage]
    burnt: dict[int, float]
    throttled: Throttling
    capacity: Capacity

    @property
    def busy(self) -> float:
        """What was used of the machine, percent."""
        return self.machine.percent(self.machine.busy)

    @property
    def others(self) -> float:
        """What all but the burners used of it, percent."""
        return self.machine.percent(max(0.0, self.machine.busy - sum(self.burnt.values())))

    @property
    def steal(self) -> float:
        """What the hypervisor took of it, percent."""
        return self.machine.percent(self.machine.steal)

    def of_core(self, core: int | None) -> tuple[float, float]:
        """Others and steal of one core, percent of it; of all that may be used where there is none."""
        seen = self.cores.get(core) if core is not None else None
        if core is None or seen is None:
            return self.others, self.steal
        return seen.percent(max(0.0, seen.busy - self.burnt.get(core, 0.0))), seen.percent(seen.steal)


class Watched(Protocol):
    """A burner, as far as it is looked at."""

    def take(self, seconds: float, waited: Callable[[int], float | None]) -> list[tuple[int | None, Stint]]:
        """What its processes did since the last call, with the core that each is pinned to."""

    def note(self, scene: Scene) -> None:
        """The second is over: keep it, and say what has changed."""


class Lookout:
    """See the module.

    Args:
        clock: time.
        host: the machine.
        burners: all that there are.
        on_second: called after each second.
    """

    def __init__(
        self, clock: Clock, host: Host, burners: Callable[[], Iterable[Watched]], on_second: Callable[[], None]
    ) -> None:
        self._clock, self._host, self._burners, self._on_second = clock, host, burners, on_second
        self._timer: Timer | None = None
        self._at = 0.0
        self._times: Snapshot = {}
        self._throttled = Throttling(0, 0.0)
        self.scene = Scene(0.0, _NOTHING, {}, {}, Throttling(0, 0.0), host.capacity())
        """The machine in the last second."""

    def wake(self) -> None:
        """There is a burner; where there is none any more at the next look, it sleeps again."""
        if self._timer is None:
            self._snap()
            self._timer = self._clock.later(SECOND, self._look)

    def _snap(self) -> tuple[float, Snapshot, Throttling]:
        """Remember this moment; returns the one before."""
        before = self._at, self._times, self._throttled
        self._at, self._times = self._clock.monotonic(), self._host.times()
        self._throttled = self._host.throttling()
        return before

    def rest(self) -> None:
        """There is no burner any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.scene = self.scene._replace(seconds=0.0, machine=_NOTHING, cores={}, burnt={})

    def _look(self) -> None:
        self._timer = self._clock.later(SECOND, self._look)
        at, times, throttled = self._snap()
        seconds, burnt = self._at - at, dict[int, float]()
        burners = list(self._burners())
        for burner in burners:
            for core, stint in burner.take(seconds, self._host.waited):
                where = -1 if core is None else core
                burnt[where] = burnt.get(where, 0.0) + stint.burnt
        self.scene = Scene(
            seconds,
            usage(times, self._times, seconds),
            {core: usage(times, self._times, seconds, (core,)) for core in self._times},
            burnt,
            Throttling(self._throttled.periods - throttled.periods, self._throttled.seconds - throttled.seconds),
            self._host.capacity(),
        )
        for burner in burners:
            burner.note(self.scene)
        self._on_second()
