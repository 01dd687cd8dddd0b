"""Orders and reports: one JSON map per packet of the socket between daemon and forkserver.

The daemon orders:

- ``{"do": "set-up", "path", "cwd", "lend", "open_files"}``, once, first;
- ``{"do": "fork", "id", "target", "name", "args", "channel", "page", "capture", "nice", "cpus", "group"}`` with, in
  this order and where asked for, the descriptors of channel, page, stdout and stderr; ``group`` is the directory of
  the control group that it belongs to, empty for the forkserver's own;
- ``{"do": "signal", "id", "signum", "group"}``;
- ``{"do": "retire"}``: end as soon as there is no child.

The end of the stream is the order to kill everything and end. The forkserver reports:

- ``{"ready": pid}``; ``{"id", "pid"}``: forked; ``{"id", "code"}``: ended, its group killed, and reaped;
- ``{"id", "error"}``: could not be started.

A packet has a bounded size, so a larger order travels in a memory file.
"""

from __future__ import annotations

import errno
import json
import os
from typing import Any

PACKET_BYTES = 64 * 1024
"""The longest packet."""

MAX_DESCRIPTORS = 5
"""The most descriptors that come with one packet: channel, page, stdout, stderr, and the order's own memory file."""

SCARCE = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOSPC})
"""What the system says when it has nothing to spare."""
MAX_TEXT = 4000
"""Characters of an error's text that are reported."""


def pack(message: dict[str, Any]) -> tuple[bytes, int | None]:
    """A message as a packet, and the memory file that has to go first among its descriptors if it is a long one.

    Raises:
        OSError: no descriptor or memory for the memory file, which the caller owns.
    """
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) <= PACKET_BYTES:
        return data, None
    spool = os.memfd_create("stoker-order", os.MFD_CLOEXEC)
    try:
        with os.fdopen(spool, "wb", closefd=False) as file:
            file.write(data)
    except BaseException:
        os.close(spool)
        raise
    return json.dumps({"spooled": message.get("do"), "id": message.get("id")}).encode(), spool


def unpack(data: bytes, descriptors: list[int], *, lost: bool = False) -> tuple[dict[str, Any], list[int]]:
    """The message of a packet, and those of its descriptors that are not the message itself.

    Args:
        data: the packet.
        descriptors: what came with it.
        lost: not all of them could be received; the message then says so by the key ``lost``.
    """
    message: dict[str, Any] = json.loads(data)
    if lost:
        return {"do": message.get("spooled"), "target": "", "name": "", **message, "lost": True}, descriptors
    if "spooled" not in message:
        return message, descriptors
    spool, *rest = descriptors
    with os.fdopen(spool, "rb") as file:
        file.seek(0)
        message = json.loads(file.read())
    return message, rest
