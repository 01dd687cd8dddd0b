"""What systemd and its services say to each other: sd_notify, the watchdog and socket activation.

The protocols are a datagram and some variables, so this is standard library only. Each variable is consumed when it is
read: no child of the daemon must take it for its own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""


class Notifier:
    """Tells the service manager how the daemon is doing; where there is none, it tells nobody.

    Args:
        environ: ``NOTIFY_SOCKET`` is taken out of it.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")

    def __bool__(self) -> bool:
        return bool(self._address)

    def notify(self, **state: str | int) -> bool:
        """Send a state; False where nobody took it, which is no reason to stop.

        Args:
            state: for instance ``READY=1, STATUS="serving"``.
        """
        if not self._address:
            return False
        abstract = self._address.startswith("@")
        address = b"\0" + os.fsencode(self._address[1:]) if abstract else os.fsencode(self._address)
        message = "\n".join(f"{key}={str(value).replace(chr(10), ' ')}" for key, value in state.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as link:
            try:
                link.sendto(message.encode(), address)
            except OSError:
                return False
        return True


def watchdog_interval(environ: MutableMapping[str, str], pid: int) -> float | None:
    """Seconds within which ``WATCHDOG=1`` is due each time; None: nobody waits for it.

    Args:
        environ: ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are taken out of it.
        pid: this process.
    """
    wanted, period = environ.pop("WATCHDOG_PID", str(pid)), environ.pop("WATCHDOG_USEC", "")
    if wanted != str(pid) or not period.isdecimal() or int(period) == 0:
        return None
    return int(period) / 1_000_000


def listen_fds(environ: MutableMapping[str, str], pid: int) -> dict[str, list[int]]:
    """The listening sockets that systemd holds for this process, by the names that its units give them.

    From here on they are not inherited, and they do not block.

    Args:
        environ: ``LISTEN_PID``, ``LISTEN_FDS`` and ``LISTEN_FDNAMES`` are taken out of it.
        pid: this process.
    """
    wanted, count, names = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    found: dict[str, list[int]] = {}
    if wanted != str(pid) or not count.isdecimal():
        return found
    named = names.split(":")
    for index in range(int(count)):
        fd = FIRST_FD + index
        os.set_inheritable(fd, False)
        os.set_blocking(fd, False)
        name = named[index] if index < len(named) and named[index] else "unknown"
        found.setdefault(name, []).append(fd)
    return found


def under_systemd(environ: Mapping[str, str]) -> bool:
    """Whether stderr is the journal's (``JOURNAL_STREAM`` names its device and inode)."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        stderr = os.fstat(2)
    except OSError:
        return False
    return (device, inode) == (str(stderr.st_dev), str(stderr.st_ino))
