"""The directory of keys, as ``stoker key`` changes it. Every file is made closed to others, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stoker import credentials
from stoker.cli.parser import Parser
from stoker.errors import BadKey, ConnectionFailed, NameTaken, NotFound, PermissionRefused, StokerError
from stoker.protocol import keyfile
from stoker.protocol.keyfile import AUTHORIZED, PUBLIC, SECRET, SERVER, KeyFile
from stoker.protocol.roles import Role

SYSTEM = "/etc/stoker"
"""Where the machine's service has its configuration."""
SERVICE_USER = "stoker"


class Entry(NamedTuple):
    """One key of the directory.

    Args:
        name: that of its files.
        public: the public key.
        role: what its owner may do here; empty where it is not authorized.
        secret: whether the secret key is here as well.
    """

    name: str
    public: str
    role: str
    secret: bool


def arguments(parser: Parser) -> None:
    """What every ``stoker key`` takes."""
    parser.add_argument(
        "--dir",
        metavar="DIR",
        help="the directory of keys (STOKER_KEYS, else /etc/stoker/keys for root where the service is installed,"
        " else ~/.config/stoker/keys)",
    )


def directory(given: str | None) -> Path:
    """The directory that is meant."""
    if not given and "STOKER_KEYS" not in os.environ and os.geteuid() == 0 and Path(SYSTEM).is_dir():
        given = f"{SYSTEM}/keys"
    return Path(given or credentials.directory(os.environ)).expanduser().absolute()


class Keychain:
    """See the module.

    Args:
        folder: the directory of keys; made when something is written to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authorized = folder / AUTHORIZED
        self._service = _service_user() if folder == Path(SYSTEM) / "keys" else None

    def new(self, name: str) -> Path:
        """Make a pair of keys; returns the secret one's file.

        Raises:
            NameTaken: there is a key of this name, which is left as it is.
            BadKey: it is no name.
        """
        import zmq

        keyfile.checked_name(name)
        secret_file, public_file = self.folder / f"{name}{SECRET}", self.folder / f"{name}{PUBLIC}"
        if taken := next((file for file in (secret_file, public_file) if os.path.lexists(file)), None):
            raise NameTaken(
                f"{taken} exists already, and is left as it is", hint="choose another name, or move it away"
            )
        public, secret = (part.decode() for part in zmq.curve_keypair())
        self._make(self.folder)
        if name == SERVER:
            self._make(self.authorized)
        owner = self._service if name == SERVER else None
        self._write(secret_file, keyfile.form(KeyFile(public, secret), name=name), owner)
        self._write(public_file, keyfile.form(KeyFile(public), name=name))
        return secret_file

    def authorize(self, who: str, role: Role, name: str | None) -> Entry:
        """Let somebody in, or give them another role.

        Args:
            who: a name in the directory, the file of a public key, or a public key.
            role: what they may do.
            name: what to call them; None: as the file is called.

        Raises:
            BadKey, NotFound: there is no such key.
            NameTaken: it is authorized under another name, or another key under this one.
        """
        key, called = self._meant(who)
        name = keyfile.checked_name(name or called)
        for entry in self.entries():
            if entry.role and (entry.public == key.public) != (entry.name == name):
                raise NameTaken(
                    f"{entry.name!r} is authorized already, and is "
                    + ("this key" if entry.public == key.public else "another key"),
                    hint=f"`stoker key revoke {entry.name}` first",
                )
        self._make(self.folder)
        self._make(self.authorized)
        fresh = self.authorized / f".{name}.{os.getpid()}"
        self._write(fresh, keyfile.form(KeyFile(key.public, role=role), name=name))
        fresh.replace(self.authorized / f"{name}{PUBLIC}")  # whole at once: the daemon may read it at any moment
        return Entry(name, key.public, role.word, secret=False)

    def revoke(self, name: str) -> Entry:
        """Keep somebody out from now on.

        Raises:
            NotFound: nobody of this name is authorized.
        """
        file = self.authorized / f"{keyfile.checked_name(name)}{PUBLIC}"
        public = next((entry.public for entry in self.entries() if entry.name == name), "")
        try:
            file.unlink()
        except FileNotFoundError:
            raise NotFound(f"no key {name!r} is authorized in {self.folder}", hint="see `stoker key list`") from None
        except OSError as why:
            raise _refused(file, why) from None
        return Entry(name, public, "", secret=False)

    def entries(self) -> list[Entry]:
        """All keys, by name; what is no key is left out."""
        found: dict[str, Entry] = {}
        for folder in (self.folder, self.authorized):
            for file in sorted(folder.glob(f"*{PUBLIC}")) if folder.is_dir() else []:
                with contextlib.suppress(BadKey):
                    key = credentials.read(str(file))
                    role = key.role.word if key.role is not None and folder == self.authorized else ""
                    secret = (self.folder / f"{file.stem}{SECRET}").exists()
                    found[file.stem] = Entry(file.stem, key.public, role, secret)
        return list(found.values())

    def _meant(self, who: str) -> tuple[KeyFile, str]:
        if keyfile.is_key(who):
            return KeyFile(who), ""
        for file in (Path(who).expanduser(), self.folder / f"{who}{PUBLIC}", self.authorized / f"{who}{PUBLIC}"):
            if file.is_file():
                return credentials.read(str(file)), file.name.removesuffix(PUBLIC).removesuffix(SECRET)
        raise NotFound(
            f"there is no key {who!r:.140}: neither a file nor a name in {self.folder}, and no public key",
            hint="have it made by `stoker key new NAME`, and name its .key file or the public key in it",
        )

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            if self._service is not None:
                folder.chmod(0o755)
        except OSError as why:
            raise _refused(folder, why) from None

    def _write(self, file: Path, text: str, owner: tuple[int, int] | None = None) -> None:
        """A new file that nobody else can read, not even for a moment."""
        try:
            with _private(), open(file, "x", opener=_closed_to_others) as made:
                if owner is not None:
                    os.fchown(made.fileno(), *owner)
                elif self._service is not None and "secret-key" not in text:
                    os.fchmod(made.fileno(), 0o644)
                made.write(text)
        except OSError as why:
            raise _refused(file, why) from None


def _closed_to_others(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


@contextlib.contextmanager
def _private() -> Iterator[None]:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _service_user() -> tuple[int, int] | None:
    """The user and group that the machine's service runs as, where this is root, who can give files to it."""
    import pwd

    try:
        found = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return None
    return (found.pw_uid, found.pw_gid) if os.geteuid() == 0 else None


def _refused(file: Path, why: OSError) -> StokerError:
    if isinstance(why, PermissionError):
        return PermissionRefused(
            f"not allowed to write {file}", hint="run it as root, or choose a directory with --dir"
        )
    return BadKey(f"{file} cannot be written: {why.strerror}", hint="choose another directory with --dir")


def tell(socket: str | None, timeout: float | None, folder: Path) -> dict[str, Any] | None:
    """Have the daemon look at its keys again; None where there is none that uses this directory.

    Args:
        socket: what ``--socket`` says, if anything.
        timeout: seconds for the answer; None: for ever.
        folder: the directory that was changed.
    """
    from stoker.cli.connecting import connect

    try:
        with connect(socket, start=False) as peer:
            told, _ = peer.call("keys", {}, timeout=timeout)
    except ConnectionFailed:
        return None
    return told if told["endpoint"] and Path(told["directory"]) == folder else None
