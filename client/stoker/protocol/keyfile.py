"""Key files: the certificates of ZeroMQ's CURVE, as its own tools write and read them, with a role in the metadata.

Pure: text in, text out. A directory of keys holds ``NAME.key`` (public) and ``NAME.key_secret``, and in ``authorized/``
the public keys of those who may connect, each with its role.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stoker.errors import BadKey
from stoker.protocol.roles import Role

PUBLIC, SECRET = ".key", ".key_secret"
AUTHORIZED = "authorized"
"""The folder of those who may connect."""
SERVER = "server"
"""The name of a daemon's own key."""
MAX_FILE = 16 * 1024
"""Bytes of a key file that are looked at."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,127}\Z")
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_LINE = re.compile(r'\s+([a-z-]+)\s*=\s*"([^"]*)"\s*\Z')


class KeyFile(NamedTuple):
    """What a key file holds.

    Args:
        public: the public key, 40 characters of Z85.
        secret: the secret key, likewise; empty in a public file.
        role: what its owner may do; None where the file does not say.
    """

    public: str
    secret: str = ""
    role: Role | None = None


def is_key(text: str) -> bool:
    """Whether this is a key: 32 bytes in Z85."""
    if len(text) != 40 or not set(text) <= set(_Z85):
        return False
    for at in range(0, 40, 5):
        value = 0
        for character in text[at : at + 5]:
            value = value * 85 + _Z85.index(character)
        if value >= 1 << 32:
            return False
    return True


def checked_name(name: str) -> str:
    """A name that a key file may have.

    Raises:
        BadKey: it is not one; a path, for instance.
    """
    if not _NAME.match(name):
        raise BadKey(
            f"{name!r:.140} is no name for a key",
            hint="use letters, digits and _ . : @ -, the first a letter or digit or _, at most 128",
        )
    return name


def parse(text: str, *, what: str) -> KeyFile:
    """The keys in a file's text.

    Args:
        text: the file.
        what: what to call it.

    Raises:
        BadKey: it holds no public key, or something that is no key or no role. No key is quoted.
    """
    found: dict[str, str] = {}
    section = ""
    for line in text[:MAX_FILE].splitlines():
        bare = line.split("#", 1)[0].strip() if '"' not in line else line.rstrip()
        if not bare:
            continue
        if not line[0].isspace():
            section = bare
        elif (entry := _LINE.match(line)) is not None:
            found[f"{section}.{entry[1]}"] = entry[2]
    public, secret = found.get("curve.public-key", ""), found.get("curve.secret-key", "")
    if not is_key(public):
        raise BadKey(f"{what} holds no public key", hint="make one with `stoker key new NAME`")
    if secret and not is_key(secret):
        raise BadKey(f"the secret key in {what} is no key", hint="make a new one with `stoker key new NAME`")
    return KeyFile(public, secret, _role(found.get("metadata.role"), what))


def _role(word: str | None, what: str) -> Role | None:
    try:
        return None if word is None else Role.of(word)
    except ValueError as why:
        raise BadKey(f"{what}: {why}", hint="authorize it again with `stoker key authorize NAME --role ROLE`") from None


def form(key: KeyFile, *, name: str) -> str:
    """The text of a key file.

    Args:
        key: what it is to hold.
        name: whose it is.
    """
    lines = ["#   A key of Stoker's, for tcp.", ""]
    if key.secret:
        lines = ["#   A secret key of Stoker's: whoever can read it can do what its owner may.", ""]
    lines += ["metadata", f'    name = "{name}"']
    if key.role is not None:
        lines.append(f'    role = "{key.role.word}"')
    lines += ["curve", f'    public-key = "{key.public}"']
    if key.secret:
        lines.append(f'    secret-key = "{key.secret}"')
    return "\n".join(lines) + "\n"
