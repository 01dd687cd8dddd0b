"""Stoker: each transport has a daemon of its own, for a worker's environment would not be the same for both."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.tasks import cube


class Stoker(Peer):
    """The library's client.

    Args:
        scratch: see :class:`benchmarks.peers.peer.Peer`.
        transport: that the client insists on.
        durable: have every job kept on disk before it is acknowledged.
    """

    def __init__(self, scratch: Path, *, transport: str, durable: bool = False) -> None:
        super().__init__(scratch)
        self._transport, self._durable = transport, durable
        self._daemon: Any = None

    def start(self) -> None:
        os.environ["STOKER_TRANSPORT"] = self._transport
        if "BENCHMARK_COLD" not in os.environ:
            from benchmarks.daemon import Daemon

            self._daemon = Daemon(self.scratch)
            os.environ["STOKER_SOCKET"] = self._daemon.endpoint
        import stoker

        self._client = stoker.Client()
        self._jobs: Any = self._client.options(durable=True) if self._durable else self._client

    def stop(self) -> None:
        self._client.close()
        if self._daemon is not None:
            self._daemon.close()

    def submit(self, function: Callable[..., Any], x: Any) -> Any:
        return self._jobs.submit(function, x)

    def map(self, count: int) -> list[Any]:
        return list(self._jobs.map(cube, range(count)))

    def chunked(self, count: int, chunk: int) -> list[Any]:
        return list(self._jobs.map(cube, range(count), chunksize=chunk))
