"""Owning a listening socket: who may, who may not, and what is left at the end. Real sockets and real processes."""

from __future__ import annotations

import grp
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from stoker.errors import BadEndpoint, CannotListen, ConfigError, EndpointInUse, PermissionRefused
from stoker.protocol.endpoint import Endpoint, parse
from stokerd.config import DaemonConfig
from stokerd.control.listener import Listener, listen, open_both

OWNER = """
import sys
from stoker.protocol.endpoint import parse
from stokerd.control.listener import listen
listener = listen(parse(sys.argv[1]))
print("listening", flush=True)
sys.stdin.read()
listener.close()
"""


@pytest.fixture
def where(tmp_path) -> Endpoint:
    return parse(str(tmp_path / "control.sock"))


@pytest.fixture
def owner(where) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the endpoint; it lets go when its stdin is closed."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", OWNER, where.url]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield process
        process.kill()


def connects(path: str | None) -> bool:
    assert path is not None
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


def talk(listener: Listener, url: str) -> bytes:
    """One request and its reply through a ROUTER that adopted the listener."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, context.socket(zmq.REQ) as client:
        for each in (router, client):
            each.linger = 0
            each.rcvtimeo = 30_000
        listener.adopt(router)
        client.connect(url)
        client.send(b"hello")
        identity, empty, body = router.recv_multipart()
        router.send_multipart([identity, empty, body.upper()])
        return client.recv()


# --- ownership -------------------------------------------------------------------------------------------------


def test_a_zeromq_socket_adopts_the_listener_and_answers(where):
    listener = listen(where)
    assert talk(listener, where.url) == b"HELLO"
    assert connects(where.path), "the listener outlives the ZeroMQ socket: its descriptor is its own"
    listener.close()
    assert not connects(where.path)


def test_one_zeromq_socket_can_adopt_after_another(where):
    listener = listen(where)
    assert [talk(listener, where.url) for _ in range(3)] == [b"HELLO"] * 3
    listener.close()


def test_nothing_is_left_when_it_is_closed_and_closing_twice_is_fine(where, tmp_path):
    listener = listen(where)
    listener.close()
    listener.close()
    assert list(tmp_path.iterdir()) == []


def test_a_live_owner_is_not_robbed(where, owner):
    with pytest.raises(EndpointInUse) as caught:
        listen(where)
    assert caught.value.exit_code == 69
    assert owner.poll() is None
    assert connects(where.path)


def test_a_second_listener_of_the_same_process_is_refused_too(where):
    first = listen(where)
    with pytest.raises(EndpointInUse):
        listen(where)
    first.close()


def test_what_a_killed_owner_left_is_taken_over(where, owner):
    owner.send_signal(signal.SIGKILL)
    owner.wait(30)
    assert os.path.lexists(str(where.path))
    listener = listen(where)
    assert talk(listener, where.url) == b"HELLO"
    listener.close()


def test_an_owner_that_ended_well_leaves_the_endpoint_free(where, owner):
    owner.stdin.close()
    assert owner.wait(30) == 0
    listen(where).close()


def test_a_program_that_listens_without_our_lock_is_not_robbed(where):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(where.path))
        other.listen()
        with pytest.raises(EndpointInUse, match="without our lock"):
            listen(where)
        assert connects(where.path)


def test_a_path_that_somebody_else_took_meanwhile_is_not_unlinked(where):
    listener = listen(where)
    Path(str(where.path)).unlink()
    Path(str(where.path)).write_text("somebody else's")
    listener.close()
    assert Path(str(where.path)).read_text() == "somebody else's"


# --- what lies at the path ----------------------------------------------------------------------------------------


def test_a_file_that_is_no_socket_is_refused_and_kept(where):
    Path(str(where.path)).write_text("precious")
    with pytest.raises(BadEndpoint, match="not a socket"):
        listen(where)
    assert Path(str(where.path)).read_text() == "precious"


def test_a_symbolic_link_is_refused_and_kept(where, tmp_path):
    Path(str(where.path)).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadEndpoint, match="not a socket"):
        listen(where)
    assert Path(str(where.path)).is_symlink()


def test_a_refusal_gives_the_lock_back(where):
    Path(str(where.path)).write_text("in the way")
    with pytest.raises(BadEndpoint):
        listen(where)
    Path(str(where.path)).unlink()
    listen(where).close()


def test_the_control_socket_is_a_path_and_tcp_is_for_clients_with_keys():
    with pytest.raises(ConfigError, match="clients with keys") as caught:
        listen(parse("tcp://127.0.0.1:7000"))
    assert "stoker key new" in caught.value.hint
    assert caught.value.exit_code == 78


# --- permissions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_socket_has_exactly_the_mode_that_was_asked_for(where, mode):
    before = os.umask(0o027)
    try:
        listener = listen(where, mode)
        assert stat.S_IMODE(os.lstat(str(where.path)).st_mode) == mode
        listener.close()
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a socket to any group")
def test_the_socket_belongs_to_the_group_that_was_asked_for(where):
    listener = listen(where, 0o660, 4321)
    assert os.lstat(str(where.path)).st_gid == 4321
    listener.close()


def test_a_missing_private_directory_is_made_for_its_owner_alone(tmp_path):
    listener = listen(parse(str(tmp_path / "a/b/control.sock")))
    assert [stat.S_IMODE((tmp_path / each).stat().st_mode) for each in ("a", "a/b")] == [0o700, 0o700]
    listener.close()


def test_a_missing_directory_of_a_shared_socket_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(CannotListen, match="does not exist") as caught:
        listen(parse(str(tmp_path / "shared/control.sock")), 0o660)
    assert "install -d" in caught.value.hint
    assert caught.value.exit_code == 73


def test_a_directory_that_everybody_may_write_to_is_refused(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PermissionRefused, match="everybody may write"):
        listen(parse(str(tmp_path / "open/control.sock")))


def test_a_parent_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((BadEndpoint, CannotListen)):
        listen(parse(str(tmp_path / "file/control.sock")))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_directory_of_another_user_is_refused(tmp_path):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(PermissionRefused, match="belongs to another user"):
        listen(parse(str(tmp_path / "theirs/control.sock")))


def test_a_file_system_that_cannot_be_written_says_so():
    with pytest.raises((CannotListen, PermissionRefused)) as caught:
        listen(parse("/proc/control.sock"))
    assert "/proc/control.sock" in caught.value.message
    assert caught.value.hint


# --- both sockets, and systemd's ----------------------------------------------------------------------------------


def config(where: Endpoint, **more) -> DaemonConfig:
    return DaemonConfig(socket=where.url, **more)


def systemd_socket(path: str) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind(path)
        made.listen()
        return made.detach()


def test_control_and_event_socket_are_opened_side_by_side(where):
    control, events = open_both(config(where, mode="0660"), {})
    assert [control.endpoint.url, events.endpoint.url] == [where.url, where.events]
    assert stat.S_IMODE(os.lstat(str(events.endpoint.path)).st_mode) == 0o660
    events.close()
    control.close()


def test_where_the_event_socket_cannot_be_the_control_socket_is_not_kept(where, tmp_path):
    Path(where.events.removeprefix("ipc://")).write_text("in the way")
    with pytest.raises(BadEndpoint):
        open_both(config(where), {})
    assert [each.name for each in tmp_path.iterdir()] == ["control.events.sock"]


def test_sockets_from_systemd_are_adopted_by_name_and_never_unlinked(where, tmp_path):
    fds = [systemd_socket(str(tmp_path / name)) for name in ("given.sock", "given.events.sock")]
    control, events = open_both(config(where), {"control": [fds[0]], "events": [fds[1]]})
    assert control.endpoint.path == str(tmp_path / "given.sock")
    assert talk(control, control.endpoint.url) == b"HELLO"
    control.close()
    events.close()
    assert {"given.sock", "given.events.sock"} == {each.name for each in tmp_path.iterdir()}


def test_a_request_sent_before_the_daemon_was_there_is_answered(tmp_path):
    path = str(tmp_path / "given.sock")
    fd = systemd_socket(path)
    with zmq.Context() as context, context.socket(zmq.REQ) as client, context.socket(zmq.ROUTER) as router:
        client.linger = router.linger = 0
        client.rcvtimeo = router.rcvtimeo = 30_000
        client.connect(f"ipc://{path}")
        client.send(b"early")
        control, events = open_both(DaemonConfig(), {"control": [fd]})
        control.adopt(router)
        identity, empty, body = router.recv_multipart()
        router.send_multipart([identity, empty, body + b" bird"])
        assert client.recv() == b"early bird"
    events.close()
    control.close()


def test_a_daemon_does_not_take_the_endpoint_of_one_that_systemd_started(tmp_path):
    fd = systemd_socket(str(tmp_path / "given.sock"))
    control, events = open_both(DaemonConfig(), {"control": [fd]})
    with pytest.raises(EndpointInUse):
        listen(control.endpoint)
    events.close()
    control.close()


@pytest.mark.parametrize("kind", ["tcp", "not listening", "datagram", "a file"])
def test_a_descriptor_that_would_make_libzmq_abort_is_refused(tmp_path, kind):
    if kind == "a file":
        fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    else:
        family = socket.AF_INET if kind == "tcp" else socket.AF_UNIX
        made = socket.socket(family, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
        if kind == "tcp":
            made.bind(("127.0.0.1", 0))
            made.listen()
        else:
            made.bind(str(tmp_path / "given.sock"))
        fd = made.detach()
    with pytest.raises(BadEndpoint):
        open_both(DaemonConfig(), {"control": [fd]})
    os.close(fd)


def test_a_group_that_does_not_exist_is_a_configuration_error(where):
    with pytest.raises(ConfigError, match="no group 'nosuchgroup'") as caught:
        open_both(config(where, group="nosuchgroup"), {})
    assert caught.value.exit_code == 78


def test_a_group_is_given_by_name_or_number(where):
    mine = grp.getgrgid(os.getegid())
    for group in (mine.gr_name, str(mine.gr_gid)):
        for each in open_both(msgspec.structs.replace(config(where), group=group), {}):
            assert os.lstat(str(each.endpoint.path)).st_gid == mine.gr_gid
            each.close()
