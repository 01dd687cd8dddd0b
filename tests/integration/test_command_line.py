"""``python -m stokerd`` from its first line to its exit code: what it says when it serves, and when it cannot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from stoker.protocol import codec

DEADLINE = 60


class Started:
    """A daemon, and the line that it wrote to --ready-fd: empty where it ended without one."""

    def __init__(self, *arguments: str) -> None:
        read, write = os.pipe()
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        argv = [sys.executable, "-m", "stokerd", "--ready-fd", str(write), *arguments]
        self.process = subprocess.Popen(argv, env=env, pass_fds=[write], stderr=subprocess.PIPE, text=True)
        os.close(write)
        with os.fdopen(read) as ready:
            line = ready.readline()
        self.line: dict[str, Any] = json.loads(line) if line else {}

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for its end and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE)


@pytest.fixture
def stokerd(tmp_path) -> Iterator[Callable[..., Started]]:
    """Start daemons; what is still alive afterwards is killed."""
    alive: list[Started] = []

    def start(*arguments: str, where: Path = tmp_path / "control.sock") -> Started:
        alive.append(Started("--socket", str(where), "--state-dir", str(tmp_path / "state"), *arguments))
        return alive[-1]

    yield start
    for each in alive:
        each.process.kill()
        each.process.wait(DEADLINE)
        assert each.process.stderr is not None
        each.process.stderr.close()


def ping(path: Path) -> dict[str, Any]:
    with zmq.Context() as context, context.socket(zmq.REQ) as client:
        client.linger = 0
        client.rcvtimeo = DEADLINE * 1000
        client.connect(f"ipc://{path}")
        client.send_multipart(codec.encode_request(1, "ping", {})[1:])
        reply, _ = codec.decode_head([b"", *client.recv_multipart()])
    result: dict[str, Any] = reply["result"]
    return result


def test_it_says_that_it_is_ready_when_it_answers(stokerd, tmp_path):
    daemon = stokerd()
    assert daemon.line == {"ready": {"pid": daemon.process.pid, "endpoint": f"ipc://{tmp_path}/control.sock"}}
    assert ping(tmp_path / "control.sock")["pid"] == daemon.process.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_ends_well_and_leaves_no_socket_and_no_lock(stokerd, tmp_path, number):
    daemon = stokerd()
    assert daemon.end(number) == 0
    assert not list(tmp_path.glob("control*"))


def test_a_second_daemon_on_the_same_endpoint_is_refused_and_the_first_is_unharmed(stokerd, tmp_path):
    first, second = stokerd(), stokerd()
    assert second.process.wait(DEADLINE) == 69
    assert second.line["error"]["code"] == "endpoint-in-use"
    assert second.line["error"]["hint"]
    assert ping(tmp_path / "control.sock")["pid"] == first.process.pid


def test_after_kill_9_the_next_one_takes_the_endpoint(stokerd, tmp_path):
    assert stokerd().end(signal.SIGKILL) == -signal.SIGKILL
    assert (tmp_path / "control.sock").exists()
    second = stokerd()
    assert ping(tmp_path / "control.sock")["pid"] == second.process.pid


def test_something_else_at_the_path_is_a_usage_error_and_is_kept(stokerd, tmp_path):
    (tmp_path / "control.sock").write_text("precious")
    daemon = stokerd()
    assert daemon.process.wait(DEADLINE) == 64
    assert daemon.line["error"]["code"] == "bad-endpoint"
    assert (tmp_path / "control.sock").read_text() == "precious"


def test_a_missing_directory_of_a_shared_socket_ends_with_73(stokerd, tmp_path):
    (tmp_path / "config.toml").write_text('[daemon]\nmode = "0660"\n')
    daemon = stokerd("--config", str(tmp_path / "config.toml"), where=tmp_path / "none/control.sock")
    assert daemon.process.wait(DEADLINE) == 73
    assert daemon.line["error"]["code"] == "cannot-listen"


@pytest.fixture
def full(tmp_path):
    """A file system with room for nothing: it has as many files as it may have."""
    place = tmp_path / "full"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "full", str(place)], capture_output=True
    ).returncode:
        pytest.skip("mounts a small file system, which is not allowed here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_no_room_for_the_socket_or_the_state_ends_with_74(stokerd, full, tmp_path):
    daemon = stokerd(where=full / "control.sock")
    assert (daemon.process.wait(DEADLINE), daemon.line["error"]["code"]) == (74, "cannot-listen")
    daemon = stokerd("--state-dir", str(full / "state"))
    assert (daemon.process.wait(DEADLINE), daemon.line["error"]["code"]) == (74, "store-full")
    assert "is full" in daemon.line["error"]["message"]


def test_a_directory_that_anybody_may_write_to_ends_with_77(stokerd, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    daemon = stokerd(where=tmp_path / "open/control.sock")
    assert daemon.process.wait(DEADLINE) == 77
    assert daemon.line["error"]["code"] == "permission-refused"


def test_a_group_that_does_not_exist_ends_with_78(stokerd, tmp_path):
    (tmp_path / "config.toml").write_text('[daemon]\ngroup = "nosuchgroup"\n')
    daemon = stokerd("--config", str(tmp_path / "config.toml"))
    assert daemon.process.wait(DEADLINE) == 78
    assert daemon.line["error"]["code"] == "config-error"


def test_the_example_configuration_starts_it_as_it_stands(stokerd, tmp_path):
    example = Path(__file__).parents[2] / "config.example.toml"
    daemon = stokerd("--config", str(example))
    assert "ready" in daemon.line
    assert daemon.end() == 0


def test_whoever_waited_for_the_line_may_have_gone(tmp_path):
    read, write = os.pipe()
    os.close(read)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-m", "stokerd", "--ready-fd", str(write), "--socket", str(tmp_path / "control.sock")]
    with subprocess.Popen([*argv, "--state-dir", str(tmp_path)], env=env, pass_fds=[write]) as process:
        os.close(write)
        assert ping(tmp_path / "control.sock")["pid"] == process.pid
        process.terminate()
        assert process.wait(DEADLINE) == 0
