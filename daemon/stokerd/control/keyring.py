"""The keys that may connect over tcp: a directory, read again whenever something in it changes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from stoker.errors import BadKey
from stoker.protocol import keyfile
from stoker.protocol.keyfile import AUTHORIZED, MAX_FILE, PUBLIC, SECRET, SERVER, KeyFile
from stoker.protocol.roles import Role
from stokerd.clock import Clock
from stokerd.log import get_logger


class Owner(NamedTuple):
    """Whose key it is.

    Args:
        name: that of its file.
        role: what they may do.
    """

    name: str
    role: Role


class Keyring:
    """See the module.

    Args:
        directory: holds the daemon's own ``server.key_secret``, and ``authorized/``.

    Raises:
        BadKey: one of these is missing, not a key, or open to others.
    """

    def __init__(self, directory: Path) -> None:
        self._folder = directory / AUTHORIZED
        self.server = _own_key(directory / f"{SERVER}{SECRET}")
        _check_private(self._folder, "no remote client could ever connect")
        self.owners: dict[str, Owner] = self._read()
        """By public key."""
        self._watch_fd = -1

    def owner(self, public: str) -> Owner | None:
        """Whose key this is; None where it may not connect."""
        return self.owners.get(public)

    def knows(self, public: str) -> bool:
        """Whether this key may connect."""
        return public in self.owners

    def refresh(self) -> bool:
        """Read the files again; True where something has changed."""
        before, self.owners = self.owners, self._read()
        return before != self.owners

    def watch(self, clock: Clock, changed: Callable[[], object]) -> None:
        """Call when files have changed. Where the kernel can't tell, only a reload looks again."""
        self._watch_fd = _watch_folder(self._folder)
        if self._watch_fd < 0:
            get_logger().warning("changes of keys are seen by a reload only", folder=str(self._folder))
            return

        def look() -> None:
            with contextlib.suppress(BlockingIOError):
                os.read(self._watch_fd, 65536)
            changed()

        clock.watch(self._watch_fd, look)

    def close(self, clock: Clock) -> None:
        """Watch no more."""
        if self._watch_fd >= 0:
            clock.unwatch(self._watch_fd)
            os.close(self._watch_fd)
            self._watch_fd = -1

    def _read(self) -> dict[str, Owner]:
        """Whoever cannot be read is not let in, and the others are."""
        owners: dict[str, Owner] = {}
        try:
            files = sorted(self._folder.iterdir())
        except OSError:
            return owners
        for file in files:
            if file.suffix != PUBLIC:
                continue
            try:
                key = _read_key(file)
                if key.role is None:
                    raise BadKey(f"{file} does not say which role its owner has")
                owners[key.public] = Owner(keyfile.checked_name(file.stem), key.role)
            except BadKey as why:
                get_logger().error("an authorized key is left out", reason=why.message)
        return owners


def _read_key(file: Path) -> KeyFile:
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_FILE).decode(errors="replace")
    except OSError as why:
        raise BadKey(f"{file} cannot be read: {why.strerror}", hint="make it with `stoker key new NAME`") from None
    return keyfile.parse(text, what=str(file))


def _own_key(file: Path) -> KeyFile:
    if not file.exists():
        raise BadKey(
            f"tcp takes a key of the daemon's own, and there is no {file}",
            hint=f"make it with `stoker key new {SERVER}`, or leave daemon.tcp empty",
        )
    if file.stat().st_mode & 0o077:
        raise BadKey(f"others may read {file}", hint=f"`chmod 600 {file}`, and make a new key if they have")
    key = _read_key(file)
    if not key.secret:
        raise BadKey(f"{file} holds no secret key", hint=f"make a new one with `stoker key new {SERVER}`")
    return key


def _check_private(folder: Path, otherwise: str) -> None:
    if not folder.is_dir():
        raise BadKey(
            f"tcp takes a directory of authorized keys, and there is no {folder}: {otherwise}",
            hint="let somebody in with `stoker key authorize NAME --role ROLE`, or leave daemon.tcp empty",
        )
    facts = folder.stat()
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or facts.st_uid not in (0, os.geteuid()):
        raise BadKey(
            f"others may write to {folder}, and let in whom they want", hint=f"`chmod 700 {folder}`, and own it"
        )


_CLOSE_WRITE, _MOVED, _DELETED, _ATTRIBUTES, _SELF = 0x8, 0xC0, 0x200, 0x4, 0xC00


def _watch_folder(folder: Path) -> int:
    """An inotify(7) descriptor; -1: there is none to be had."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    except AttributeError:
        return -1
    what = _CLOSE_WRITE | _MOVED | _DELETED | _ATTRIBUTES | _SELF
    if fd >= 0 and libc.inotify_add_watch(fd, os.fsencode(folder), what) < 0:
        os.close(fd)
        return -1
    return fd
