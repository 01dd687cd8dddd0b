"""The face of the library: ``stoker.Client``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from stoker import __version__, environment
from stoker.batch import Outbox
from stoker.connection import Connection
from stoker.control import DaemonCalls, JobCalls, LoadCalls
from stoker.functions import Packer, pack_value
from stoker.submitter import Submitter

if TYPE_CHECKING:
    from stoker.events import Listener
    from stoker.protocol.requests import StartReply


class Client(Submitter, DaemonCalls, LoadCalls, JobCalls):
    """A connection to a daemon, for any number of threads. Also a context manager.

    Args:
        endpoint: a path, ``ipc://PATH`` or ``tcp://HOST:PORT``; None: ``STOKER_SOCKET``, else the user's own daemon,
            else the system's, else a private one is started.
        timeout: seconds that a request may take; None: for ever. Waiting for a job's result has its own.
        autostart: whether a private daemon may be started; None: unless ``STOKER_AUTOSTART=0``.
        reconnect: seconds for which requests wait for a daemon that went away; None: ``STOKER_RECONNECT``, else a
            minute for one that a service manager brings back, else not at all. What may have been done already is
            asked again only if that is safe.
        key: for tcp, this client's key: a file, a name in the directory of keys, or the secret key itself; None:
            ``STOKER_KEY``, else ``client.key_secret`` in the directory of keys (``~/.config/stoker/keys``).
        server_key: for tcp, the daemon's public key, likewise; None: ``STOKER_SERVER_KEY``, else ``HOST:PORT.key``
            or ``server.key`` there.

    Raises:
        NobodyListening, PermissionRefused, HandshakeFailed, BadKey, BadEndpoint: why the daemon cannot be reached.
        StartFailed: a private daemon did not come up.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        timeout: float | None = None,
        autostart: bool | None = None,
        reconnect: float | None = None,
        key: str | None = None,
        server_key: str | None = None,
    ) -> None:
        from stoker.autostart import locate

        url = locate(endpoint, autostart=autostart, environ=os.environ)
        hello = {
            "client": f"stoker {__version__} (Python)",
            "pid": os.getpid(),
            "environment": environment.of_library(),
        }
        keys = None
        if url.startswith("tcp://"):
            from stoker.credentials import find

            keys = find(url, key, server_key, os.environ)
        self.connection = Connection(url, hello=hello, timeout=timeout, reconnect=reconnect, credentials=keys)
        super().__init__(Outbox(self.connection), Packer(), {})

    @property
    def endpoint(self) -> str:
        """Where the daemon listens."""
        return self.connection.url

    def start_pool(
        self,
        name: str,
        *,
        workers: int | None = None,
        max_jobs: int | None = None,
        memory_bytes: int | None = None,
        initializer: Callable[..., Any] | str | None = None,
        initargs: Sequence[Any] = (),
        owned: bool = False,
    ) -> StartReply:
        """As :meth:`stoker.control.LoadCalls.start_pool`; ``initializer`` may be a function, which travels with its
        pickled arguments.
        """
        if initializer is None or isinstance(initializer, str):
            return super().start_pool(
                name,
                workers=workers,
                max_jobs=max_jobs,
                memory_bytes=memory_bytes,
                initializer=initializer,
                initargs=initargs,
                owned=owned,
            )
        from stoker.control import ask
        from stoker.protocol.requests import Initializer, PickleSpec, StartPool

        packed = self._packer.pack(initializer)
        with self.connection.lock:
            self.outbox.upload(packed)
        arguments = pack_value((tuple(initargs), {}))
        first = PickleSpec(function=packed.function, lengths=len(arguments).to_bytes(4, "little"))
        request = StartPool(
            name=name,
            workers=workers,
            max_jobs=max_jobs,
            memory_bytes=memory_bytes,
            initializer=Initializer(pickle=first),
            owned=owned,
        )
        return ask(self.connection, request, payload=(arguments,))

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
        self.outbox.let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> Any:
        # a client that travels to a worker becomes a client of the same daemon there
        if self.connection.credentials is not None:  # whose keys stay here
            from stoker.default import client_at

            return client_at, (self.connection.url,)
        return Client, (self.connection.url,)

    def __repr__(self) -> str:
        return f"<Client of {self.connection.url}>"
