"""What all burners of a daemon share: who decides what each burns, who looks at them, and who keeps their guards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from stokerd.burners.conductor import Busy, Conductor, Load
from stokerd.burners.guards import Guarded, Sentry
from stokerd.burners.host import Host
from stokerd.burners.lookout import Lookout, Watched
from stokerd.burners.reasons import Demand
from stokerd.child import Forker
from stokerd.clock import Clock


class Actor(Load, Watched, Guarded, Protocol):
    """A burner, as those on the stage know it."""

    @property
    def size(self) -> int:
        """Processes that it should have; 0 once it ends."""


class Stage:
    """See the module.

    Args:
        clock: time.
        host: the machine.
        forker: who forks.
        actors: all burners, the oldest first.
        busy: how many cores the jobs of all pools use.
    """

    def __init__(
        self, clock: Clock, host: Host, forker: Forker, actors: Callable[[], Iterable[Actor]], busy: Busy
    ) -> None:
        self._clock, self._actors = clock, actors
        self._settling = False
        self.host = host
        self.conductor = Conductor(clock, host, actors, busy)
        self.lookout = Lookout(clock, host, actors, self.conductor.look_again)
        self.sentry = Sentry(clock, host, forker, actors)

    def settle(self) -> None:
        """A burner has come, has changed or ends: decide anew, and look only while there is something to see."""
        self.conductor.settle()
        self.sentry.settle()
        if any(actor.size for actor in self._actors()):
            self.lookout.wake()
        else:
            self.lookout.rest()

    def settle_soon(self) -> None:
        """What is asked of a burner has moved: decide anew, once for all whose share moved in this turn of the loop."""
        if not self._settling:
            self._settling = True
            self._clock.soon(self._settle_now)

    def _settle_now(self) -> None:
        self._settling = False
        self.conductor.settle()

    def demand(self) -> Demand:
        """What all burners ask of the cores."""
        return Demand(self.conductor.pinned(), self.conductor.wanted())
