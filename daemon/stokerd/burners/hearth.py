"""What a burner burns, what it did and what guards it: its face towards the stage that all burners share.

The burner has the life (states, time limit, profile, who waits for what); this has the load.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from stoker.protocol.events import BurnerGuard, BurnerShortfall
from stoker.protocol.loads import LOADS, kind_of
from stoker.protocol.models import BurnerInfo, BurnerReason, BurnerSecond, ProfileInfo
from stoker.protocol.states import BurnerState
from stokerd.burners import figures, guards, measure, reasons
from stokerd.burners.account import Account
from stokerd.burners.crew import Crew
from stokerd.burners.guards import Post
from stokerd.burners.host import Capacity
from stokerd.burners.lookout import Scene
from stokerd.burners.meter import Stint
from stokerd.burners.page import Order
from stokerd.burners.reading import Reading
from stokerd.burners.settings import Settings
from stokerd.burners.spinner import Spinner
from stokerd.burners.stage import Stage
from stokerd.bus import Bus
from stokerd.clock import Clock

BURNING = frozenset({BurnerState.STARTING, BurnerState.RUNNING})
ENDED = frozenset({BurnerState.STOPPING, BurnerState.STOPPED, BurnerState.FAILED})


class Keeper(Protocol):
    """The burner whose load this is."""

    settings: Settings
    state: BurnerState

    @property
    def asked(self) -> float:
        """Percent that is asked of it now; of what, say its settings."""

    @property
    def epoch(self) -> int:
        """The number of what is asked of it."""

    @property
    def deadline(self) -> float:
        """When its processes end by themselves, monotonic seconds."""

    def guard_acts(self, post: Post) -> None:
        """A guard that has tripped, or is clear again, is to have its effect."""


class Hearth:
    """See the module.

    Args:
        clock: time.
        bus: told when it falls short and when a guard trips.
        stage: what it shares with the other burners.
        crew: its processes.
        keeper: the burner.
    """

    def __init__(self, clock: Clock, bus: Bus, stage: Stage, crew: Crew, keeper: Keeper) -> None:
        self._clock, self._bus, self._stage, self._crew, self._keeper = clock, bus, stage, crew, keeper
        self._share = 0.0  # of one core, that each process is to burn now
        self._held: tuple[BurnerReason, ...] = ()
        self._posts = tuple(Post(guard) for guard in keeper.settings.guards)
        self._account = Account()

    @property
    def settings(self) -> Settings:
        """What it was asked to be."""
        return self._keeper.settings

    @property
    def size(self) -> int:
        """Processes that it should have; 0 once it ends."""
        return 0 if self._keeper.state in ENDED else self.settings.workers

    # --- what it burns: see stokerd.burners.conductor.Load

    @property
    def is_burning(self) -> bool:
        """It is to burn: neither paused nor ended."""
        return self._keeper.state in BURNING

    @property
    def is_moving(self) -> bool:
        """What it is to burn changes without anybody asking for it."""
        return self.is_burning and (self.settings.is_governed or self.settings.yields)

    @property
    def brake(self) -> tuple[float, str]:
        """The part of its wish that its guards let through, and why it is not all."""
        return guards.brake(self._posts)

    @property
    def spinners(self) -> Sequence[Spinner]:
        """Its processes."""
        return self._crew.spinners

    @property
    def allotted(self) -> float:
        """Cores that it is to burn now, after all that holds it back."""
        return self._share * self.settings.workers

    @property
    def target(self) -> float:
        """The same in percent of what its 100 % is."""
        return round(100 * self.allotted / self._cores(self._stage.conductor.capacity), 3)

    def wish(self, capacity: Capacity) -> float:
        """Cores that are asked of it now; in mode ``total``, of the whole machine."""
        return self.settings.cores(self._keeper.asked, capacity) if self.is_burning else 0.0

    def demand(self) -> tuple[float, bool]:
        """What its processes are asked to show: a share of one core each, and whether the reserve may bound it."""
        return self.wish(self._stage.conductor.capacity) / self.settings.workers, self.settings.no_reserve

    def allot(self, cores: float, held: tuple[BurnerReason, ...]) -> None:
        """Burn so many cores from now on; ``held`` says why it is not what was wished."""
        self._share, self._held = min(1.0, cores / self.settings.workers), held
        self._crew.give(Order(self._keeper.epoch, self._share, self._keeper.deadline))

    def _cores(self, capacity: Capacity) -> float:
        """What 100 % is of all processes together, in cores."""
        return self.settings.cores(100.0, capacity)

    # --- what it did: see stokerd.burners.lookout.Watched

    @property
    def seconds(self) -> tuple[BurnerSecond, ...]:
        """The last seconds, oldest first."""
        return tuple(self._account.seconds)

    def take(self, seconds: float, waited: Callable[[int], float | None]) -> list[tuple[int | None, Stint]]:
        """A second is over: what each process did in it, with the core that it is pinned to."""
        return self._account.take(self._crew.places, self._share, self.settings, seconds, waited)

    def note(self, scene: Scene) -> None:
        """Keep the second that was taken, and say so when it began to fall short, or is well again."""
        if self._keeper.state is not BurnerState.RUNNING:
            return
        account = self._account
        second = account.close(self._clock.time(), self._keeper.asked, self._cores(scene.capacity), scene)
        if not account.turned():
            return
        why = self._shortfall(account.missing * self.settings.workers) if account.is_short else None
        self._bus.emit(
            BurnerShortfall(
                name=self.settings.name,
                short=account.is_short,
                target=second.target,
                achieved=second.achieved,
                shortfall=second.shortfall,
                others=second.others,
                steal=second.steal,
                code=why.code if why else "",
                reason=why.text if why else "",
            )
        )

    # --- what guards it: see stokerd.burners.guards.Guarded

    @property
    def posts(self) -> Sequence[Post]:
        """Its guards, while it runs."""
        return () if self._keeper.state in ENDED else self._posts

    def guard_changed(self, post: Post) -> None:
        """A guard of it has tripped, or is clear again: say so, then let it have its effect."""
        self._bus.emit(
            BurnerGuard(
                name=self.settings.name,
                # the arguments of a probe may be secret, and this is logged
                guard=f"probe:{post.guard.argv[0]}" if post.guard.argv else post.guard.text,
                action=post.guard.action,
                tripped=post.tripped,
                reading=post.reading,
                reason=post.reason,
            )
        )
        self._keeper.guard_acts(post)

    # --- what there is to tell of it

    def info(
        self, *, started: float, ends: float | None, reason: str, rest: str, profile: ProfileInfo | None
    ) -> BurnerInfo:
        """What it is and does now; the figures are read from the pages in this call.

        Args:
            started: when its load had been observed, UTC.
            ends: when it ends by itself, UTC; None: never.
            reason: why it does not run; empty where it does.
            rest: what to say where there is no reason at all.
            profile: where it is in its profile; None: it has none.
        """
        settings, scene, stints = self.settings, self._stage.lookout.scene, self._account.stints
        capacity, now = self._stage.conductor.capacity, self._clock.monotonic()
        readings = [figures.reading_of(place, self._share, now) for place in self._crew.places]
        sums = figures.total([(reading.target, reading.achieved) for reading in readings], self._cores(capacity))
        why, kind = self._reasons(readings, now), LOADS[kind_of(settings.generator)[0]]
        return BurnerInfo(
            name=settings.name,
            state=self._keeper.state,
            kind=settings.generator,
            target=sums.target,
            achieved=sums.achieved,
            shortfall=sums.shortfall,
            size=self.size,
            nice=settings.nice,
            cpus=settings.cpus,
            started=started,
            ends=ends,
            reason=reason or (why[0].text if why else rest),
            workers=tuple(
                figures.worker_info(place, reading, settings, scene, stints.get(place.index))
                for place, reading in zip(self._crew.places, readings, strict=True)
            ),
            of=settings.of,
            mode=settings.mode,
            cores=measure.whole(settings.of, capacity),
            unit=measure.unit(settings.of, capacity) if settings.is_cpu else kind.unit,
            work=round(sum(reading.work for reading in readings), 3),
            work_unit=kind.work,
            asked=self._keeper.asked,
            machine=round(scene.busy, 3),
            others=round(scene.others, 3),
            steal=round(scene.steal, 3),
            reasons=why,
            guards=tuple(post.info() for post in self._posts),
            yields=settings.yields,
            reserve=0.0 if settings.no_reserve else measure.reserve(capacity),
            profile=profile,
        )

    def _reasons(self, readings: Sequence[Reading], now: float) -> tuple[BurnerReason, ...]:
        """Why it is not well, the gravest first; empty where it is."""
        found = [reasons.of_processes(self._crew.places, readings, now)]
        missing = sum(reading.shortfall for reading in readings)
        if readings and 100 * missing / len(readings) >= reasons.STARVED_POINTS:
            found.append(self._shortfall(missing))
        warned = [
            BurnerReason(code="guard", text=post.reason)
            for post in self._posts
            if post.tripped and post.guard.action == "warn"
        ]
        return (
            *(reason for reason in found if reason is not None),
            *self._held,
            *warned,
            *reasons.of_notes(self._crew.places),
        )

    def _shortfall(self, missing: float) -> BurnerReason:
        """Who has the cores that are missing."""
        scene, demand = self._stage.lookout.scene, self._stage.demand()
        return reasons.of_shortfall(missing, self.settings, scene, demand, self._account.waited)
