"""Supervisors whose command lines are compared with ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import programs
from benchmarks.peers.peer import Peer

SUPERVISOR = """
[unix_http_server]
file={folder}/s.sock
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/pid
nodaemon=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/s.sock
[program:sleep]
command=sleep 3600
"""

CIRCUS = """
[circus]
endpoint = ipc://{folder}/c.sock
pubsub_endpoint = ipc://{folder}/p.sock
[watcher:sleep]
cmd = sleep 3600
"""


class Supervisor(Peer):
    """supervisord with one program, and the command line that asks it."""

    config, name = SUPERVISOR, "supervisord.conf"

    def start(self) -> None:
        config = self.scratch / self.name
        config.write_text(self.config.format(folder=self.scratch))
        self._process = programs.start(self.server(config), log=self.scratch / "log")
        programs.await_socket(self.listens_at(), self._process)

    def stop(self) -> None:
        programs.end(self._process)

    def server(self, config: Path) -> list[str]:
        """What serves."""
        return [self._script("supervisord"), "-c", str(config)]

    def listens_at(self) -> Path:
        """Its socket."""
        return self.scratch / "s.sock"

    def argv(self) -> list[str]:
        """What asks."""
        return [self._script("supervisorctl"), "-c", str(self.scratch / self.name), "status"]

    def measures(self) -> Supervisor:
        return self

    def command(self, _: int) -> dict[str, Any]:
        """The words of the command to time."""
        return {"argv": self.argv()}

    @staticmethod
    def _script(name: str) -> str:
        return str(Path(sys.executable).parent / name)


class Circus(Supervisor):
    """circusd with one watcher."""

    config, name = CIRCUS, "circus.ini"

    def server(self, config: Path) -> list[str]:
        return [self._script("circusd"), str(config)]

    def listens_at(self) -> Path:
        return self.scratch / "c.sock"

    def argv(self) -> list[str]:
        return [self._script("circusctl"), "--endpoint", f"ipc://{self.scratch}/c.sock", "status"]
