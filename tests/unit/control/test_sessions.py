"""Who is connected, and how it is noticed that somebody is gone. Real pidfds of real processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clocks import HandClock

from stoker.errors import TooManySessions
from stoker.protocol.events import Event, SessionClosed, SessionOpened
from stoker.protocol.models import Environment
from stoker.protocol.requests import Hello
from stoker.protocol.roles import Role
from stokerd.bus import Bus
from stokerd.control.caller import Session
from stokerd.control.sessions import MAX_ANONYMOUS, Sessions

REMOTE = "192.0.2.1"


class Rig:
    """Sessions with a clock that is turned by hand."""

    def __init__(self, limit: int = 10) -> None:
        self.clock = HandClock()
        self.closed: list[Session] = []
        self.events: list[Event] = []
        bus = Bus(self.clock.time)
        bus.listen(lambda _seq, _time, event: self.events.append(event))
        self.sessions = Sessions(
            limit=limit, role_of=lambda _uid: Role.ADMIN, clock=self.clock, bus=bus, on_closed=self.closed.append
        )

    def hello(self, peer: bytes, address: str = REMOTE, **said: Any) -> Session:
        session = self.sessions.get(peer) or self.sessions.meet(peer, address)
        self.sessions.open(session, Hello(**said))
        return session

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, SessionClosed)]


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.sessions.close_all()
    assert not rig.clock.watched


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def local(pid: int) -> str:
    """The address of a peer on this machine, as libzmq gives it."""
    return f"localhost:{os.getuid()}:{os.getgid()}:{pid}"


def test_a_peer_is_met_once_and_known_afterwards(rig: Rig) -> None:
    assert rig.sessions.get(b"a") is None
    session = rig.sessions.meet(b"a", local(4711))
    assert rig.sessions.get(b"a") is session
    assert (session.pid, session.uid, session.anonymous) == (4711, os.getuid(), True)
    assert rig.sessions.meet(b"b", REMOTE).id != session.id
    assert len(rig.sessions) == 0
    assert not rig.events


@pytest.mark.parametrize("address", ["", REMOTE, "localhost:1:2", "localhost:1:2:x", "a:b:c:d:e", "localhost:-1:2:3"])
def test_a_peer_whose_address_tells_nothing_has_no_pid(rig: Rig, address: str) -> None:
    session = rig.sessions.meet(b"a", address)
    assert (session.pid, session.uid) == (None, None)


def test_hello_opens_a_session_with_what_it_says(rig: Rig) -> None:
    where = Environment(executable="/x", cwd="/")
    session = rig.hello(b"a", client="me 1.0", environment=where, on_disconnect="cancel")
    assert not session.anonymous
    assert (session.client, session.environment, session.on_disconnect) == ("me 1.0", where, "cancel")
    assert len(rig.sessions) == 1
    assert rig.events == [SessionOpened(session=session.id, client="me 1.0", pid=None, role="admin")]
    assert rig.sessions.peer_of(session) == b"a"


def test_a_second_hello_only_changes_what_it_says(rig: Rig) -> None:
    first = rig.hello(b"a", client="one")
    second = rig.hello(b"a", client="two")
    assert first is second
    assert first.client == "two"
    assert len(rig.sessions) == len(rig.events) == 1


def test_over_the_limit_a_hello_is_refused_and_the_peer_stays_anonymous() -> None:
    rig = Rig(limit=2)
    rig.hello(b"a")
    rig.hello(b"b")
    with pytest.raises(TooManySessions) as caught:
        rig.hello(b"c", client="late")
    assert caught.value.retryable
    assert caught.value.data == {"limit": 2}
    refused = rig.sessions.get(b"c")
    assert refused is not None
    assert refused.anonymous
    assert refused.client == ""
    rig.hello(b"a", client="still welcome")
    rig.sessions.close(b"a", "bye")
    assert rig.hello(b"c") is refused
    assert not refused.anonymous


def test_closing_tells_once_and_forgets(rig: Rig) -> None:
    session = rig.hello(b"a")
    rig.sessions.close(b"a", "it said bye")
    rig.sessions.close(b"a", "again")
    assert rig.closed == [session]
    assert rig.reasons == ["it said bye"]
    assert rig.sessions.get(b"a") is None
    assert rig.sessions.peer_of(session) is None


def test_an_anonymous_peer_that_is_gone_is_told_of_without_an_event(rig: Rig) -> None:
    session = rig.sessions.meet(b"a", REMOTE)
    rig.sessions.close(b"a", "it closed its connection")
    assert rig.closed == [session]
    assert not rig.events


def test_close_all_closes_all(rig: Rig) -> None:
    sessions = [rig.hello(bytes([n])) for n in range(5)]
    rig.sessions.close_all()
    assert rig.closed == sessions
    assert len(rig.sessions) == 0


# --- anonymous ones are forgotten


def test_the_anonymous_session_not_heard_from_for_longest_is_forgotten(rig: Rig) -> None:
    peers = [str(n).encode() for n in range(MAX_ANONYMOUS)]
    sessions = [rig.sessions.meet(peer, REMOTE) for peer in peers]
    rig.sessions.get(peers[0])
    rig.sessions.meet(b"one more", REMOTE)
    assert rig.sessions.get(peers[0]) is sessions[0]
    assert rig.sessions.get(peers[1]) is None
    assert rig.closed == [sessions[1]]


def test_one_that_waits_for_an_answer_is_not_forgotten(rig: Rig) -> None:
    waiting = rig.sessions.meet(b"waiting", REMOTE)
    waiting.due = 1
    for n in range(3 * MAX_ANONYMOUS):
        rig.sessions.meet(str(n).encode(), REMOTE)
    assert rig.sessions.get(b"waiting") is waiting
    assert waiting not in rig.closed
    assert len(rig.closed) >= 2 * MAX_ANONYMOUS - 2


def test_one_that_said_hello_is_never_forgotten_for_others(rig: Rig) -> None:
    session = rig.hello(b"a")
    for n in range(2 * MAX_ANONYMOUS):
        rig.sessions.meet(str(n).encode(), REMOTE)
    assert rig.sessions.get(b"a") is session


# --- local ones are watched


def test_the_end_of_a_clients_process_closes_its_session(rig: Rig, child: subprocess.Popen[bytes]) -> None:
    session = rig.hello(b"a", local(child.pid))
    assert len(rig.clock.watched) == 1
    assert not rig.clock.look(0)
    child.kill()
    assert rig.clock.look()
    assert rig.closed == [session]
    assert rig.reasons == ["its process has ended"]
    assert not rig.clock.watched


def test_closing_gives_its_descriptor_back(rig: Rig, child: subprocess.Popen[bytes]) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    for n in range(50):
        rig.hello(bytes([n]), local(child.pid))
        rig.sessions.close(bytes([n]), "bye")
    assert len(set(Path("/proc/self/fd").iterdir())) == len(before)


def test_a_process_that_has_ended_already_closes_its_session_in_the_next_turn(rig: Rig) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    session = rig.hello(b"a", local(ended.pid))
    assert not rig.closed
    rig.clock.turn()
    assert rig.closed == [session]
    assert [type(event) for event in rig.events] == [SessionOpened, SessionClosed]


def test_a_pid_that_means_nothing_here_is_not_watched(rig: Rig) -> None:
    rig.hello(b"a", "localhost:0:0:0")
    assert not rig.clock.watched
    rig.clock.turn(1e6)
    assert not rig.closed


# --- remote ones promise to be heard from


def test_a_remote_client_that_is_silent_is_closed(rig: Rig) -> None:
    session = rig.hello(b"a", heartbeat=5.0)
    rig.clock.turn(4.9)
    rig.sessions.get(b"a")
    rig.clock.turn(4.9)
    assert not rig.closed
    rig.clock.turn(0.2)
    assert rig.closed == [session]
    assert rig.reasons == ["it was not heard from"]


def test_a_closed_one_leaves_no_timer(rig: Rig) -> None:
    rig.hello(b"a", heartbeat=5.0)
    rig.sessions.get(b"a")
    rig.sessions.close(b"a", "bye")
    assert rig.clock.pending() == 0


def test_a_local_client_is_watched_and_needs_no_heartbeat(rig: Rig) -> None:
    rig.hello(b"a", local(os.getpid()), heartbeat=1.0)
    rig.clock.turn(100)
    assert not rig.closed
