"""The processes of one burner: so many places, each with the process that fills it.

A process that ends unasked leaves its place empty; the burner decides whether it is filled again. Processes that were
told to end belong to no place any more and are counted until they are reaped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from stoker.errors import StokerError
from stokerd.burners.page import PAGE_BYTES, Order
from stokerd.burners.settings import Settings
from stokerd.burners.spinner import Spinner
from stokerd.child import Forker, ForkSpec
from stokerd.clock import Clock

DEATHS, DEATH_SECONDS = 3, 10.0
"""A place that loses so many processes within so many seconds is given up."""

RETRY_SECONDS = 1.0
"""Until a fork that the system refused is tried again."""

_GOLDEN = 0.6180339887498949
"""Multiples of it, modulo 1, spread evenly however many there are (Weyl): the grids' phases."""


class Listener(Protocol):
    """Whom a crew tells what happens to it."""

    def crew_progressed(self) -> None:
        """A process was observed or reaped."""

    def crew_lost(self, place: Place, reason: str) -> None:
        """A process ended that should not have, or could not be started; its place is empty."""

    def crew_overdue(self) -> None:
        """A process was killed and does not end."""


@dataclass(slots=True, eq=False)
class Place:
    """Where one process belongs.

    Args:
        index: 0 for the first.
        spinner: who fills it; None: nobody now.
        deaths: when it lost its last processes, monotonic seconds.
        loss: how it lost the last of them.
        refusal: why that one gave up by itself, with a hint; None: it did not.
    """

    index: int
    spinner: Spinner | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS))
    loss: str = ""
    refusal: tuple[str, str] | None = None

    def is_hopeless(self, now: float) -> bool:
        """It keeps losing its processes."""
        return len(self.deaths) == DEATHS and now - self.deaths[0] <= DEATH_SECONDS


class Crew:
    """See the module.

    Args:
        clock: time.
        forker: who forks.
        settings: of the burner.
        listener: told what happens.
    """

    def __init__(self, clock: Clock, forker: Forker, settings: Settings, listener: Listener) -> None:
        self._clock, self._forker, self._settings, self._listener = clock, forker, settings, listener
        self._order = Order(epoch=0, target=0.0, deadline=0.0)
        self._leaving: set[Spinner] = set()
        self.places: list[Place] = []

    @property
    def alive(self) -> int:
        """Processes that are not reaped yet."""
        return len(list(self._spinners())) + len(self._leaving)

    @property
    def overdue(self) -> int:
        """Processes that were killed and do not end."""
        return sum(spinner.overdue for spinner in self._leaving)

    def unsettled(self, epoch: int) -> int:
        """How many processes have yet to show the load of this epoch, or to be reaped."""
        return len(self._leaving) + sum(
            place.spinner is None or place.spinner.observed < epoch for place in self.places
        )

    @property
    def spinners(self) -> list[Spinner]:
        """The processes that fill the places now."""
        return list(self._spinners())

    def give(self, order: Order) -> None:
        """Put an order in force, for all and for those to come."""
        if order == self._order:
            return
        self._order = order
        for spinner in self._spinners():
            spinner.give(order)

    def resize(self, workers: int, grace: float) -> None:
        """Have so many processes; those that stay are not touched. The last ones go first.

        Raises:
            StokerError: one could not be forked; there are as many places as before.
        """
        before = len(self.places)
        try:
            while len(self.places) < workers:
                place = Place(len(self.places))
                place.spinner = self._fork(place)
                self.places.append(place)
        except StokerError:
            self._shrink(before, grace)
            raise
        self._shrink(workers, grace)

    def replace(self, place: Place) -> None:
        """Fill an empty place again; where the system refuses, that is tried again later, and counts as a loss."""
        try:
            place.spinner = self._fork(place)
        except StokerError as why:
            self._clock.later(RETRY_SECONDS, self._lose, place, f"a process could not be replaced: {why.message}")

    def end(self, grace: float) -> None:
        """Let all end and give their places up; again with another grace: those that are still there."""
        leaving = list(self._leaving)
        self._shrink(0, grace)
        for spinner in leaving:
            spinner.end(grace)

    def spinner_observed(self) -> None:
        """See :class:`stokerd.burners.spinner.Listener`."""
        self._listener.crew_progressed()

    def spinner_exited(self, spinner: Spinner, reason: str) -> None:
        """See :class:`stokerd.burners.spinner.Listener`."""
        if spinner in self._leaving:
            self._leaving.discard(spinner)
            self._listener.crew_progressed()
            return
        for place in self.places:
            if place.spinner is spinner:
                place.spinner = None
                place.refusal = spinner.refusal
                self._lose(place, reason)
                return

    def spinner_overdue(self) -> None:
        """See :class:`stokerd.burners.spinner.Listener`."""
        self._listener.crew_overdue()

    def _spinners(self) -> Iterator[Spinner]:
        return (place.spinner for place in self.places if place.spinner is not None)

    def _shrink(self, workers: int, grace: float) -> None:
        while len(self.places) > workers:
            spinner = self.places.pop().spinner
            if spinner is not None:
                self._leaving.add(spinner)
                spinner.end(grace)

    def _lose(self, place: Place, reason: str) -> None:
        if place.index < len(self.places) and self.places[place.index] is place:
            place.deaths.append(self._clock.monotonic())
            place.loss = reason
            self._listener.crew_lost(place, reason)

    def _fork(self, place: Place) -> Spinner:
        core = self._settings.core(place.index)
        spec = ForkSpec(
            target="stokerd.burners.burn:main",
            name=f"stoker burner {self._settings.name}/{place.index}",
            args={
                "generator": self._settings.generator,
                "params": dict(self._settings.params),
                "phase": place.index * _GOLDEN % 1.0,
            },
            channel=True,
            page_bytes=PAGE_BYTES,
            nice=self._settings.nice,
            load=True,
            cpus=() if core is None else (core,),
        )
        return Spinner(self._clock, self._forker, self._settings.environment, spec, self._order, self)
