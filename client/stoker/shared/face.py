"""What every face of a shared object is: an id, a daemon, and two ways to call it."""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from stoker.default import client_at, default_client, remember
from stoker.errors import DeadlineExceeded, StokerError
from stoker.protocol.codec import Frame
from stoker.shared import settling
from stoker.shared.holder import holder, new_ticket

if TYPE_CHECKING:
    from stoker.client import Client
    from stoker.connection import Connection

LONG = 1_000_000.0
"""Seconds that stand for ever with a client that has a time limit of its own."""


class _Known:
    """Which anonymous objects a connection knows of: those that only it can know are released when unused."""

    def __init__(self) -> None:
        self.faces: Counter[str] = Counter()
        self.travelled: set[str] = set()
        self.unused: deque[str] = deque()
        """Ids of faces that were collected; filled by finalizers, which may run at any moment in any thread."""

    def to_release(self) -> list[str]:
        """Ids that no face in this process has, and nobody else can have."""
        released = []
        for _ in range(len(self.unused)):
            object_id = self.unused.popleft()
            self.faces[object_id] -= 1
            if self.faces[object_id] <= 0:
                del self.faces[object_id]
                if object_id not in self.travelled:
                    released.append(object_id)
        return released


_known: weakref.WeakKeyDictionary[Connection, _Known] = weakref.WeakKeyDictionary()


class Face:
    """The base of all faces."""

    _kind: ClassVar[str] = ""
    _client: Client | None = None
    _ours: _Known | None = None
    _whose: Face | None = None
    """The object that it goes with, kept alive by it."""
    _regret: StokerError | None = None
    """What something failed of that was not waited for."""

    def _open(
        self, name: str | None, client: Client | None, options: dict[str, Any], payload: Sequence[Frame] = ()
    ) -> dict[str, Any]:
        """Make the object, or find it by its name."""
        if client is not None:
            remember(client)
        self._client = client or default_client()
        known = _known.setdefault(self._connection, _Known())
        params: dict[str, Any] = {"kind": self._kind, "holder": holder()}
        params["options"] = {option: value for option, value in options.items() if value is not None}
        if name is not None:
            params["name"] = name
        if released := known.to_release():
            params["release"] = released
        settling.paid(self._connection, holder())
        reply, _ = self._connection.call("object.open", params, payload)
        self._adopt(reply["id"], self._connection.url)
        return reply

    def _adopt(self, object_id: str, endpoint: str) -> None:
        """Stand for an object that is there."""
        self._id, self._endpoint = object_id, endpoint
        if self._client is not None and object_id.startswith("~") and not object_id.endswith("~lock"):
            known = _known.setdefault(self._client.connection, _Known())
            known.faces[object_id] += 1
            self._ours = known

    @property
    def _connection(self) -> Connection:
        if self._client is None:
            self._client = client_at(self._endpoint)
        return self._client.connection

    @property
    def id(self) -> str:
        """Its id: its name, or a made-up one. Whoever reads it may hand it on, so the object stays."""
        self._travels()
        return self._id

    @property
    def name(self) -> str | None:
        """Its name; None for an anonymous one."""
        return None if "~" in self._id else self._id

    def drop(self) -> None:
        """Remove the object for everybody. Whoever waits on it gets ObjectDropped; doing it twice is fine."""
        self._ask("object.drop")

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        return self._send(method, params)[0]

    def _send(
        self, method: str, params: dict[str, Any], payload: Sequence[Frame] = (), timeout: float | None = None
    ) -> tuple[dict[str, Any], Sequence[Frame]]:
        me, connection = holder(), self._connection
        settling.paid(connection, me)
        return connection.call(method, {"id": self._id, "holder": me, **params}, payload, timeout)

    def _tell(self, method: str, params: dict[str, Any]) -> None:
        """As :meth:`_send`, without waiting. What it fails of is in ``_regret`` when the next call returns."""
        me, connection = holder(), self._connection
        settling.paid(connection, me)
        connection.tell(method, {"id": self._id, "holder": me, **params}, self._note_regret)

    def _note_regret(self, error: StokerError) -> None:
        self._regret = error

    def _wait(
        self, method: str, timeout: float | None, params: dict[str, Any] | None = None, payload: Sequence[Frame] = ()
    ) -> tuple[dict[str, Any], Sequence[Frame]]:
        """A call that may be answered late; ``timeout`` in seconds, None: for ever.

        An interrupted wait is called back, so that nothing is granted to a thread that has gone on.
        """
        ticket = new_ticket()
        params = {"ticket": ticket, **(params or {})}
        if timeout is not None:
            params["timeout"] = min(max(float(timeout), 0.0), 1e9)
        patience = None if self._connection.timeout is None else LONG
        try:
            return self._send(method, params, payload, patience)
        except BaseException as why:
            if not isinstance(why, StokerError) or isinstance(why, DeadlineExceeded):
                self._withdraw(ticket)
            raise

    def _withdraw(self, ticket: int) -> None:
        params = {"id": self._id, "holder": holder(), "ticket": ticket}
        with contextlib.suppress(StokerError):
            self._connection.call("object.withdraw", params)

    def _travels(self) -> None:
        if self._id.startswith("~") and self._client is not None:
            _known.setdefault(self._connection, _Known()).travelled.add(self._id.removesuffix("~lock"))

    def __getstate__(self) -> dict[str, Any]:
        """What travels: where the object is, and what a subclass adds to that."""
        self._travels()
        return {"id": self._id, "endpoint": self._endpoint}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Stand for the same object in another process, or here once more."""
        self._adopt(state["id"], state["endpoint"])

    def __del__(self) -> None:
        if self._ours is not None:
            self._ours.unused.append(self._id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id!r} at {self._endpoint}>"
