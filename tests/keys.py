"""Daemons that listen at tcp, their keys, and clients with keys of their own."""

from __future__ import annotations

import socket
from pathlib import Path

from stoker import credentials
from stoker.cli.keychain import Keychain
from stoker.protocol.keyfile import SERVER
from stoker.protocol.roles import Role


def free_ports() -> int:
    """A port of this machine that nobody uses, and the next one likewise."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


class House:
    """A directory of keys, and the configuration of a daemon that goes by it.

    Args:
        folder: where they are.
        roles: who is authorized, and as what.
        more: more of the configuration.
    """

    def __init__(self, folder: Path, roles: dict[str, Role], more: str = "") -> None:
        self.folder = folder
        self.keys = Keychain(folder)
        self.keys.new(SERVER)
        for name, role in roles.items():
            self.keys.new(name)
            self.keys.authorize(name, role, None)
        self.url = f"tcp://127.0.0.1:{free_ports()}"
        self.config = f'[daemon]\ntcp = "{self.url}"\n[security]\nkeys_dir = "{folder}"\n{more}'

    def secret(self, name: str) -> str:
        """The file of somebody's secret key."""
        return str(self.folder / f"{name}.key_secret")

    def public(self, name: str) -> str:
        """Somebody's public key."""
        return credentials.read(self.secret(name)).public

    @property
    def server(self) -> str:
        """The file of the daemon's public key."""
        return str(self.folder / f"{SERVER}.key")

    def environ(self, name: str) -> dict[str, str]:
        """The variables by which somebody's client finds its way."""
        return {"STOKER_SOCKET": self.url, "STOKER_KEY": self.secret(name), "STOKER_SERVER_KEY": self.server}
