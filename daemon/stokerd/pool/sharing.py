"""One worker's part in shared memory, at the daemon's end: which segments it is told of, and which it makes itself.

Nothing is done for a worker that has no part in it. One that is to have is told so (``SHARE``), and passed no
descriptor before it has answered: what it reads until then it reads without looking for any.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from stoker.errors import StokerError
from stokerd.depot import Depot, Lot
from stokerd.pool import messages
from stokerd.pool.wire import Wire
from stokerd.promise import Promise

NO_BODY = memoryview(b"")


class Sharing:
    """See the module.

    Args:
        key: what the worker is called in the depot.
        depot: where segments are kept.
        wire: to the worker.
        grant: tells it how many bytes it may make, without a message.
    """

    def __init__(self, key: str, depot: Depot, wire: Wire, grant: Callable[[int], None]) -> None:
        self._key, self._depot, self._wire, self.grant = key, depot, wire, grant
        self._ready: Promise[None] = Promise()
        self._laid: Lot | None = None
        wire.passed = deque()
        wire.send(messages.pack(messages.SHARE), NO_BODY)
        depot.join(key, self)

    def close(self) -> None:
        """The worker is gone."""
        self._depot.leave(self._key)

    # --- what it is told

    def bring(self, lot: Lot) -> None:
        """See to it that it knows a segment before whatever it is sent next."""
        lot.begun = True
        if self._key not in lot.known:
            lot.known.add(self._key)
            head = messages.pack(messages.SEGMENT, extra=lot.number)
            self._wire.send(head, NO_BODY, self._ready, os.dup(lot.fd))

    def forget_segment(self, lot: Lot) -> None:
        """See :class:`~stokerd.depot.Party`."""
        own = lot.maker == self._key
        self._wire.send(messages.pack(messages.FORGET, extra=lot.name if own else lot.number, count=int(own)), NO_BODY)

    # --- what it says

    def hear(self, header: messages.Header) -> None:
        """One of its messages that are about shared memory."""
        if header.op == messages.SHARE:
            if not self._ready.settled:
                self._ready.resolve(None)
        elif header.op == messages.DROPPED:
            self._depot.dropped(self._key, header.extra)
        elif header.count:
            self._adopt(header.extra)
        else:
            self._laid = self._known(header.extra)

    def _adopt(self, name: int) -> None:
        passed = self._wire.passed
        if not passed:
            self._wire.distrust()
            return
        try:
            self._laid = self._depot.adopt(self._key, name, passed.popleft())
        except (StokerError, OSError):
            self._wire.distrust()  # a job has meddled with it

    def _known(self, name: int) -> Lot | None:
        try:
            return self._depot.find(self._key, name)
        except StokerError:
            self._wire.distrust()
            return None

    def take_laid(self) -> Lot | None:
        """Where the value lies that was announced last."""
        laid, self._laid = self._laid, None
        return laid
