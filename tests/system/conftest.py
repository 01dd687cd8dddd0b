"""A machine with systemd to try the service on: booted once, thrown away afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

import stoker
from stoker.protocol import codec

CHECKOUT = Path(__file__).parents[2]
BOX = Path(__file__).with_name("box")
SYSTEM_PYTHON = "/usr/bin/python3"
UNITS = ("stokerd.socket", "stokerd-events.socket", "stokerd.service")
DEADLINE = 60.0
"""Seconds for what is waited for; a busy machine takes its time."""


def missing() -> str:
    """Why no machine can be booted here; empty if one can."""
    if os.geteuid() != 0:
        return "needs root, to make namespaces and mounts"
    if not Path("/lib/systemd/systemd").exists():
        return "needs systemd in /lib/systemd"
    if absent := [tool for tool in ("unshare", "nsenter", "findmnt", "setsid") if shutil.which(tool) is None]:
        return f"needs {', '.join(absent)}"
    code = "import sys, venv; sys.exit(sys.version_info < (3, 11))"
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run([SYSTEM_PYTHON, "-c", code], check=False).returncode:
        return f"needs {SYSTEM_PYTHON} 3.11 or newer: a Python below /root is out of the service user's reach"
    if subprocess.run(["unshare", "--pid", "--mount", "--net", "--cgroup", "--fork", "true"], check=False).returncode:
        return "needs to be allowed to make namespaces"
    mounted = subprocess.run(["findmnt", "--noheadings", "--types", "cgroup2"], capture_output=True, check=False)
    return "" if mounted.stdout else "needs a cgroup2 file system"


class Machine:
    """A booted systemd.

    Args:
        state: the box's own directory.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self._page = ""

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a command inside; returns what it printed, without its last line end."""
        whole = [str(BOX), "exec", str(self.state), *argv]
        done = subprocess.run(whole, capture_output=True, text=True, timeout=DEADLINE * 2, check=False)
        if check and done.returncode:
            pytest.fail(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.journal()}")
        return (done.stdout + done.stderr).rstrip("\n")

    def stoker(self, *words: str, check: bool = True) -> str:
        """The command line of the installation inside."""
        return self.run("/opt/stoker/bin/stoker", *words, check=check)

    def code(self, *argv: str) -> int:
        """The exit code of a command inside."""
        whole = [str(BOX), "exec", str(self.state), *argv]
        return subprocess.run(whole, capture_output=True, timeout=DEADLINE * 2, check=False).returncode

    @contextlib.contextmanager
    def drop_in(self, text: str, unit: str = "stokerd.service") -> Iterator[None]:
        """A drop-in of the service, which is stopped before and after, for the length of a block."""
        self.stop()
        directory = f"/run/systemd/system/{unit}.d"
        self.write(f"{directory}/test.conf", text)
        self.run("systemctl", "daemon-reload")
        try:
            yield
        finally:
            self.stop()
            self.run("rm", "-r", directory)
            self.run("systemctl", "daemon-reload")

    def stop(self) -> None:
        """Have the service and its sockets stopped, and forgotten how they ended."""
        self.run("systemctl", "stop", *UNITS)
        self.run("systemctl", "reset-failed", check=False)

    def write(self, path: str, text: str) -> None:
        """Write a file inside."""
        inside = self.path(path)
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_text(text)

    def path(self, path: str) -> Path:
        """A path inside, as it is reached from here."""
        return Path(f"/proc/{(self.state / 'pid').read_text().strip()}/root{path}")

    def show(self, name: str, unit: str = "stokerd.service") -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit)

    def members(self, below: str = "") -> list[int]:
        """The processes in a cgroup of version 2 of the service, ``/jobs`` for instance, by the pids inside."""
        found = []
        if group := self.show("ControlGroup"):
            for top in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
                path = f"{top}{group}{below}/cgroup.procs"
                found += [int(pid) for pid in self.run("sh", "-c", f"cat {path} 2>&-", check=False).split()]
        return found

    def client(self, **options: Any) -> stoker.Client:
        """A client outside, of the daemon inside."""
        return stoker.Client(str(self.path("/run/stoker/control.sock")), **options)

    def journal(self, unit: str = "stokerd.service") -> str:
        """What systemd and the unit had to say since :meth:`turn_page`."""
        after = ["--after-cursor", self._page] if self._page else []
        return self.run("journalctl", "--no-pager", "-q", "--output", "cat", "--unit", unit, *after, check=False)

    def turn_page(self) -> None:
        """Have :meth:`journal` begin here."""
        shown = self.run("journalctl", "--no-pager", "-q", "-n", "0", "--show-cursor", check=False)
        self._page = shown.partition("-- cursor: ")[2].strip()

    def ask(self, method: str, *, path: str = "/run/stoker/control.sock", **params: Any) -> dict[str, Any]:
        """One request to the daemon inside, and its reply."""
        with zmq.Context() as context, context.socket(zmq.REQ) as client:
            client.linger = 0
            client.rcvtimeo = int(DEADLINE * 1000)
            client.connect(f"ipc://{self.path(path)}")
            client.send_multipart(codec.encode_request(1, method, params)[1:])
            reply, _ = codec.decode_head([b"", *client.recv_multipart()])
        return reply

    def until(self, what: str, true: Callable[[], object]) -> None:
        """Wait until something holds inside; systemd offers no descriptor to wait on from here."""
        end = time.monotonic() + DEADLINE
        while not true():
            if time.monotonic() > end:
                pytest.fail(
                    f"{what}: not within {DEADLINE} s\n{self.run('systemctl', 'status', 'stokerd', check=False)}"
                )
            time.sleep(0.05)


@pytest.fixture(scope="session")
def installation() -> Iterator[Path]:
    """A virtual environment of the system's Python with this checkout installed, where any user may look."""
    if why := missing():
        pytest.skip(why)
    top = Path(tempfile.mkdtemp(prefix="stoker-box-", dir="/var/tmp"))
    try:
        top.chmod(0o755)
        subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", str(top / "venv")], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(top / "venv/bin/python"), "install", "--quiet"]
        done = subprocess.run(
            [*pip, "--disable-pip-version-check", str(CHECKOUT)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield top / "venv"
    finally:
        shutil.rmtree(top)


@pytest.fixture(scope="session")
def machine(installation) -> Iterator[Machine]:
    """A booted systemd in which ``stoker service install`` has been run; the service is stopped.

    Where this machine has cgroups of version 1, they are in it too: its controllers are there.
    """
    state = Path(tempfile.mkdtemp(prefix="stoker-box-", dir="/run")) / "box"
    booted = Machine(state)
    environ = {**os.environ, "CG": "hybrid"}
    subprocess.run(
        [str(BOX), "up", str(state)], check=True, timeout=DEADLINE * 2, stdout=subprocess.DEVNULL, env=environ
    )
    try:
        booted.run("ln", "-s", str(installation), "/opt/stoker")
        booted.stoker("service", "install")
        booted.run("systemctl", "stop", "stokerd.service")
        yield booted
    finally:
        subprocess.run([str(BOX), "kill", str(state)], check=True, timeout=DEADLINE * 2)
        state.parent.rmdir()


@pytest.fixture(autouse=True)
def _page(request) -> None:
    """Each test reads its own part of the journal."""
    if "machine" in request.fixturenames:
        request.getfixturevalue("machine").turn_page()


@pytest.fixture
def service(machine) -> str:
    """The service, running by itself; it goes on for the next test."""
    if machine.show("ActiveState", "stokerd.socket") == "active" or machine.show("ActiveState") != "active":
        machine.stop()
        machine.run("systemctl", "start", "stokerd.service")
    return "stokerd.service"


@pytest.fixture
def sockets(machine) -> Iterator[None]:
    """The socket units, listening for a service that is stopped."""
    machine.stop()
    machine.run("systemctl", "start", "stokerd.socket")
    yield
    machine.stop()
