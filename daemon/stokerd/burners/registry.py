"""All burners of one daemon, by name."""

from __future__ import annotations

from dataclasses import replace as altered

from stoker.errors import InvalidParams, NameTaken, NoSuchBurner, ShuttingDown, StokerError, Unavailable
from stoker.protocol.models import BurnerInfo, Environment
from stoker.protocol.typed import nearest
from stokerd.burners.burner import Burner
from stokerd.burners.settings import Settings, check, check_load, check_seconds, check_workers
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
    """

    def __init__(self, clock: Clock, bus: Bus, forker: Forker, default_seconds: float, max_processes: int) -> None:
        self._clock, self._bus, self._forker = clock, bus, forker
        self._default_seconds, self._most = default_seconds, max_processes
        self._burners: dict[str, Burner] = {}
        self._closed = False

    def __contains__(self, name: object) -> bool:
        """Whether a burner has this name."""
        return name in self._burners

    def start(  # noqa: PLR0913  # one argument per property of a burner
        self,
        name: str,
        workers: int,
        load: float,
        *,
        seconds: float | None = None,
        cpus: tuple[int, ...] = (),
        nice: int = 10,
        generator: str = "spin",
        replace: bool = False,
        environment: Environment | None = None,
    ) -> Promise[BurnerInfo]:
        """Start a burner; settles when its load has been observed.

        Args:
            name: its name.
            workers: number of processes.
            load: target of each in percent of one core.
            seconds: time limit from then on; None: the default; ``inf``: none.
            cpus: process i is pinned to ``cpus[i % len(cpus)]``; empty: not pinned.
            nice: niceness.
            generator: what generates the load.
            replace: stop a burner of the same name first, instead of refusing.
            environment: whose interpreter runs it; None: the daemon's own.

        Raises:
            InvalidParams: something is outside its limits.
            NameTaken: a burner has this name.
            Unavailable: as many processes burn as may.
            ShuttingDown: the daemon is stopping.
            StartFailed: (the promise) it did not come up; all of it is reaped.
        """
        settings = Settings(
            name=name,
            workers=workers,
            load=load,
            seconds=self._default_seconds if seconds is None else seconds,
            cpus=cpus,
            nice=nice,
            generator=generator,
            environment=environment or self._forker.default,
        )
        check(settings, self._most)
        return self._start(settings, replace=replace)

    def set(
        self,
        name: str,
        load: float | None = None,
        workers: int | None = None,
        *,
        seconds: float | None = None,
        paused: bool | None = None,
    ) -> Promise[BurnerInfo]:
        """Change a burner while it runs; settles when the change has been observed. None: as it is.

        Args:
            name: which.
            load: target of each process in percent of one core.
            workers: number of processes.
            seconds: time limit, counted from now.
            paused: True: burn nothing until further notice; False: go on.

        Raises:
            NoSuchBurner: none has this name.
            InvalidParams: nothing to change, or something is outside its limits.
            Unavailable: as many processes burn as may.
            IllegalMove: the burner's state does not allow it.
            DeadlineExceeded: (the promise) the change is made, and was not observed in time.
            StartFailed: (the promise) the burner ended before it was observed.
        """
        burner = self._get(name)
        if load is None and workers is None and seconds is None and paused is None:
            raise InvalidParams(f"nothing to change for burner {name!r}", hint="give load, workers, seconds or paused")
        settings = burner.settings
        if load is not None:
            check_load(load)
            settings = altered(settings, load=load)
        if workers is not None:
            check_workers(workers, self._most)
            settings = altered(settings, workers=workers)
        if seconds is not None:
            check_seconds(seconds)
            settings = altered(settings, seconds=seconds)
        self._check_room(settings)
        return burner.change(settings, paused=paused, limit=seconds is not None)

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
        burner = self._burners[settings.name] = Burner(self._clock, self._bus, self._forker, settings, self._forget)
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
