"""What the system said when it refused to write, in words for people.

A *fault* is the system's: no space, no permission, a broken disk or file. It may pass, and it says nothing about what
was to be written. Everything else that SQLite raises (a key that exists, a row too large) is about the row itself.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from stoker.errors import StokerError, StoreFull, StoreUnusable


class Fault(NamedTuple):
    """What is wrong, and what to do about it."""

    reason: str
    hint: str


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_FAULTS: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: ("the disk that holds {folder} is full", "free some space; Stoker goes on by itself then"),
    sqlite3.SQLITE_IOERR: (
        "{file} could not be read or written: {what}",
        "look at the disk's health, at quotas and at file size limits; the kernel's log may say more",
    ),
    sqlite3.SQLITE_READONLY: (
        "{file} cannot be written: it or its folder is read-only, or it was moved or deleted while in use",
        "give the daemon's user write access, and leave the folder to the daemon",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "{file} cannot be opened: {what}",
        "give the daemon's user access to the folder, and look at the limit of open files",
    ),
    sqlite3.SQLITE_PERM: ("{file} may not be used: {what}", "give the daemon's user access to it"),
    sqlite3.SQLITE_AUTH: ("{file} may not be used: {what}", "give the daemon's user access to it"),
    sqlite3.SQLITE_CORRUPT: (
        "{file} is damaged: {what}",
        "move it and its -wal file elsewhere to begin with an empty one, or restore a copy",
    ),
    sqlite3.SQLITE_NOTADB: (
        "{file} is not a database, or its beginning was overwritten",
        "move it elsewhere to begin with an empty one, or restore a copy",
    ),
    sqlite3.SQLITE_BUSY: ("{file} is in use by another program", "end that program; only the daemon may open it"),
    sqlite3.SQLITE_LOCKED: ("{file} is in use by another program", "end that program; only the daemon may open it"),
    sqlite3.SQLITE_PROTOCOL: ("{file} is in use by another program", "end that program; only the daemon may open it"),
    sqlite3.SQLITE_NOMEM: ("there is not enough memory to write {file}", "free some memory"),
    sqlite3.SQLITE_NOLFS: ("{file} is larger than its file system allows", "move the folder to another disk"),
}
"""By the primary code, the low byte (https://sqlite.org/rescode.html)."""


def primary_code(error: BaseException) -> int:
    """SQLite's primary result code; 0 for what is none of its errors."""
    code: int = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF


def is_fault(error: BaseException) -> bool:
    """Whether it is the system's refusal, and not something about what was to be written."""
    return isinstance(error, (OSError, MemoryError)) or primary_code(error) in _FAULTS


def lacks_space(error: BaseException) -> bool:
    """Whether space that is set free could help. A quota shows in SQLite as a failed write and as nothing more."""
    if isinstance(error, OSError):
        return error.errno in _NO_SPACE
    return primary_code(error) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


def describe(error: BaseException, file: Path) -> Fault:
    """A fault in words.

    Args:
        error: what was raised.
        file: what was worked on, in the state folder; an OSError that names another file is believed more.
    """
    if isinstance(error, MemoryError):
        text, hint = _FAULTS[sqlite3.SQLITE_NOMEM]
        return Fault(text.format(file=file), hint)
    if isinstance(error, OSError):
        return _describe_system(error, file)
    text, hint = _FAULTS.get(primary_code(error), ("{file} could not be used: {what}", "the daemon's log may say more"))
    name = getattr(error, "sqlite_errorname", "")
    what = f"{error} ({name})" if name else str(error)
    return Fault(text.format(file=file, folder=file.parent, what=what), hint)


def unusable(error: BaseException, file: Path) -> StokerError:
    """What to say of a store that cannot be opened or read: a StokerError as it is, all else in words."""
    if isinstance(error, StokerError):
        return error
    fault = describe(error, file)
    message = f"the store of durable jobs cannot be used: {fault.reason}"
    full = (isinstance(error, OSError) and error.errno in _NO_SPACE) or primary_code(error) == sqlite3.SQLITE_FULL
    if full:  # "goes on by itself" is said of a daemon that runs
        return StoreFull(message, hint="free some space and start it again; a service is started again by itself")
    return StoreUnusable(message, hint=fault.hint)


def _describe_system(error: OSError, file: Path) -> Fault:
    what = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _NO_SPACE:
        text, hint = _FAULTS[sqlite3.SQLITE_FULL]
        full = text.format(folder=file.parent)  # the same words whichever file met it first
        return Fault(full if error.errno == errno.ENOSPC else f"{file.parent} may not grow: {what}", hint)
    file = Path(os.fsdecode(error.filename)) if error.filename else file
    if error.errno == errno.EROFS:
        return Fault(f"{file} cannot be written: {what}", "mount it writable, or put daemon.state_dir elsewhere")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return Fault(f"{file} cannot be written: {what}", "give the daemon's user write access to the folder")
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return Fault(f"{file} cannot be opened: {what}", "raise the limit of open files")
    if error.errno == errno.ESTALE:
        return Fault(
            f"{file} was moved, replaced or deleted while in use",
            "put it back where it was, or start the daemon again to begin with an empty one",
        )
    if error.errno == errno.EFBIG:
        return Fault(f"{file} cannot grow: {what}", "raise the file size limit (ulimit -f, LimitFSIZE=)")
    return Fault(f"{file} could not be read or written: {what}", "look at the disk's health and the kernel's log")
