"""Remote clients over tcp: who gets in, as what, and how somebody is put out. All on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import zmq
from tests.daemons import RunningDaemon, wait_until
from tests.keys import House, free_ports

import stoker
from stoker import aio, connection, credentials
from stoker.errors import (
    BadKey,
    ConnectionFailed,
    DaemonLost,
    HandshakeFailed,
    NobodyListening,
    NotFound,
    PermissionDenied,
    PermissionRefused,
)
from stoker.protocol import codec
from stoker.protocol.roles import Role

WAIT = 60
ROLES = {"ada": Role.ADMIN, "sam": Role.SUBMIT, "olga": Role.OBSERVE}


@pytest.fixture(scope="module")
def place():
    path = Path(tempfile.mkdtemp(prefix="stk-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def house(place):
    return House(place / "keys", ROLES, "[pool.default]\nworkers = 1\n")


@pytest.fixture(scope="module")
def daemon(place, house):
    daemon = RunningDaemon(place / "d", config=house.config)
    yield daemon
    daemon.close()


@pytest.fixture
def guest(house, daemon):
    """A key of this test's own, with the role ``submit``; nobody has it afterwards."""
    name = f"guest{time.monotonic_ns()}"
    house.keys.new(name)
    house.keys.authorize(name, Role.SUBMIT, None)
    daemon.result("keys")
    yield name
    with contextlib.suppress(NotFound):
        house.keys.revoke(name)


def client(house, name, **more):
    return stoker.Client(house.url, key=house.secret(name), server_key=house.server, **more)


def dealer(context, house, name, routing_id=b""):
    """A bare socket with somebody's key."""
    keys = credentials.read(house.secret(name))
    made = context.socket(zmq.DEALER)
    made.linger, made.rcvtimeo = 0, WAIT * 1000
    if routing_id:
        made.set(zmq.ROUTING_ID, routing_id)
    made.curve_publickey, made.curve_secretkey = keys.public.encode(), keys.secret.encode()
    made.curve_serverkey = house.public("server").encode()
    made.connect(house.url)
    return made


def ask(bare, method, **params):
    bare.send_multipart(codec.encode_request(1, method, params))
    head, _ = codec.decode_head(bare.recv_multipart())
    return head.get("error", {}).get("code") or head["result"]


# --- who gets in --------------------------------------------------------------------------------------------------


def test_a_remote_client_runs_functions_by_value_and_hears_of_them(house, daemon):
    with client(house, "sam") as remote, remote.listen(["job."]) as listener:
        factor = 6
        assert remote.submit(lambda number: number * factor, 7).result(WAIT) == 42
        assert listener.get(WAIT).topic == "job.queued"


def test_an_asynchronous_client_comes_with_a_key_as_well(house, daemon):
    async def talk():
        async with aio.Client(house.url, key=house.secret("sam"), server_key=house.server) as remote:
            return await (await remote.submit(abs, -5))

    assert asyncio.run(talk()) == 5


def test_the_command_line_finds_its_key_by_the_environment(house, daemon):
    done = subprocess.run(
        [sys.executable, "-m", "stoker", "submit", "builtins:abs", "-3"],
        env=os.environ | house.environ("sam"),
        capture_output=True,
        text=True,
        timeout=WAIT,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr


def test_keys_are_found_by_their_usual_names(house, daemon, tmp_path, monkeypatch):
    for variable in ("STOKER_KEY", "STOKER_SERVER_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("STOKER_KEYS", str(tmp_path))
    shutil.copy2(house.secret("sam"), tmp_path / "client.key_secret")
    shutil.copy2(house.server, tmp_path / f"{house.url.removeprefix('tcp://')}.key")
    with stoker.Client(house.url) as remote:
        assert remote.ping() is not None


def test_a_stranger_is_told_that_its_key_is_not_accepted(house, daemon):
    if not Path(house.secret("eve")).exists():
        house.keys.new("eve")
    with pytest.raises(PermissionRefused, match="does not accept this client's key") as caught:
        client(house, "eve")
    assert (caught.value.exit_code, "stoker key authorize" in caught.value.hint) == (77, True)


def test_who_expects_another_server_does_not_talk_to_this_one(house, daemon):
    with pytest.raises(HandshakeFailed, match="hung up") as caught:
        stoker.Client(house.url, key=house.secret("sam"), server_key=house.public("olga"))
    assert (caught.value.exit_code, "server.key" in caught.value.hint) == (69, True)


def test_nobody_listening_is_told_at_once(house, daemon):
    with pytest.raises(NobodyListening) as caught:
        stoker.Client(f"tcp://127.0.0.1:{free_ports()}", key=house.secret("sam"), server_key=house.server)
    assert (caught.value.exit_code, "daemon.tcp" in caught.value.hint) == (69, True)


def test_a_peer_without_curve_is_told_from_a_daemon(house, daemon):
    with zmq.Context() as context, context.socket(zmq.ROUTER) as plain:
        port = plain.bind_to_random_port("tcp://127.0.0.1")
        with pytest.raises(HandshakeFailed) as caught:
            stoker.Client(f"tcp://127.0.0.1:{port}", key=house.secret("sam"), server_key=house.server)
    assert (caught.value.exit_code, caught.value.hint != "") == (69, True)


def test_a_peer_that_says_nothing_is_given_up_in_time(house, daemon, monkeypatch):
    monkeypatch.setattr(connection, "CONNECTING", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ConnectionFailed, match="in time") as caught:
        stoker.Client(f"tcp://127.0.0.1:{silent.getsockname()[1]}", key=house.secret("sam"), server_key=house.server)
    assert caught.value.exit_code == 69


def test_without_a_key_the_client_says_how_to_get_one(house, daemon, tmp_path, monkeypatch):
    for variable in ("STOKER_KEY", "STOKER_SERVER_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("STOKER_KEYS", str(tmp_path))
    with pytest.raises(PermissionRefused, match="takes a key") as caught:
        stoker.Client(house.url)
    assert (caught.value.exit_code, "stoker key new" in caught.value.hint) == (77, True)
    with pytest.raises(PermissionRefused, match="daemon's own key is not known"):
        stoker.Client(house.url, key=house.secret("sam"))


def test_a_secret_key_that_others_can_read_is_not_used(house, daemon, tmp_path):
    copy = tmp_path / "mine.key_secret"
    shutil.copy(house.secret("sam"), copy)
    copy.chmod(0o640)
    with pytest.raises(BadKey, match="others may read") as caught:
        stoker.Client(house.url, key=str(copy), server_key=house.server)
    assert caught.value.exit_code == 78


def test_who_speaks_without_encryption_is_not_heard(house, daemon):
    with zmq.Context() as context, context.socket(zmq.DEALER) as plain:
        plain.linger = 0
        monitor = plain.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        plain.connect(house.url)
        monitor.rcvtimeo = WAIT * 1000
        event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
        plain.disable_monitor()
        monitor.close()
    assert event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


# --- as what --------------------------------------------------------------------------------------------------------


def test_a_key_has_the_role_that_it_was_authorized_with(house, daemon):
    with client(house, "olga") as olga, client(house, "sam") as sam, client(house, "ada") as ada:
        assert olga.status().daemon.pid == daemon.pid
        with pytest.raises(PermissionDenied, match="submit takes the role submit, and this client has"):
            olga.submit(abs, -1).result(WAIT)
        assert sam.submit(abs, -1).result(WAIT) == 1
        with pytest.raises(PermissionDenied, match="reload takes the role admin") as caught:
            sam.reload()
        assert (caught.value.exit_code, "--role admin" in caught.value.hint) == (77, True)
        ada.reload()


def test_another_role_holds_from_the_next_request_on(house, daemon, guest):
    with client(house, guest) as remote:
        assert remote.submit(abs, -1).result(WAIT) == 1
        house.keys.authorize(guest, Role.OBSERVE, None)
        daemon.result("keys")
        with pytest.raises(PermissionDenied):
            remote.submit(abs, -1).result(WAIT)


def test_nobody_gets_another_ones_role_by_its_routing_id(house, daemon):
    with zmq.Context() as context:
        ada, olga = dealer(context, house, "ada", b"me"), None
        assert ask(ada, "keys")["endpoint"] == house.url
        ada.close()
        olga = dealer(context, house, "olga", b"me")
        wait_until(lambda: ask(olga, "ping") is not None)
        assert ask(olga, "keys") == "permission-denied"
        olga.close()


def test_a_client_that_travels_leaves_its_keys_at_home(house, daemon):
    with client(house, "ada") as remote:
        assert remote.submit(lambda: remote.endpoint).result(WAIT) == daemon.endpoint


# --- and how they leave -----------------------------------------------------------------------------------------------


def test_revoking_a_key_ends_its_live_sessions_and_answers_who_waits(house, daemon, guest):
    with client(house, guest) as remote, client(house, "ada") as ada:
        queue = stoker.Queue("letters", client=remote)
        failures = []

        def wait():
            try:
                queue.get()
            except stoker.StokerError as why:
                failures.append(why)

        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_until(lambda: any(key["name"] == guest and key["sessions"] for key in daemon.result("keys")["keys"]))
        done = subprocess.run(
            [sys.executable, "-m", "stoker", "key", "revoke", guest, "--dir", str(house.folder)],
            env=os.environ | {"STOKER_SOCKET": daemon.endpoint},
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
        assert (done.returncode, "sessions have ended" in done.stdout) == (0, True), done.stderr
        waiting.join(WAIT)
        assert [type(why) for why in failures] == [PermissionDenied]
        with pytest.raises(PermissionDenied, match="not be used here any more"):
            remote.ping()
        assert guest not in {key["name"] for key in ada.connection.call("keys", {})[0]["keys"]}
    with pytest.raises(PermissionRefused):
        client(house, guest)


def test_a_key_file_that_is_removed_by_hand_is_noticed_by_itself(house, daemon, guest):
    with client(house, guest) as remote:
        remote.ping()
        (house.folder / "authorized" / f"{guest}.key").unlink()

        def out():
            try:
                remote.ping()
            except PermissionDenied:
                return True
            return False

        wait_until(out)


def test_who_has_lost_its_key_hears_of_no_more_events(house, daemon, guest):
    with client(house, guest) as remote, remote.listen() as listener:
        house.keys.revoke(guest)
        daemon.result("keys")
        with pytest.raises((DaemonLost, PermissionRefused)):
            while True:
                listener.get(WAIT)


def test_a_remote_clients_death_releases_what_it_held(house, daemon, guest):
    program = "import stoker, sys, time\nstoker.Lock('door').acquire()\nprint('held', flush=True)\ntime.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | house.environ(guest), stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with client(house, "sam") as remote:
            lock = stoker.Lock("door", client=remote)
            assert not lock.acquire(block=False)
            holder.send_signal(signal.SIGKILL)
            assert lock.acquire(timeout=WAIT)
            lock.release()


# --- what a daemon does not start without -----------------------------------------------------------------------------


def refused(directory, *arguments, config):
    """What a daemon says that does not start."""
    (directory / "config.toml").write_text(config)
    done = subprocess.run(
        [sys.executable, "-m", "stokerd", "--config", str(directory / "config.toml"), *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT,
        env={key: value for key, value in os.environ.items() if key != "STOKER_SOCKET"},
    )
    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_tcp_is_refused_without_keys_of_any_kind(short_path):
    socket_path = str(short_path / "s.sock")
    folder = short_path / "keys"
    config = f'[daemon]\ntcp = "tcp://127.0.0.1:{free_ports()}"\nsocket = "{socket_path}"\n'
    config += f'[security]\nkeys_dir = "{folder}"\n'
    assert "stoker key new server" in refused(short_path, config=config)
    house = House(folder, {})
    shutil.rmtree(folder / "authorized")
    assert "stoker key authorize" in refused(short_path, config=config)
    (folder / "authorized").mkdir(mode=0o777)
    (folder / "authorized").chmod(0o777)
    assert "others may write" in refused(short_path, config=config)
    (folder / "authorized").chmod(0o700)
    Path(house.secret("server")).chmod(0o644)
    assert "others may read" in refused(short_path, config=config)


def test_the_control_socket_itself_is_never_tcp(short_path):
    config = '[daemon]\nsocket = "tcp://127.0.0.1:7077"\n'
    assert "the control socket is a path" in refused(short_path, config=config)
    assert "clients with keys" in refused(short_path, "--socket", "tcp://127.0.0.1:7077", config="")


def test_a_port_that_is_taken_is_told(short_path):
    house = House(short_path / "keys", {})
    with socket.create_server(("127.0.0.1", int(house.url.rpartition(":")[2]))):
        (short_path / "config.toml").write_text(house.config)
        done = subprocess.run(
            [sys.executable, "-m", "stokerd", "--config", str(short_path / "config.toml")],
            env=os.environ | {"STOKER_SOCKET": str(short_path / "s.sock")},
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
    assert (done.returncode, "listens at" in done.stderr) == (69, True), done.stderr
