"""What one burner did, second by second: figures for ``figures`` to plot, and whether it falls short of its target."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from stoker.protocol.models import BurnerSecond
from stokerd.burners import figures
from stokerd.burners.crew import Place
from stokerd.burners.lookout import Scene
from stokerd.burners.meter import Meter, Stint
from stokerd.burners.settings import Settings

KEPT_SECONDS = 120
"""Seconds that are remembered."""

SHORT_POINTS, WELL_POINTS = 2.0, 1.0
"""Points of one core, mean over the processes: missing so much a burner falls short, missing less it is well again …"""

STREAK = 2
"""… once that has lasted for so many seconds."""


class Account:
    """See the module."""

    def __init__(self) -> None:
        self._meter = Meter()
        self._streak = 0
        self.stints: dict[int, Stint] = {}
        """What the process of each place did in the last second."""
        self.seconds: deque[BurnerSecond] = deque(maxlen=KEPT_SECONDS)
        self.is_short = False
        """It falls short of its target."""

    @property
    def missing(self) -> float:
        """The share of one core that was missing in the last second, mean over the processes."""
        count = max(1, len(self.stints))
        return sum(stint.target - stint.achieved for stint in self.stints.values()) / count

    @property
    def waited(self) -> float | None:
        """Percent of the last second for which the processes waited for a core, mean; None: not known."""
        known = [stint.waited for stint in self.stints.values() if stint.waited is not None]
        return 100 * sum(known) / len(known) if known else None

    def take(
        self,
        places: Sequence[Place],
        share: float,
        settings: Settings,
        seconds: float,
        waited: Callable[[int], float | None],
    ) -> list[tuple[int | None, Stint]]:
        """A second is over: what each process did in it, with the core that it is pinned to.

        Args:
            places: of the burner.
            share: of one core, that is asked of each process.
            settings: of the burner.
            seconds: how long that second was.
            waited: tells for how long a process had to wait for a core since it began.
        """
        self.stints = {}
        for place in places:
            pid = place.spinner.pid if place.spinner is not None else None
            delay = waited(pid) if pid is not None else None
            self.stints[place.index] = self._meter.take(place.spinner, share, seconds, delay)
        self._meter.keep(place.spinner for place in places)
        return [
            (settings.core(index), stint if settings.is_cpu else stint._replace(burnt=0.0))
            for index, stint in self.stints.items()
        ]

    def close(self, at: float, asked: float, cores: float, scene: Scene) -> BurnerSecond:
        """Remember the second that was taken.

        Args:
            at: its end, UTC seconds.
            asked: percent.
            cores: what 100 % is of all processes together.
            scene: the machine in it.
        """
        sums = figures.total([(stint.target, stint.achieved) for stint in self.stints.values()], cores)
        second = BurnerSecond(
            at=at,
            asked=asked,
            target=sums.target,
            achieved=sums.achieved,
            shortfall=sums.shortfall,
            others=round(scene.others, 3),
            steal=round(scene.steal, 3),
        )
        self.seconds.append(second)
        return second

    def turned(self) -> bool:
        """With the last second it began to fall short, or is well again."""
        points = 100 * self.missing
        other = points < WELL_POINTS if self.is_short else points >= SHORT_POINTS
        self._streak = self._streak + 1 if other else 0
        if self._streak < STREAK:
            return False
        self.is_short, self._streak = not self.is_short, 0
        return True
