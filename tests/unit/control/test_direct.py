"""The direct channel with real peers, and a clock that is turned by hand."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clocks import HandClock
from tests.peers import DirectPeer, request

from stoker.protocol import codec
from stoker.protocol.events import SessionClosed
from stoker.protocol.framing import PREAMBLE, enclose
from stoker.protocol.requests import Hello, Ping, Pong
from stoker.protocol.roles import Role
from stokerd.bus import Bus
from stokerd.config_tables import LimitsConfig
from stokerd.control import direct as module
from stokerd.control.caller import Answer, Caller, Session
from stokerd.control.direct import DirectServer
from stokerd.control.dispatch import Dispatcher
from stokerd.control.sessions import Sessions
from stokerd.promise import Promise

PONG = Pong(time=0.0, pid=1, version="x")
LIMITS = LimitsConfig(message_bytes=1 << 20, head_bytes=1 << 16, frames=4, sessions=3)


class Rig:
    """A server whose ``ping`` does what the test says; ``hello`` opens a session."""

    def __init__(self, path: str, ping: Callable[..., Any]) -> None:
        self.path = path
        self.clock = HandClock()
        self.reasons: list[str] = []
        bus = Bus(self.clock.time)
        bus.listen(lambda _seq, _time, event: self.note(event))
        self.sessions = Sessions(
            limit=10, role_of=lambda _uid: Role.ADMIN, clock=self.clock, bus=bus, on_closed=self.gone
        )
        self.bugs: list[str] = []
        self.dispatcher = Dispatcher(
            {Ping: ping, Hello: self.hello},
            None,
            head_bytes=LIMITS.head_bytes,
            frames=LIMITS.frames,
            message_bytes=LIMITS.message_bytes,
            on_bug=lambda what, _trace: self.bugs.append(what),
        )
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(path)
        self.listening.listen()
        self.server = DirectServer(self.listening.fileno(), self.clock, LIMITS)
        self.server.serve(self.sessions, self.dispatcher, lambda: None)

    def note(self, event: object) -> None:
        if isinstance(event, SessionClosed):
            self.reasons.append(event.reason)

    def gone(self, session: Session) -> None:
        self.dispatcher.session_closed(session)

    def hello(self, _parts: Any, caller: Caller, hello: Hello) -> Pong:
        self.sessions.open(caller.session, hello)
        return PONG

    def run(self, done: Callable[[], Any], turns: int = 3000) -> None:
        """Turn the clock, and look at what comes, until it is done."""
        for _ in range(turns):
            if done():
                return
            self.clock.look(0.01)
            self.clock.turn(0.02)
        pytest.fail("waited in vain")

    def rest(self) -> None:
        """Until nothing more happens by itself."""
        while self.clock.look(0) or self.clock.pending():
            self.clock.turn()

    def answer(self, peer: DirectPeer) -> dict[str, Any] | None:
        """The next answer to a peer; None where it was hung up on."""
        self.run(lambda: arrived(peer))
        got = peer.receive()
        return None if got is None else got[0]

    def close(self) -> None:
        self.sessions.close_all()
        self.server.close()
        self.server.close()
        self.listening.close()


@pytest.fixture
def make(short_path: Path) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(ping: Callable[..., Any] = lambda *_: PONG) -> Rig:
        rigs.append(Rig(f"{short_path}/d.sock", ping))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


def arrived(peer: DirectPeer) -> bool:
    """Whether a whole message, or the end, can be received without waiting."""
    peer.socket.setblocking(False)
    try:
        while peer._intake.next() is None:
            count = peer.socket.recv_into(peer._intake.room())
            if not count:
                return True
            peer._intake.arrived.append(count)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    finally:
        peer.socket.settimeout(30)
    return True


def test_the_kernel_tells_who_is_there(make: Any) -> None:
    seen: list[Session] = []
    rig = make(lambda _parts, caller, _request: seen.append(caller.session) or PONG)
    with DirectPeer(rig.path) as peer:
        peer.post("ping")
        assert rig.answer(peer) == {"id": 1, "result": {"time": 0.0, "pid": 1, "version": "x"}}
    assert (seen[0].pid, seen[0].uid, seen[0].anonymous) == (os.getpid(), os.getuid(), True)


def test_more_messages_than_one_turn_takes_are_all_answered_and_others_have_their_turn_between(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TURN", 3)
    order: list[int] = []
    rig = make(lambda _parts, caller, _request: order.append(caller.session.id) or PONG)
    with DirectPeer(rig.path) as greedy, DirectPeer(rig.path) as modest:
        greedy.send(b"".join(request("ping", number) for number in range(50)))
        modest.post("ping", "modest")
        rig.run(lambda: len(order) == 51)
        modest_id = next(who for who in order if order.count(who) == 1)
        assert order.index(modest_id) < 10
        assert [rig.answer(greedy)["id"] for _ in range(50)] == list(range(50))
        assert rig.answer(modest)["id"] == "modest"


def test_answers_of_one_turn_leave_together(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make()
    sends: list[int] = []
    written = DirectServer._send_waiting

    def counted(server: DirectServer, peer: Any) -> None:
        sends.append(len(peer.out))
        written(server, peer)

    monkeypatch.setattr(DirectServer, "_send_waiting", counted)
    with DirectPeer(rig.path) as peer:
        peer.send(b"".join(request("ping", number) for number in range(20)))
        assert [rig.answer(peer)["id"] for _ in range(20)] == list(range(20))
    assert sends == [20]


def test_a_peer_that_hangs_up_ends_its_session_at_once_and_what_it_waited_for(make: Any) -> None:
    promise: Promise[Pong] = Promise()
    rig = make(lambda *_: promise)
    with DirectPeer(rig.path) as peer:
        peer.post("hello")
        peer.post("ping", 2)
        assert rig.answer(peer)["id"] == 1
    rig.run(lambda: rig.reasons)
    assert rig.reasons == ["it closed its connection"]
    assert promise.settled, "what it had waited for is abandoned"
    assert len(rig.server) == len(rig.sessions) == 0


def test_what_was_sent_before_hanging_up_is_dealt_with(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN", 3)
    asked: list[None] = []
    rig = make(lambda *_: asked.append(None) or PONG)
    with DirectPeer(rig.path) as peer:
        peer.send(b"".join(request("ping", number) for number in range(20)))
    rig.run(lambda: not len(rig.server) and asked)
    assert len(asked) == 20


def test_an_answer_that_comes_late_leaves_at_once(make: Any) -> None:
    promise: Promise[Pong] = Promise()
    rig = make(lambda *_: promise)
    with DirectPeer(rig.path) as peer:
        peer.post("ping")
        rig.run(lambda: rig.dispatcher._waiting)
        promise.resolve(PONG)
        assert peer.receive() is not None


def test_a_quiet_request_is_answered_only_if_it_fails(make: Any) -> None:
    promise: Promise[Pong] = Promise()
    answers = [PONG, promise, promise]
    rig = make(lambda *_: answers.pop(0))

    def quiet(number: int, **params: Any) -> bytes:
        return b"".join(enclose(codec.encode_request(number, "ping", params, quiet=True)[1:]))

    with DirectPeer(rig.path) as peer:
        peer.send(quiet(1) + quiet(2) + quiet(3, what=0))
        assert rig.answer(peer)["error"]["code"] == "invalid-params"
        promise.resolve(PONG)
        peer.send(b"".join(enclose([codec.pack({"id": 4, "method": "ping", "quiet": 1})])))
        answer = rig.answer(peer)
        assert (answer["id"], answer["error"]["code"]) == (4, "malformed-message")
        peer.send(quiet(5) + request("hello", 6))
        assert rig.answer(peer)["id"] == 6


def test_half_a_message_disturbs_nobody_and_holds_no_more_than_itself(make: Any) -> None:
    rig = make()
    whole = request("ping", "late", (bytes(100_000),))
    with DirectPeer(rig.path) as slow, DirectPeer(rig.path) as other:
        for start in range(0, 1000, 100):
            slow.send(whole[start : start + 100])
            other.post("ping", start)
            assert rig.answer(other)["id"] == start
        kept = max(peer.intake.buffered for peer in rig.server._peers.values())
        assert kept <= len(whole)
        slow.send(whole[1000:])
        assert rig.answer(slow)["id"] == "late"


def test_a_peer_that_does_not_read_is_not_listened_to_until_it_does(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEAF", 1_000_000)
    asked: list[int] = []
    rig = make(lambda *_: asked.append(0) or Answer(PONG, (bytes(200_000),)))
    with DirectPeer(rig.path) as deaf, DirectPeer(rig.path) as other:
        deaf.send(b"".join(request("ping", number) for number in range(100)))
        rig.run(lambda: any(peer.paused for peer in rig.server._peers.values()))
        other.post("ping", "other")
        assert rig.answer(other)["id"] == "other"
        assert len(asked) < 100
        assert all(peer.held <= 1_200_000 for peer in rig.server._peers.values())
        assert [rig.answer(deaf)["id"] for _ in range(100)] == list(range(100))
        rig.run(lambda: not any(peer.held or peer.writing for peer in rig.server._peers.values()))
        deaf.post("ping", "again")
        assert rig.answer(deaf)["id"] == "again"


def test_a_peer_that_reads_nothing_is_given_up_when_too_much_is_held_for_it(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_HELD", 1_000_000)
    promises: list[Promise[Any]] = []

    def ping(*_: Any) -> Promise[Any]:
        promises.append(Promise())
        return promises[-1]

    rig = make(ping)
    with DirectPeer(rig.path) as deaf, DirectPeer(rig.path) as other:
        deaf.post("hello")
        deaf.send(b"".join(request("ping", number) for number in range(50)))
        rig.run(lambda: len(promises) == 50)
        for promise in promises:
            promise.resolve(Answer(PONG, (bytes(200_000),)))
        rig.run(lambda: rig.reasons)
        assert rig.reasons == ["it does not read its answers"]
        other.post("hello", "other")
        assert rig.answer(other)["id"] == "other"


def test_a_peer_that_is_killed_while_it_is_written_to_is_noted_as_gone(make: Any) -> None:
    promise: Promise[Any] = Promise()
    rig = make(lambda *_: promise)
    with DirectPeer(rig.path) as peer:
        peer.post("hello")
        peer.post("ping", 2)
        rig.run(lambda: rig.dispatcher._waiting)
        promise.resolve(Answer(PONG, (bytes(20_000_000),)))
        rig.run(lambda: any(each.writing for each in rig.server._peers.values()))
    rig.run(lambda: rig.reasons)
    assert rig.reasons == ["it closed its connection"]
    assert not rig.clock.watched_for_room


def test_what_is_no_message_is_answered_and_hung_up_on(make: Any) -> None:
    rig = make()
    for begin in (b"GET / HTTP/1.1\r\n\r\n", PREAMBLE + b"\xff" * 16):
        with DirectPeer(rig.path, begin) as stranger:
            answer = rig.answer(stranger)
            assert answer is not None
            assert answer["id"] is None
            assert answer["error"]["code"] in ("malformed-message", "message-too-large")
            assert rig.answer(stranger) is None
    assert len(rig.server) == 0


def test_a_message_that_is_too_large_is_answered_by_its_id_and_the_next_is_the_next(make: Any) -> None:
    rig = make()
    with DirectPeer(rig.path) as peer:
        peer.socket.setblocking(False)
        data = request("ping", "large", (bytes(2 << 20),)) + request("ping", "next")
        answers: list[dict[str, Any]] = []
        while len(answers) < 2:
            if data:
                with contextlib.suppress(BlockingIOError):
                    data = data[peer.socket.send(data) :]
            rig.clock.look(0.01)
            rig.clock.turn(0.01)
            if arrived(peer):
                answers.append(peer.receive()[0])
            peer.socket.setblocking(False)
        assert [answer["id"] for answer in answers] == ["large", "next"]
        assert answers[0]["error"]["code"] == "message-too-large"
        assert "result" in answers[1]


def test_a_descriptor_that_is_passed_along_is_refused_and_not_kept(make: Any) -> None:
    rig = make()
    head = request("ping", 1)
    size, count, _, _ = struct.unpack_from("<QIHH", head)
    with DirectPeer(rig.path) as peer:
        before = len(os.listdir("/proc/self/fd"))
        reader, writer = os.pipe()
        socket.send_fds(peer.socket, [struct.pack("<QIHH", size, count, 1, 0) + head[16:]], [writer])
        os.close(writer)
        assert rig.answer(peer)["error"]["code"] == "malformed-message"
        assert os.read(reader, 1) == b"", "nobody has its other end any more"
        os.close(reader)
        assert len(os.listdir("/proc/self/fd")) == before + 1
        peer.post("ping", 2)
        assert rig.answer(peer)["id"] == 2


def test_no_more_connections_than_may_be_are_accepted_and_the_others_are_told(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ANONYMOUS", 0)
    rig = make()
    peers = [DirectPeer(rig.path) for _ in range(4)]
    answer = rig.answer(peers[3])
    assert answer is not None
    assert answer["error"]["code"] == "too-many-sessions"
    assert rig.answer(peers[3]) is None
    peers[0].post("ping")
    assert rig.answer(peers[0])["id"] == 1
    for peer in peers:
        peer.socket.close()
    rig.run(lambda: not len(rig.server))


def test_when_no_descriptor_is_left_it_accepts_again_later(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make()

    class Full:
        def __init__(self, listening: socket.socket) -> None:
            self.fileno = listening.fileno

        def accept(self) -> None:
            raise OSError(24, "too many open files")

    usual = rig.server._listening
    monkeypatch.setattr(rig.server, "_listening", Full(usual))
    with DirectPeer(rig.path) as peer:
        peer.post("ping")
        rig.clock.look()
        assert usual.fileno() not in rig.clock.watched, "it would be told of the same again and again"
        monkeypatch.setattr(rig.server, "_listening", usual)
        assert rig.answer(peer)["id"] == 1


def test_what_was_answered_leaves_before_the_end(make: Any) -> None:
    promise: Promise[Any] = Promise()
    rig = make(lambda *_: promise)
    with DirectPeer(rig.path) as peer:
        peer.post("ping")
        rig.run(lambda: rig.dispatcher._waiting)
        promise.resolve(Answer(PONG, (bytes(100_000),)))
        rig.server.close()
        assert peer.receive() is not None
        assert peer.receive() is None


def test_a_bug_while_answering_does_not_hold_up_what_came_after(make: Any) -> None:
    rig = make(lambda *_: Pong(time=0.0, pid=1, version=object()))  # type: ignore[arg-type]
    broken = ["the log is full"]

    def on_bug(what: str, _trace: str) -> None:
        rig.bugs.append(what)
        if broken:
            raise OSError(broken.pop())

    rig.dispatcher._on_bug = on_bug
    with DirectPeer(rig.path) as peer:
        peer.send(b"".join(request("ping", number) for number in range(3)) + request("hello", "last"))
        raised: list[OSError] = []
        while not arrived(peer):
            try:
                rig.clock.look(0.01)
                rig.clock.turn(0.01)
            except OSError as why:  # in the daemon, the loop would log it
                raised.append(why)
        assert len(raised) == 1
        answers = [rig.answer(peer) for _ in range(3)]
        assert [answer["id"] for answer in answers] == [1, 2, "last"]
        assert answers[0]["error"]["code"] == "internal-error"
