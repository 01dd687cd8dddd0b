"""The ROUTER socket with real peers, and a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from tests.clocks import HandClock
from tests.peers import Peer

from stoker.protocol.events import SessionClosed
from stoker.protocol.requests import Hello, Ping, Pong
from stoker.protocol.roles import Role
from stokerd.bus import Bus
from stokerd.control import server as module
from stokerd.control.caller import Answer, Caller, Session
from stokerd.control.dispatch import Dispatcher
from stokerd.control.server import Server
from stokerd.control.sessions import Sessions
from stokerd.promise import Promise

PONG = Pong(time=0.0, pid=1, version="x")


class Rig:
    """A server whose ``ping`` does what the test says; ``hello`` opens a session."""

    def __init__(self, url: str, ping: Callable[..., Any]) -> None:
        self.clock = HandClock()
        self.reasons: list[str] = []
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        bus = Bus(self.clock.time)
        bus.listen(lambda _seq, _time, event: self.note(event))
        self.sessions = Sessions(
            limit=10, role_of=lambda _uid: Role.ADMIN, clock=self.clock, bus=bus, on_closed=self.gone
        )
        self.bugs: list[str] = []
        self.dispatcher = Dispatcher(
            {Ping: ping, Hello: self.hello},
            None,
            head_bytes=1 << 20,
            frames=4,
            message_bytes=1 << 20,
            on_bug=lambda what, _trace: self.bugs.append(what),
        )
        self.touched = 0
        self.server = Server(self.context, self.clock, largest_frame=4 << 20)
        self.server.socket.bind(url)
        self.server.serve(self.sessions, self.dispatcher, self.touch)

    def note(self, event: object) -> None:
        if isinstance(event, SessionClosed):
            self.reasons.append(event.reason)

    def gone(self, session: Session) -> None:
        self.dispatcher.session_closed(session)

    def touch(self) -> None:
        self.touched += 1

    def hello(self, _parts: Any, caller: Caller, request: Hello) -> Pong:
        self.sessions.open(caller.session, request)
        return PONG

    def run(self, done: Callable[[], Any], turns: int = 3000) -> None:
        """Turn the clock, and look at what comes, until it is done."""
        for _ in range(turns):
            if done():
                return
            self.clock.look(0.01)
            self.clock.turn(0.02)
        pytest.fail("waited in vain")

    def close(self) -> None:
        self.sessions.close_all()
        self.server.close()
        self.server.close()
        self.context.destroy(linger=0)


@pytest.fixture
def make(short_path: Path) -> Iterator[Callable[..., tuple[Rig, str]]]:
    rigs: list[Rig] = []

    def make(ping: Callable[..., Any] = lambda *_: PONG) -> tuple[Rig, str]:
        url = f"ipc://{short_path}/s.sock"
        rigs.append(Rig(url, ping))
        return rigs[-1], url

    yield make
    for rig in rigs:
        rig.close()


def arrived(peer: Peer) -> bool:
    return bool(peer.socket.poll(0))


def test_more_messages_than_one_turn_takes_are_all_answered(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN", 3)
    rig, url = make()
    with Peer(url) as peer:
        for number in range(50):
            peer.post("ping", number)
        got: list[int] = []

        def all_there() -> bool:
            while arrived(peer):
                got.append(peer.receive()[0]["id"])
            return len(got) == 50

        rig.run(all_there)
        assert got == list(range(50))
        assert rig.touched


def test_answers_that_a_peer_does_not_read_are_held_and_come_in_order(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HIGH_WATER", 2)
    rig, url = make(lambda *_: Answer(PONG, (bytes(200_000),)))
    with Peer(url, options={zmq.RCVHWM: 1, zmq.RCVBUF: 4096}) as deaf, Peer(url) as other:
        for number in range(100):
            deaf.post("ping", number)
        rig.run(lambda: rig.server._held)
        other.post("ping", "other")
        rig.run(lambda: arrived(other))
        got: list[int] = []

        def all_there() -> bool:
            while arrived(deaf):
                got.append(deaf.receive()[0]["id"])
            return len(got) == 100

        rig.run(all_there)
        assert got == list(range(100))
        rig.run(lambda: not rig.server._held)
        assert not rig.server._held_bytes
        deaf.post("ping", "again")
        rig.run(lambda: arrived(deaf))


def test_a_peer_that_reads_nothing_is_given_up_when_too_much_is_held_for_it(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HIGH_WATER", 2)
    monkeypatch.setattr(module, "MAX_HELD", 1_000_000)
    rig, url = make(lambda *_: Answer(PONG, (bytes(200_000),)))
    with Peer(url, options={zmq.RCVHWM: 1, zmq.RCVBUF: 4096}) as deaf, Peer(url) as other:
        deaf.post("hello")
        for number in range(100):
            deaf.post("ping", number)
        rig.run(lambda: rig.reasons)
        assert rig.reasons == ["it does not read its answers"]
        assert sum(rig.server._held_bytes.values()) <= 1_000_000
        other.post("ping", "other")
        rig.run(lambda: arrived(other))


def test_an_answer_to_somebody_who_is_gone_closes_the_session(make: Any) -> None:
    promise: Promise[Pong] = Promise()
    rig, url = make(lambda *_: promise)
    with Peer(url) as peer:
        peer.post("hello")
        peer.post("ping")
        rig.run(lambda: rig.dispatcher._waiting)
        (gone,) = rig.sessions._by_peer
    rig.run(lambda: rig.server.send(gone, [b"", b"to nobody"]) or rig.reasons)
    assert rig.reasons == ["it closed its connection"]
    assert promise.settled, "what it had waited for is abandoned"
    assert not rig.bugs


def test_a_bug_while_answering_does_not_hold_up_what_came_after(make: Any) -> None:
    rig, url = make(lambda *_: Pong(time=0.0, pid=1, version=object()))  # type: ignore[arg-type]
    broken = ["the log is full"]

    def on_bug(what: str, _trace: str) -> None:
        rig.bugs.append(what)
        if broken:
            raise OSError(broken.pop())

    rig.dispatcher._on_bug = on_bug
    with Peer(url) as peer:
        for number in range(3):
            peer.post("ping", number)
        peer.post("hello", "last")
        raised: list[OSError] = []

        def look(_patience: float, look: Any = rig.clock.look) -> None:
            try:
                look(0.01)
            except OSError as why:  # in the daemon, the loop would log it
                raised.append(why)

        rig.clock.look = look
        rig.run(lambda: arrived(peer))
        assert len(raised) == 1
        answers = [peer.receive()[0] for _ in range(3)]
        assert [answer["id"] for answer in answers] == [1, 2, "last"]
        assert answers[0]["error"]["code"] == "internal-error"
