"""sd_notify, the watchdog and socket activation, over real sockets and with a real exec."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from stokerd.systemd import Notifier, listen_fds, under_systemd, watchdog_interval


@pytest.fixture
def manager(tmp_path):
    """The service manager's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.settimeout(30)
        end.bind(str(tmp_path / "notify"))
        yield end


def test_a_state_arrives_as_lines(manager):
    assert Notifier({"NOTIFY_SOCKET": manager.getsockname()}).notify(READY=1, STATUS="2 burners\nat 60 %")
    assert manager.recv(4096) == b"READY=1\nSTATUS=2 burners at 60 %"


def test_an_abstract_socket_is_reached():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.settimeout(30)
        end.bind("")  # the kernel chooses an abstract name
        name = end.getsockname()[1:].decode()
        assert Notifier({"NOTIFY_SOCKET": f"@{name}"}).notify(WATCHDOG=1)
        assert end.recv(4096) == b"WATCHDOG=1"


def test_without_a_manager_nothing_is_sent_and_nothing_fails(tmp_path):
    nobody = Notifier({})
    assert not nobody
    assert not nobody.notify(READY=1)
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).notify(READY=1)


def test_a_manager_that_does_not_read_never_blocks_the_daemon(manager):
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    sent = [notifier.notify(STATUS="x" * 1000) for _ in range(5000)]
    assert sent[0]
    assert not sent[-1]


def test_no_child_of_the_daemon_takes_its_variables_for_its_own(manager):
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2"}
    environ |= {"LISTEN_FDS": "1", "LISTEN_PID": "2", "LISTEN_FDNAMES": "control", "HOME": "/"}
    Notifier(environ)
    watchdog_interval(environ, 1)
    listen_fds(environ, 1)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "7"}, 2.5),
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdogs_interval_is_ours_only_if_it_names_us(environ, expected):
    assert watchdog_interval(environ, 7) == expected


CHILD = """
import os, sys
from stokerd.systemd import listen_fds
os.environ["LISTEN_PID"] = str(os.getpid())
found = listen_fds(os.environ, os.getpid())
print(found, [os.get_inheritable(fd) or os.get_blocking(fd) for fds in found.values() for fd in fds])
"""


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("control:events", "{'control': [3], 'events': [4]} [False, False]"),
        ("control:control", "{'control': [3, 4]} [False, False]"),
        ("control", "{'control': [3], 'unknown': [4]} [False, False]"),
        ("", "{'unknown': [3, 4]} [False, False]"),
    ],
)
def test_sockets_are_taken_by_name_and_are_not_inherited_further(names, expected):
    script = f'exec 3</dev/null 4</dev/null; exec "{sys.executable}" -c "$0"'
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LISTEN_FDS": "2", "LISTEN_FDNAMES": names}
    assert subprocess.check_output(["bash", "-c", script, CHILD], env=env, text=True).strip() == expected


@pytest.mark.parametrize(
    "environ", [{}, {"LISTEN_PID": "8", "LISTEN_FDS": "1"}, {"LISTEN_PID": "7", "LISTEN_FDS": "x"}]
)
def test_sockets_of_another_process_are_left_alone(environ):
    assert listen_fds(environ, 7) == {}


def test_the_journal_is_recognised_by_device_and_inode_of_stderr():
    code = """
import os
from stokerd.systemd import under_systemd
facts = os.fstat(2)
print(under_systemd({"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"}), under_systemd({"JOURNAL_STREAM": "1:2"}))
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.check_output([sys.executable, "-c", code], env=env, text=True, stderr=subprocess.PIPE)
    assert output == "True False\n"
    assert not under_systemd({})
