"""The private descriptors of a forked child, as its target gets them."""

from __future__ import annotations

import mmap
import socket
from typing import final


@final
class Handles:
    """What was asked for in the :class:`~stokerd.child.ForkSpec`, and nothing else.

    Args:
        channel: this end of the private stream socketpair, blocking, closed on exec; None: not asked for.
        page: the memory shared with the daemon; None: not asked for.
    """

    __slots__ = ("channel", "page")

    def __init__(self, channel: socket.socket | None, page: mmap.mmap | None) -> None:
        self.channel = channel
        self.page = page
