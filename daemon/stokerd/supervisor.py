"""The parts of the daemon as one value: what handlers are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from stoker.protocol.models import DaemonInfo
from stoker.protocol.requests import ConfigDiffReply, KeysReply, ReloadReply, StartReply
from stokerd.burners.registry import Burners
from stokerd.bus import Bus
from stokerd.clock import Clock
from stokerd.config import Config
from stokerd.control.sessions import Sessions
from stokerd.depot import Depot
from stokerd.forkserver.host import ForkServers
from stokerd.journal import Journal
from stokerd.overdue import Overdue
from stokerd.pool.functions import FunctionTable
from stokerd.pool.pools import Pools
from stokerd.processes.registry import Processes
from stokerd.promise import Promise
from stokerd.shared.registry import Shared


class Life(Protocol):
    """What can be asked of the daemon as a whole."""

    @property
    def supervised(self) -> bool:
        """Whether a service manager started it, and brings it back when it dies."""

    def info(self) -> DaemonInfo:
        """Its snapshot."""

    def reload(self) -> Promise[ReloadReply]:
        """Read the configuration again, and apply the difference; settles when that is done.

        Raises:
            ConfigError: it is not valid; nothing was applied.
            Busy: another reload is under way.
        """

    def config_diff(self) -> ConfigDiffReply:
        """What a reload would change, and what was changed by hand.

        Raises:
            ConfigError: the file is not valid.
        """

    def start_configured(self, name: str) -> Promise[StartReply]:
        """Start a burner of the configuration that does not run.

        Raises:
            NotFound: there is none of this name.
        """

    def keys(self) -> KeysReply:
        """Who may connect over tcp, read again from the files."""

    def shut_down(self, grace: float | None) -> None:
        """Begin to end."""


@dataclass(slots=True)
class Supervisor:
    """See the module."""

    config: Config
    clock: Clock
    bus: Bus
    forker: ForkServers
    journal: Journal
    sessions: Sessions
    functions: FunctionTable
    depot: Depot
    pools: Pools
    burners: Burners
    processes: Processes
    shared: Shared
    owned: dict[str, set[str]]
    """Names of the burners that end with a session, by its id."""
    lenders: set[str]
    """Sessions inside jobs that lend their slot."""
    late: Overdue
    """Streams of results that may have to tell the ids of their jobs."""
    life: Life
