"""What a service manager hears of the daemon's life: a real socket in its place."""

from __future__ import annotations

import os
import socket

import pytest

from stokerd.manager import ServiceManager


@pytest.fixture
def hear(tmp_path):
    """A service manager, and a way to read what it was told last."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)

        def heard():
            return dict(line.split("=", 1) for line in listening.recv(4096).decode().split("\n"))

        yield heard, {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"}


def test_ready_says_where_and_that_it_is_idle(hear):
    heard, environ = hear
    manager = ServiceManager(environ, lambda: "")
    assert manager
    assert manager.watchdog == 30
    assert environ == {}
    manager.ready("ipc:///x")
    assert heard() == {"READY": "1", "MAINPID": str(os.getpid()), "STATUS": "Serving at ipc:///x: idle"}


def test_the_line_for_people_follows_the_work_and_is_not_said_twice(hear):
    heard, environ = hear
    work = ["2 jobs running"]
    manager = ServiceManager(environ, lambda: work[0])
    manager.ready("ipc:///x")
    assert heard()["STATUS"] == "Serving at ipc:///x: 2 jobs running"
    manager.alive()
    assert heard() == {"WATCHDOG": "1"}
    work[0] = "1 burner"
    manager.alive()
    assert heard() == {"WATCHDOG": "1", "STATUS": "Serving at ipc:///x: 1 burner"}


def test_a_reload_is_announced_and_its_end_too(hear):
    heard, environ = hear
    manager = ServiceManager(environ, lambda: "")
    manager.reloading()
    manager.reloaded()
    manager.ready("ipc:///x")
    assert heard()["MAINPID"], "a reload before it is ready says nothing, and least of all that it is"
    manager.reloading()
    told = heard()
    assert (told["RELOADING"], int(told["MONOTONIC_USEC"]) > 0) == ("1", True)
    manager.reloaded("no such key")
    assert heard() == {"READY": "1", "STATUS": "Goes on as it was, the new configuration is wrong: no such key"}


def test_it_asks_for_the_time_that_it_needs(hear):
    heard, environ = hear
    manager = ServiceManager(environ, lambda: "3 jobs running")
    manager.starting()
    assert int(heard()["EXTEND_TIMEOUT_USEC"]) > 60_000_000
    manager.stopping(600.0)
    told = heard()
    assert told["STOPPING"] == "1"
    assert told["STATUS"] == "Stopping: 3 jobs running may go on for 600 s"
    assert int(told["EXTEND_TIMEOUT_USEC"]) > 600_000_000


def test_where_there_is_none_nobody_is_told():
    manager = ServiceManager({}, lambda: "")
    assert not manager
    manager.starting()
    manager.ready("ipc:///x")
    manager.alive()
    manager.stopping(1.0)
