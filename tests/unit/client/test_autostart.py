from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from stoker import autostart
from stoker.autostart import locate, make_private
from stoker.errors import BadEndpoint, ConnectionFailed, NobodyListening, PermissionRefused
from stoker.protocol import endpoint


@pytest.fixture
def environ(tmp_path):
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


def test_a_named_endpoint_is_taken_as_it_is(environ):
    assert locate("/x/y.sock", autostart=None, environ=environ) == "ipc:///x/y.sock"
    environ["STOKER_SOCKET"] = "tcp://h:1234"
    assert locate(None, autostart=True, environ=environ) == "tcp://h:1234"


def test_an_impossible_endpoint_is_refused(environ):
    with pytest.raises(BadEndpoint):
        locate("http://x", autostart=None, environ=environ)


@pytest.mark.skipif(Path("/run/stoker").exists(), reason="a system daemon lives here")
@pytest.mark.parametrize("word", ["0", "no", "FALSE", "off"])
def test_nothing_is_started_where_that_is_not_wanted(environ, tmp_path, word):
    environ["STOKER_AUTOSTART"] = word
    with pytest.raises(NobodyListening, match="none is to be started"):
        locate(None, autostart=None, environ=environ)
    assert not list(tmp_path.iterdir())


def test_the_users_own_daemon_is_found(environ, tmp_path):
    (tmp_path / "stoker").mkdir()
    path = tmp_path / "stoker" / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert locate(None, autostart=False, environ=environ) == f"ipc://{path}"


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """Where the machine's service would listen, and what would lie there if it were enabled."""
    monkeypatch.setattr(endpoint, "SYSTEM_SOCKET", str(tmp_path / "system.sock"))
    monkeypatch.setattr(autostart, "ENABLED", str(tmp_path / "enabled"))
    return tmp_path / "system.sock", tmp_path / "enabled"


@pytest.mark.parametrize("left", ["a socket of one that was killed", "no socket, as between stop and start"])
def test_a_service_between_two_lives_is_waited_for(environ, machines, left):
    path, enabled = machines
    with socket.socket(socket.AF_UNIX) as killed, socket.socket(socket.AF_UNIX) as next_one:
        if left.startswith("a socket"):
            killed.bind(str(path))
        else:
            enabled.touch()

        def come_back():
            path.unlink(missing_ok=True)
            next_one.bind(str(path))
            next_one.listen()

        timer = threading.Timer(0.1, come_back)
        timer.start()
        try:
            assert locate(None, autostart=False, environ=environ) == f"ipc://{path}"
        finally:
            timer.join()


def test_a_service_that_does_not_come_back_is_not_waited_for_long(environ, machines, monkeypatch):
    monkeypatch.setattr(autostart, "BETWEEN_LIVES", 0.05)
    machines[1].touch()
    with pytest.raises(NobodyListening, match="none is to be started"):
        locate(None, autostart=False, environ=environ)


def test_the_runtime_directory_is_made_for_this_user_alone(tmp_path):
    directory = tmp_path / "a" / "stoker"
    make_private(directory)
    make_private(directory)
    assert directory.stat().st_mode & 0o777 == 0o700


def test_one_that_others_could_enter_is_closed(tmp_path):
    tmp_path.chmod(0o755)
    make_private(tmp_path)
    assert tmp_path.stat().st_mode & 0o077 == 0


def test_a_symbolic_link_is_not_trusted(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(PermissionRefused, match="be trusted"):
        make_private(tmp_path / "link")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_not_trusted(tmp_path):
    directory = tmp_path / "theirs"
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, 12345)
    with pytest.raises(PermissionRefused):
        make_private(directory)


def test_one_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConnectionFailed, match="cannot be made"):
        make_private(tmp_path / "file" / "stoker")
