"""The direct channel of a real daemon: taken where there is one, done without where there is none, and robust."""

from __future__ import annotations

import os
import random
import signal
import socket
import stat
import struct
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.conftest import StartDaemon
from tests.daemons import RunningDaemon, wait_until
from tests.peers import DirectPeer, Peer, request

import stoker
from stoker.connection import Connection
from stoker.credentials import Credentials
from stoker.errors import BadEndpoint, NobodyListening
from stoker.protocol.endpoint import direct_path
from stoker.protocol.framing import PREAMBLE


def where(daemon: RunningDaemon) -> Path:
    return Path(direct_path(str(daemon.path)))


def carrier(connection: Connection) -> str:
    return type(connection._link).__module__


def run(program: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path, **environ},
    )


@pytest.fixture
def small(start_daemon: StartDaemon) -> RunningDaemon:
    """A daemon that takes little."""
    limits = "message_bytes = 65536\nhead_bytes = 4096\nframes = 4\n"
    return start_daemon(config=f"[limits]\n{limits}[pool.default]\nworkers = 1\n")


# --- which way is taken -----------------------------------------------------------------------------------------------


def test_a_local_client_takes_it_by_itself_and_never_imports_zmq(daemon: RunningDaemon) -> None:
    done = run(
        """
        import sys, stoker
        with stoker.Client(sys.argv[1]) as client:
            assert client.submit(abs, -3).result() == 3
            assert client.status().daemon.sessions == 1
            print("zmq" in sys.modules)
        """,
        daemon.endpoint,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_command_line_takes_it_too(daemon: RunningDaemon) -> None:
    done = run(
        "import sys; from stoker.cli.main import main; print(main(sys.argv[1:]), 'zmq' in sys.modules)",
        "--socket",
        daemon.endpoint,
        "ping",
    )
    assert done.stdout.endswith("0 False\n"), done


@pytest.mark.parametrize(
    ("word", "module"), [("auto", "stoker.local"), ("direct", "stoker.local"), ("zmq", "stoker.link")]
)
def test_the_environment_can_insist_on_one(
    daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch, word: str, module: str
) -> None:
    monkeypatch.setenv("STOKER_TRANSPORT", word)
    with stoker.Client(daemon.endpoint) as client:
        assert carrier(client.connection) == module
        assert client.ping().pid == daemon.pid


def test_a_word_that_is_none_of_them_is_refused(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOKER_TRANSPORT", "pigeon")
    with pytest.raises(BadEndpoint, match="pigeon"):
        stoker.Client(daemon.endpoint)


def test_without_it_zeromq_serves_in_silence_unless_it_was_insisted_on(
    daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    where(daemon).unlink()
    with stoker.Client(daemon.endpoint) as client:
        assert carrier(client.connection) == "stoker.link"
        assert client.submit(abs, -1).result() == 1
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(where(daemon)))
    with stoker.Client(daemon.endpoint) as client:
        assert carrier(client.connection) == "stoker.link"
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("STOKER_TRANSPORT", "direct")
    with pytest.raises(NobodyListening):
        stoker.Client(daemon.endpoint)


def test_tcp_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOKER_TRANSPORT", "direct")
    with pytest.raises(NobodyListening, match="not a path"):
        Connection("tcp://127.0.0.1:1", credentials=Credentials("", "", ""))


def test_both_ways_lead_to_the_same_objects(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    with stoker.Client(daemon.endpoint) as one:
        monkeypatch.setenv("STOKER_TRANSPORT", "zmq")
        with stoker.Client(daemon.endpoint) as two:
            stoker.Queue("both", client=one).put("there")
            assert stoker.Queue("both", client=two).get(timeout=30) == "there"
            job = one.options(detach=True).submit(abs, -2)
            assert two.result(job.id) == 2


# --- the socket -------------------------------------------------------------------------------------------------------


def test_whoever_may_use_the_control_socket_may_use_it_and_nobody_else(start_daemon: StartDaemon) -> None:
    for mode in ("0600", "0660", "0666"):
        daemon = start_daemon(config=f'[daemon]\nmode = "{mode}"\n[pool.default]\nworkers = 1\n')
        control, direct = daemon.path.stat(), where(daemon).stat()
        assert stat.S_ISSOCK(direct.st_mode)
        assert (direct.st_mode, direct.st_uid, direct.st_gid) == (control.st_mode, control.st_uid, control.st_gid)


@pytest.mark.skipif(os.getuid() != 0, reason="needs a group that is not its own")
def test_it_belongs_to_the_group_of_the_control_socket(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(config='[daemon]\nmode = "0660"\ngroup = "54321"\n[pool.default]\nworkers = 1\n')
    assert where(daemon).stat().st_gid == 54321


def test_it_is_gone_with_the_daemon_and_what_a_killed_one_left_is_replaced(start_daemon: StartDaemon) -> None:
    first = start_daemon(config="[pool.default]\nworkers = 1\n")
    first.kill()
    assert where(first).exists()
    process, _ = first._start(("--config", str(first.directory / "config.toml")), None)
    with stoker.Client(first.endpoint) as client:
        assert carrier(client.connection) == "stoker.local"
    process.terminate()
    assert process.wait(30) == 0
    assert not where(first).exists()


def test_a_daemon_does_not_start_where_its_clients_would_reach_another_program(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(config="[pool.default]\nworkers = 1\n")
    assert daemon.stop() == 0
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(str(where(daemon)))
        squatter.listen()
        again = subprocess.run(
            [sys.executable, "-m", "stokerd", "--socket", daemon.endpoint], capture_output=True, text=True, timeout=60
        )
    assert again.returncode != 0
    assert "in use" in again.stderr
    assert not daemon.path.exists()


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_hanging_up_frees_what_the_session_had_though_the_process_lives(daemon: RunningDaemon) -> None:
    with stoker.Client(daemon.endpoint) as other:
        mine = stoker.Client(daemon.endpoint)
        assert stoker.Lock("door", client=mine).acquire()
        waiting = ThreadPoolExecutor(1).submit(stoker.Lock("door", client=other).acquire, timeout=30)
        mine.close()
        assert waiting.result(30)


def test_the_death_of_the_parent_is_seen_though_a_forked_child_lives_on(daemon: RunningDaemon) -> None:
    program = """
        import os, sys, time, stoker
        lock = stoker.Lock("door")
        assert lock.acquire()
        if os.fork() == 0:
            print(os.getpid(), flush=True)
            time.sleep(60)
            os._exit(0)
        os.kill(os.getpid(), 9)
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "STOKER_SOCKET": daemon.endpoint},
    )
    child = int(parent.stdout.readline())
    try:
        with stoker.Client(daemon.endpoint) as client:
            assert stoker.Lock("door", client=client).acquire(timeout=30)
    finally:
        os.kill(child, signal.SIGKILL)
        parent.wait(30)
        parent.stdout.close()


def test_the_session_has_the_process_that_the_kernel_tells_of(daemon: RunningDaemon) -> None:
    with DirectPeer(str(where(daemon))) as peer:
        peer.ask("hello", pid=1)
        opened = [event for event in daemon.result("events", limit=50)["events"] if event[1] == "session.opened"]
        assert opened[-1][2]["pid"] == os.getpid()


# --- large and slow ---------------------------------------------------------------------------------------------------


def test_large_values_go_there_and_back(daemon: RunningDaemon) -> None:
    data = os.urandom(9_000_000)
    with stoker.Client(daemon.endpoint) as client:
        jobs = [client.submit(bytes.__add__, data, bytes([number])) for number in range(4)]
        assert [job.result(60) for job in jobs] == [data + bytes([number]) for number in range(4)]


def test_a_submit_does_not_wait_for_a_daemon_that_does_not_read_and_is_sent_when_it_does(daemon: RunningDaemon) -> None:
    with stoker.Client(daemon.endpoint) as client, stoker.Client(daemon.endpoint) as other:
        assert client.submit(len, b"").result() == 0
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            jobs = [client.options(detach=False).submit(len, bytes(5_000_000)) for _ in range(3)]
            assert client.connection._link.unsent
            with pytest.raises(TimeoutError):
                client.ping(timeout=0.2)
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        # nobody asks this client for anything: it sends by itself
        wait_until(lambda: other.status().jobs.get("done", 0) >= 4)
        assert [job.result(30) for job in jobs] == [5_000_000] * 3


def test_half_a_message_costs_the_others_nothing(daemon: RunningDaemon) -> None:
    peers = [DirectPeer(str(where(daemon))) for _ in range(50)]
    for number, peer in enumerate(peers):
        peer.send(request("ping", number, (bytes(1000),))[: 40 + number * 10])
    with stoker.Client(daemon.endpoint) as client:
        assert client.submit(abs, -1).result(30) == 1
    for number, peer in enumerate(peers):
        peer.send(request("ping", number, (bytes(1000),))[40 + number * 10 :])
        answer = peer.receive()
        assert answer is not None
        assert answer[0]["id"] == number
        peer.socket.close()


# --- whatever comes ---------------------------------------------------------------------------------------------------


def header(size: int, count: int, descriptors: int = 0, flags: int = 0) -> bytes:
    return struct.pack("<QIHH", size, count, descriptors, flags)


def test_a_message_that_is_too_large_is_answered_by_its_id_and_the_connection_goes_on(small: RunningDaemon) -> None:
    with DirectPeer(str(where(small))) as peer:
        for size in (65536, 200_000):
            answer = peer.ask("ping", f"with {size}", (bytes(size),))
            assert answer["error"]["code"] == "message-too-large"
        peer.post("ping", "many", [b"x"] * 5)
        answer = peer.receive()
        assert answer is not None
        assert answer[0]["error"]["code"] == "malformed-message"
        assert "result" in peer.ask("ping", "fine", (bytes(60_000),))


def test_a_message_beyond_all_bounds_is_answered_and_hung_up_on(small: RunningDaemon) -> None:
    with DirectPeer(str(where(small))) as peer:
        peer.send(header(1 << 40, 1))
        answer = peer.receive()
        assert answer is not None
        assert answer[0]["error"]["code"] == "message-too-large"
        assert peer.receive() is None


class Fuzzer:
    """Makes what a conversation may consist of, and what it may not."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def conversation(self) -> bytes:
        dice = self.dice
        parts = [dice.choice((PREAMBLE, PREAMBLE, PREAMBLE, PREAMBLE[:5], dice.randbytes(8)))]
        makers = (self.good, self.header, self.bytes, self.mutated, self.large)
        return b"".join([*parts, *(dice.choice(makers)() for _ in range(dice.randrange(1, 8)))])

    def good(self) -> bytes:
        return request("ping", self.dice.randrange(1000), [self.bytes() for _ in range(self.dice.randrange(4))])

    def header(self) -> bytes:
        dice = self.dice
        size = dice.choice((0, 8, 16, 100, 65536, 262144, 262145, 1 << 32, 1 << 63, (1 << 64) - 1))
        count = dice.choice((0, 1, 2, 5, 6, 1 << 31))
        return header(size, count, dice.choice((0, 0, 1, 65535)), dice.choice((0, 0, 7)))

    def bytes(self) -> bytes:
        return self.dice.randbytes(self.dice.randrange(200))

    def mutated(self) -> bytes:
        whole = bytearray(self.good())
        for _ in range(self.dice.randrange(1, 4)):
            whole[self.dice.randrange(len(whole))] = self.dice.randrange(256)
        return bytes(whole[: self.dice.choice((len(whole), self.dice.randrange(len(whole))))])

    def large(self) -> bytes:
        return request("ping", 1, (bytes(self.dice.choice((60_000, 70_000, 200_000))),))


@pytest.mark.parametrize("seed", range(4))
def test_garbage_is_answered_or_hung_up_on_and_the_daemon_goes_on_as_if_nothing_had_been(
    small: RunningDaemon, seed: int
) -> None:
    fuzzer = Fuzzer(seed)
    path = str(where(small))
    with Peer(small.endpoint) as bystander, DirectPeer(path) as neighbour:
        for number in range(150):
            with DirectPeer(path, b"") as peer:
                peer.send(fuzzer.conversation())
                if number % 3:
                    peer.socket.shutdown(socket.SHUT_WR)
                    while (answer := peer.receive()) is not None:  # each of them an answer, and then it is over
                        assert answer[0].keys() & {"result", "error"}
            assert bystander.ask("ping", number)["id"] == number
            assert neighbour.ask("ping", number)["id"] == number
    assert "a handler failed" not in small.log
    with DirectPeer(path) as peer:
        peer.ask("ping")
        wait_until(lambda: len(os.listdir(f"/proc/{small.pid}/fd")) < 60)
