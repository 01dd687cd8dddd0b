"""All burners of one daemon, by name."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace as altered
from typing import Any

from stoker.errors import InvalidParams, NameTaken, NoSuchBurner, ShuttingDown, StokerError, Unavailable
from stoker.protocol import guards as grammar
from stoker.protocol.curve import TracePoints
from stoker.protocol.models import BurnerInfo, Environment
from stoker.protocol.requests import BurnerHistory
from stoker.protocol.typed import nearest
from stokerd.burners import demands, measure, sensors
from stokerd.burners.burner import Burner
from stokerd.burners.conductor import Busy
from stokerd.burners.host import Host
from stokerd.burners.settings import Settings, check, check_delivery, check_seconds, check_workers
from stokerd.burners.stage import Stage
from stokerd.burners.steering import Steer, asked, limited, steered
from stokerd.bus import Bus
from stokerd.child import Forker
from stokerd.clock import Clock
from stokerd.promise import Promise, gather

CLOSE_GRACE_SECONDS = 1.0


class Burners:
    """The part of the daemon that makes load.

    Args:
        clock: time; its monotonic time must be CLOCK_MONOTONIC, which burner processes go by.
        bus: told of every change.
        forker: who forks.
        default_seconds: time limit of a burner that asks for none.
        max_processes: burner processes in all.
        host: the machine; None: the one that we run on.
        busy: how many cores the jobs of all pools use now.
    """

    def __init__(
        self,
        clock: Clock,
        bus: Bus,
        forker: Forker,
        default_seconds: float,
        max_processes: int,
        *,
        host: Host | None = None,
        busy: Busy = lambda: 0.0,
    ) -> None:
        self._clock, self._bus, self._forker = clock, bus, forker
        self._default_seconds, self._most = default_seconds, max_processes
        self._burners: dict[str, Burner] = {}
        self._host = host or Host()
        self._stage = Stage(
            clock, self._host, forker, lambda: (burner.hearth for burner in self._burners.values()), busy
        )
        self._closed = False

    def __contains__(self, name: object) -> bool:
        """Whether a burner has this name."""
        return name in self._burners

    def start(  # noqa: PLR0913  # one argument per property of a burner
        self,
        name: str,
        workers: int | None,
        load: float | None = None,
        *,
        profile: str | None = None,
        traces: Sequence[TracePoints] = (),
        of: str | None = None,
        mode: str = "add",
        no_reserve: bool = False,
        guards: Sequence[str] = (),
        yield_to_jobs: bool = False,
        seconds: float | None = None,
        cpus: tuple[int, ...] = (),
        nice: int = 10,
        generator: str = "spin",
        params: Mapping[str, Any] | None = None,
        replace: bool = False,
        environment: Environment | None = None,
    ) -> Promise[BurnerInfo]:
        """Start a burner; settles when its load has been observed.

        Args:
            name: its name.
            workers: number of processes; None: the usual for what the load is of.
            load: target in percent; beside a profile: what it begins at where it does not say.
            profile: what the load is to be over time; see docs/profiles.md.
            traces: the points of each trace in it, in order.
            of: of what, ``core``, ``machine`` or ``quota``; None: ``core``, in mode ``total`` ``machine``.
            mode: ``add`` or ``total``.
            no_reserve: do without the reserve that burners leave free.
            guards: see :mod:`stoker.protocol.guards`.
            yield_to_jobs: burn less by the cores that running jobs use.
            seconds: time limit from then on; None: the length of the profile, else the default; ``inf``: none.
            cpus: process i is pinned to ``cpus[i % len(cpus)]``; empty: not pinned.
            nice: niceness.
            generator: the kind of load; see :mod:`stoker.protocol.loads`.
            params: of the kind, those that were given.
            replace: stop a burner of the same name first, instead of refusing.
            environment: whose interpreter runs it; None: the daemon's own.

        Raises:
            InvalidParams: something is outside its limits.
            BadProfile: the profile or a trace can't be followed.
            NameTaken: a burner has this name.
            Unavailable: as many processes burn as may.
            ShuttingDown: the daemon is stopping.
            StartFailed: (the promise) it did not come up; all of it is reaped.
        """
        unit = of or ("machine" if mode == "total" else "core")
        timeline = asked(profile, traces, load)
        by_profile = timeline is not None and seconds is None and not math.isinf(timeline.curve.seconds)
        settings = Settings(
            name=name,
            workers=measure.usual_workers(unit, self._host.capacity()) if workers is None else workers,
            load=(load or 0.0) if timeline is None else timeline.curve.highest,
            seconds=math.inf if by_profile else self._default_seconds if seconds is None else seconds,
            profile=timeline,
            by_profile=by_profile,
            cpus=cpus,
            nice=nice,
            generator=generator,
            params=params or {},
            environment=environment or self._forker.default,
            of=unit,
            mode=mode,
            no_reserve=no_reserve,
            guards=tuple(map(grammar.parse, guards)),
            yields=yield_to_jobs,
        )
        check(settings, self._most, self._host)
        if name not in self._burners:
            demands.check_memory(generator, settings.params, settings.workers)
        sensors.check(settings.guards, self._host, os.environ.get("PATH"))
        self._stage.conductor.look_again()
        return self._start(settings, replace=replace)

    def limit(self, default_seconds: float, max_processes: int) -> None:
        """Bounds of those that start or grow from now on: the time limit of one that names none, and how many processes
        all have together.
        """
        self._default_seconds, self._most = default_seconds, max_processes

    def set(
        self,
        name: str,
        load: float | None = None,
        workers: int | None = None,
        *,
        seconds: float | None = None,
        paused: bool | None = None,
        no_reserve: bool | None = None,
        steer: Steer | None = None,
    ) -> Promise[BurnerInfo]:
        """Change a burner while it runs; settles when the change has been observed. None: as it is.

        Args:
            name: which.
            load: target in percent; of what, stays as it is. A profile is left for it.
            workers: number of processes.
            seconds: time limit, counted from now.
            paused: True: burn nothing until further notice; False: go on.
            no_reserve: do without the reserve, or keep it again.
            steer: what else to follow from now on; see :mod:`stokerd.burners.steering`.

        Raises:
            NoSuchBurner: none has this name.
            InvalidParams: nothing to change, or something is outside its limits.
            BadProfile: the profile or a trace can't be followed.
            Unavailable: as many processes burn as may.
            IllegalMove: the burner's state, or its profile, does not allow it.
            DeadlineExceeded: (the promise) the change is made, and was not observed in time.
            StartFailed: (the promise) the burner ended before it was observed.
        """
        burner = self._get(name)
        steer = Steer() if steer is None else steer
        if load is not None:
            steer = altered(steer, load=load)
        timeline = steered(steer, burner.timeline, self._clock.monotonic())
        if timeline is None and workers is None and seconds is None and paused is None and no_reserve is None:
            raise InvalidParams(f"nothing to change for burner {name!r}", hint="give load, workers, seconds or paused")
        settings, limit = burner.settings, seconds is not None
        if timeline is not None:
            settings, limit = limited(settings, steer, timeline, given=limit, default=self._default_seconds)
        if workers is not None:
            check_workers(workers, self._most)
            demands.check_memory(settings.generator, settings.params, workers - settings.workers)
            settings = altered(settings, workers=workers)
        if seconds is not None:
            check_seconds(seconds)
            settings = altered(settings, seconds=seconds, by_profile=False)
        if no_reserve is not None:
            settings = altered(settings, no_reserve=no_reserve)
        check_delivery(settings, self._host.capacity())
        self._check_room(settings)
        self._stage.conductor.look_again()
        return burner.change(settings, paused=paused, limit=limit, timeline=timeline)

    def stop(self, names: list[str], grace: float | None = None) -> Promise[list[str]]:
        """Stop burners; settles with their names when the last process of all is reaped.

        Args:
            names: which; each once.
            grace: seconds until SIGKILL; None: the usual.

        Raises:
            NoSuchBurner: one has no burner; none was stopped.
            DeadlineExceeded: (the promise) a process does not end even though it was killed.
        """
        return gather([burner.stop(grace) for burner in [self._get(name) for name in dict.fromkeys(names)]])

    def info(self) -> list[BurnerInfo]:
        """All burners, oldest first."""
        return [burner.info() for burner in self._burners.values()]

    def figures(self, names: Sequence[str] = ()) -> tuple[BurnerHistory, ...]:
        """What burners did in each of the last seconds.

        Args:
            names: which; empty: all.

        Raises:
            NoSuchBurner: one has no burner.
        """
        burners = [self._get(name) for name in dict.fromkeys(names)] or list(self._burners.values())
        capacity = self._stage.conductor.capacity
        return tuple(
            BurnerHistory(
                name=burner.settings.name,
                cores=measure.whole(burner.settings.of, capacity),
                seconds=burner.hearth.seconds,
            )
            for burner in burners
        )

    def survivors(self) -> int:
        """Processes that were killed and did not end."""
        return sum(burner.overdue for burner in self._burners.values())

    def close(self) -> Promise[list[str]]:
        """Take no more, stop all; settles when nothing is left."""
        self._closed = True
        return gather([burner.stop(CLOSE_GRACE_SECONDS, "the daemon ends") for burner in list(self._burners.values())])

    def _start(self, settings: Settings, *, replace: bool) -> Promise[BurnerInfo]:
        if self._closed:
            raise ShuttingDown("the daemon is stopping and starts no burner")
        self._check_room(settings)
        held = self._burners.get(settings.name)
        if held is not None and not replace:
            raise NameTaken(
                f"there is a burner {settings.name!r} already, and it is {held.state}",
                hint="change it with `set`, stop it first, or start with `replace`",
            )
        if held is not None:
            return self._replace(held, settings)
        burner = self._burners[settings.name] = Burner(
            self._clock, self._bus, self._forker, self._stage, settings, self._forget
        )
        return burner.start()

    def _replace(self, held: Burner, settings: Settings) -> Promise[BurnerInfo]:
        """Start when the one that has the name is reaped; should another have come by then, replace that too."""
        promise: Promise[BurnerInfo] = Promise()

        def started(start: Promise[BurnerInfo]) -> None:
            if start.error is not None:
                promise.reject(start.error)
            else:
                promise.resolve(start.value())

        def stopped(stop: Promise[str]) -> None:
            try:
                stop.value()
                self._start(settings, replace=True).when_settled(started)
            except StokerError as why:
                promise.reject(why)

        held.stop(reason="replaced").when_settled(stopped)
        return promise

    def _get(self, name: str) -> Burner:
        try:
            return self._burners[name]
        except KeyError:
            hint = nearest(name, self._burners) or "`status` lists the burners that there are"
            raise NoSuchBurner(f"there is no burner {name!r}", hint=hint) from None

    def _check_room(self, settings: Settings) -> None:
        others = sum(burner.size for burner in self._burners.values() if burner.settings.name != settings.name)
        if others + settings.workers > self._most:
            raise Unavailable(
                f"{others} burner processes run already, and {settings.workers} more would be above the limit"
                f" of {self._most}",
                hint="stop a burner, or ask for fewer workers",
            )

    def _forget(self, burner: Burner) -> None:
        if self._burners.get(burner.settings.name) is burner:
            del self._burners[burner.settings.name]
            self._stage.settle()
