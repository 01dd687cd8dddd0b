"""Who may do what on this machine: by socket, and by user."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import zmq
from tests.daemons import DEADLINE

import stoker
from stoker.errors import PermissionDenied
from stoker.protocol import codec
from stoker.protocol.document import members
from stoker.protocol.methods import LEAST_ROLE, METHODS, least_role
from stoker.protocol.roles import Role

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def open_daemon(start_daemon, short_path):
    """A daemon whose sockets are open to everybody on this machine."""
    short_path.chmod(0o755)
    return start_daemon(
        config='[daemon]\nmode = "0666"\nstatus_mode = "0666"\n[security]\nadmins = ["65533"]\n'
        "[pool.default]\nworkers = 1\n"
    )


def as_user(uid, daemon, *methods):
    """What each method is answered when this user asks it on the control socket: the code of an error, or ``ok``."""
    program = (
        "import json, os, socket, sys, msgpack, zmq\n"
        f"os.setgid({uid}); os.setuid({uid})\n"
        f"s = zmq.Context().socket(zmq.REQ); s.linger = 0; s.rcvtimeo = 30000; s.connect({daemon.endpoint!r})\n"
        "told = []\n"
        "for method in sys.argv[1:]:\n"
        "    s.send(msgpack.packb({'v': 1, 'id': 1, 'method': method, 'params': {}}))\n"
        "    told.append(msgpack.unpackb(s.recv()).get('error', {}).get('code', 'ok'))\n"
        "print(json.dumps(told))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *methods], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_method_has_its_least_role_and_what_has_none_is_for_admins():
    kinds = {kind for union in METHODS.values() for kind in members(union)}
    assert LEAST_ROLE.keys() == kinds
    assert least_role(int) is Role.ADMIN


def test_the_status_socket_shows_everything_and_changes_nothing(open_daemon):
    path = open_daemon.path.with_name("s.status.sock")
    with stoker.Client(str(path)) as observer, observer.listen(["object."]) as listener:
        assert observer.status().daemon.pid == open_daemon.pid
        with pytest.raises(PermissionDenied, match="role observe") as caught:
            observer.submit(abs, -1).result(DEADLINE)
        assert (caught.value.exit_code, "control socket" in caught.value.hint) == (77, True)
        for method in ("shutdown", "reload", "config", "keys"):
            with pytest.raises(PermissionDenied):
                observer.connection.call(method, {})
        with stoker.Client(open_daemon.endpoint) as client:
            stoker.Queue("q", client=client)
        assert listener.get(DEADLINE).topic == "object.changed"


def test_an_observer_reads_no_values_no_output_and_no_items(open_daemon):
    with stoker.Client(open_daemon.endpoint) as client:
        job = client.submit(abs, -1)
        job.result(DEADLINE)
        number = job.id
    with stoker.Client(str(open_daemon.path.with_name("s.status.sock"))) as observer:
        for method, params in (
            ("result", {"id": number}),
            ("logs", {"id": number}),
            ("dict.get", {"id": "d", "keys": [b"k"]}),
            ("queue.get", {"id": "q"}),
            ("value.get", {"id": "v"}),
        ):
            with pytest.raises(PermissionDenied):
                observer.connection.call(method, params)
        (told,) = observer.connection.call("jobs", {"ids": [number]})[0]["jobs"]
        assert "value" not in told


def test_a_peer_of_the_status_socket_does_not_become_one_of_the_control_socket(open_daemon):
    status = f"ipc://{open_daemon.path.with_name('s.status.sock')}"
    with zmq.Context() as context:
        codes = []
        for url in (open_daemon.endpoint, status):
            with context.socket(zmq.DEALER) as bare:
                bare.linger, bare.rcvtimeo = 0, int(DEADLINE * 1000)
                bare.set(zmq.ROUTING_ID, b"me")
                bare.connect(url)
                bare.send_multipart(codec.encode_request(1, "config", {}))
                head, _ = codec.decode_head(bare.recv_multipart())
                codes.append(head.get("error", {}).get("code"))
    assert codes == [None, "permission-denied"]


def test_there_is_no_status_socket_unless_it_is_asked_for(daemon):
    assert not daemon.path.with_name("s.status.sock").exists()


def test_the_sockets_have_the_permissions_that_were_asked_for(start_daemon):
    daemon = start_daemon(config='[daemon]\nmode = "0660"\nstatus_mode = "0606"\n')
    modes = {
        name: stat.S_IMODE(daemon.path.with_name(f"s{name}.sock").stat().st_mode)
        for name in ("", ".status", ".events", ".direct")
    }
    assert modes == {"": 0o660, ".status": 0o606, ".events": 0o666, ".direct": 0o660}
    assert not Path(daemon.directory / "s.status.direct.sock").exists()


@as_root
def test_another_user_on_the_control_socket_works_and_does_not_rule(open_daemon):
    assert as_user(NOBODY, open_daemon, "ping", "room", "cancel", "reload", "shutdown") == [
        "ok",
        "ok",
        "invalid-params",
        "permission-denied",
        "permission-denied",
    ]


@as_root
def test_a_user_who_is_named_an_admin_is_one(open_daemon):
    assert as_user(65533, open_daemon, "reload") == ["ok"]


@as_root
def test_the_direct_channel_knows_its_peers_user_as_well(open_daemon):
    program = (
        "import os, stoker.connection, stoker.errors\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        f"c = stoker.connection.Connection({open_daemon.endpoint!r})\n"
        "assert c.direct\n"
        "try:\n    c.call('reload', {})\nexcept stoker.errors.StokerError as why:\n    print(why.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE)
    assert done.stdout.strip() == "permission-denied", done.stderr


def test_an_admin_who_does_not_exist_is_a_configuration_error(short_path):
    (short_path / "c.toml").write_text('[security]\nadmins = ["no-such-user"]\n')
    done = subprocess.run(
        [sys.executable, "-m", "stokerd", "--config", short_path / "c.toml", "--socket", short_path / "s.sock"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.returncode, "no user 'no-such-user'" in done.stderr) == (78, True), done.stderr
