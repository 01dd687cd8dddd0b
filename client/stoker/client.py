"""The face of the library: ``stoker.Client``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from stoker import __version__, environment
from stoker.batch import Outbox
from stoker.connection import Connection
from stoker.control import DaemonCalls, JobCalls, LoadCalls
from stoker.functions import Packer
from stoker.submitter import Submitter

if TYPE_CHECKING:
    from stoker.events import Listener


class Client(Submitter, DaemonCalls, LoadCalls, JobCalls):
    """A connection to a daemon, for any number of threads. Also a context manager.

    Args:
        endpoint: a path, ``ipc://PATH`` or ``tcp://HOST:PORT``; None: ``STOKER_SOCKET``, else the user's own daemon,
            else the system's, else a private one is started.
        timeout: seconds that a request may take; None: for ever. Waiting for a job's result has its own.
        autostart: whether a private daemon may be started; None: unless ``STOKER_AUTOSTART=0``.

    Raises:
        NobodyListening, PermissionRefused, BadEndpoint: why the daemon cannot be reached.
        StartFailed: a private daemon did not come up.
    """

    def __init__(
        self, endpoint: str | None = None, *, timeout: float | None = None, autostart: bool | None = None
    ) -> None:
        from stoker.autostart import locate

        url = locate(endpoint, autostart=autostart, environ=os.environ)
        hello = {
            "client": f"stoker {__version__} (Python)",
            "pid": os.getpid(),
            "environment": environment.of_library(),
        }
        self.connection = Connection(url, hello=hello, timeout=timeout)
        super().__init__(Outbox(self.connection), Packer(), {})

    @property
    def endpoint(self) -> str:
        """Where the daemon listens."""
        return self.connection.url

    def listen(self, topics: Iterable[str] = ()) -> Listener:
        """Events as they happen: iterate over it.

        Args:
            topics: only topics that begin so, for instance ``"job."``; empty: all of them.
        """
        from stoker.events import Listener

        return Listener(self.connection, tuple(topics))

    def close(self) -> None:
        """Let the daemon know and hang up. Jobs without an answer fail here, and go on there."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> Any:
        # a client that travels to a worker becomes a client of the same daemon there
        return Client, (self.connection.url,)

    def __repr__(self) -> str:
        return f"<Client of {self.connection.url}>"
