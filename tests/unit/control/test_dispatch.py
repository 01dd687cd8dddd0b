"""One answer to every message, whatever the handler does. No sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from stoker.errors import NotFound, ShuttingDown, StokerError
from stoker.protocol import codec
from stoker.protocol.codec import Frame
from stoker.protocol.requests import Hello, Logs, LogsReply, Ping, Pong, Submit
from stoker.protocol.roles import Role
from stokerd.control.caller import Answer, Caller, Part, Session, Stream
from stokerd.control.dispatch import Dispatcher
from stokerd.promise import Promise

PONG = Pong(time=1.0, pid=2, version="3")


class Rig:
    """A dispatcher whose ``ping`` does what the test says."""

    def __init__(self, ping: Callable[[Any, Caller, Any], Any] = lambda *_: PONG, **limits: int) -> None:
        self.bugs: list[tuple[str, str]] = []
        self.sent: list[list[Frame]] = []
        self.session = Session(id="s1", role=Role.ADMIN)
        self.dispatcher = Dispatcher(
            {Ping: ping, Logs: ping},
            "the parts",
            on_bug=lambda what, trace: self.bugs.append((what, trace)),
            **({"head_bytes": 1000, "frames": 3, "message_bytes": 2000} | limits),
        )

    def send(self, frames: Sequence[Frame]) -> None:
        self.sent.append(list(frames))

    def take(self, *frames: Frame, session: Session | None = None) -> None:
        self.dispatcher.take(session or self.session, list(frames), self.send)

    def ask(self, number: int | str = 7, method: str = "ping", payload: Sequence[Frame] = (), **params: Any) -> None:
        self.take(*codec.encode_request(number, method, params, payload))

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [codec.decode_head(frames)[0] for frames in self.sent]

    @property
    def answer(self) -> dict[str, Any]:
        (only,) = self.answers
        return only

    @property
    def code(self) -> str:
        code: str = self.answer["error"]["code"]
        return code


def raising(error: Exception) -> Callable[..., Any]:
    def handler(*_: Any) -> Any:
        raise error

    return handler


@pytest.mark.parametrize("number", [0, -5, 2**64 - 1, "", "an id"])
def test_a_reply_carries_the_id_of_its_request(number: int | str) -> None:
    rig = Rig()
    rig.ask(number)
    assert rig.answer == {"id": number, "result": {"time": 1.0, "pid": 2, "version": "3"}}


def test_a_handler_gets_the_parts_the_caller_and_the_request() -> None:
    seen: list[Any] = []

    def handler(parts: Any, caller: Caller, request: Any) -> Pong:
        seen.extend((parts, caller.session, list(caller.payload), request))
        return PONG

    rig = Rig(handler)
    rig.ask(payload=[b"a", b"b"])
    assert seen == ["the parts", rig.session, [b"a", b"b"], Ping()]


def test_payload_frames_of_an_answer_follow_its_head() -> None:
    reply = LogsReply(id=1, next_out=0, next_err=0, dropped=0, ended=True)
    rig = Rig(lambda *_: Answer(reply, (b"\xc1", memoryview(b"out"))))
    rig.ask(method="logs", id=1)
    assert rig.sent[0][2:] == [b"\xc1", memoryview(b"out")]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([], "malformed-message"),
        ([b""], "malformed-message"),
        ([b"", b""], "malformed-message"),
        ([b"", b"\xc1"], "malformed-message"),
        ([b"", codec.pack([])], "malformed-message"),
        ([b"x", codec.pack({"id": 1, "method": "ping"})], "malformed-message"),
        ([b"", codec.pack({"method": "ping"})], "malformed-message"),
        ([b"", codec.pack({"id": 1, "v": 2, "method": "ping"})], "unsupported-version"),
        ([b"", codec.pack({"id": 1, "method": "pong"})], "unknown-method"),
        ([b"", codec.pack({"id": 1, "method": "ping", "params": {"x": 1}})], "invalid-params"),
        ([b"", codec.pack({"id": 1, "method": "ping"}), *[b""] * 4], "malformed-message"),
        ([b"", codec.pack({"id": 1, "method": "ping"}), *[b""] * 98], "malformed-message"),
        ([b"", codec.pack({"id": 1, "method": "ping", "params": "x" * 1000})], "message-too-large"),
        ([b"", codec.pack({"id": 1, "method": "ping"}), bytes(2000)], "message-too-large"),
    ],
)
def test_what_cannot_be_acted_on_gets_one_answer_that_says_why(frames: list[bytes], code: str) -> None:
    rig = Rig()
    rig.take(*frames)
    assert rig.code == code
    assert rig.answer["error"]["message"]
    assert rig.answer["error"]["hint"]
    assert not rig.bugs


@pytest.mark.parametrize("payload", [[bytes(2000)], [b""] * 50])
def test_a_message_that_is_too_large_as_a_whole_is_refused_by_its_id(payload: list[bytes]) -> None:
    rig = Rig()
    rig.ask("mine", payload=payload)
    assert rig.answer["id"] == "mine"


def test_the_largest_message_that_is_allowed_is_answered() -> None:
    head = codec.encode_request(1, "ping", {})
    rig = Rig(head_bytes=len(head[1]), message_bytes=len(head[1]) + 30, frames=3)
    rig.take(*head, bytes(10), memoryview(bytes(10)), bytearray(10))
    assert "result" in rig.answer
    rig.sent.clear()
    rig.take(*head, bytes(10), memoryview(bytes(11)), bytearray(10))
    assert rig.code == "message-too-large"


def test_what_a_handler_refuses_is_the_answer() -> None:
    rig = Rig(raising(NotFound("no such thing", hint="look", data={"name": "x"})))
    rig.ask()
    assert rig.answer["error"] == {
        "code": "not-found",
        "message": "no such thing",
        "hint": "look",
        "data": {"name": "x"},
    }
    assert not rig.bugs


@pytest.mark.parametrize("bug", [ZeroDivisionError("oops"), KeyError(), RecursionError(), MemoryError("none left")])
def test_a_bug_in_a_handler_is_told_and_answered(bug: Exception) -> None:
    rig = Rig(raising(bug))
    rig.ask()
    assert rig.code == "internal-error"
    ((what, trace),) = rig.bugs
    assert type(bug).__name__ in what
    assert "Traceback" in trace
    rig.ask()
    assert len(rig.sent) == 2


def test_a_method_without_a_handler_is_a_bug_that_is_answered() -> None:
    rig = Rig()
    rig.ask(method="status")
    assert rig.code == "internal-error"
    assert rig.bugs


class Odd(msgspec.Struct):
    value: Any


@pytest.mark.parametrize("value", [object(), 2**70, "\ud800", 1j])
@pytest.mark.parametrize("late", [False, True])
def test_a_reply_that_cannot_be_packed_is_an_error_and_not_silence(value: Any, late: bool) -> None:
    promise: Promise[Any] = Promise()
    rig = Rig(lambda *_: promise if late else Odd(value))
    rig.ask()
    promise.resolve(Odd(value))
    assert rig.answer["id"] == 7
    assert rig.code in {"cannot-pack", "internal-error"}


def test_an_error_whose_text_is_not_utf8_is_still_told() -> None:
    rig = Rig(raising(NotFound("there is no \udcff here", hint="\udcff", data={"path": "\udcff"})))
    rig.ask()
    assert rig.code == "not-found"
    assert rig.answer["error"]["message"] == r"there is no \udcff here"


# --- later


def test_a_promise_is_answered_when_it_is_settled() -> None:
    promise: Promise[Pong] = Promise()
    rig = Rig(lambda *_: promise)
    rig.ask()
    assert not rig.sent
    assert rig.session.due == 1
    promise.resolve(PONG)
    assert rig.answer["result"]["pid"] == 2
    assert rig.session.due == 0


def test_a_promise_that_is_settled_already_is_answered_at_once() -> None:
    promise: Promise[Pong] = Promise()
    promise.resolve(PONG)
    rig = Rig(lambda *_: promise)
    rig.ask()
    assert "result" in rig.answer
    assert rig.session.due == 0


def test_a_rejected_promise_is_an_error() -> None:
    promise: Promise[Pong] = Promise()
    rig = Rig(lambda *_: promise)
    rig.ask()
    promise.reject(NotFound("gone"))
    assert rig.code == "not-found"


def test_a_promise_broken_by_a_bug_is_answered_and_told_with_its_traceback() -> None:
    promise: Promise[Pong] = Promise()
    rig = Rig(lambda *_: promise)
    rig.ask()
    promise.settle_with(raising(ZeroDivisionError("oops")))
    assert rig.code == "internal-error"
    assert "ZeroDivisionError" in rig.bugs[0][0]
    assert "Traceback" in rig.bugs[0][1]


def test_a_promise_may_be_of_a_promise_and_of_a_stream() -> None:
    outer: Promise[Any] = Promise()
    inner: Promise[Any] = Promise()
    rig = Rig(lambda *_: outer)
    rig.ask()
    outer.resolve(inner)
    assert not rig.sent
    inner.resolve(Stream(lambda part: part({"n": 1}, (), False)))
    assert rig.answer == {"id": 7, "result": {"n": 1}}


def test_answers_that_wait_do_not_hold_up_others() -> None:
    promises: list[Promise[Pong]] = []

    def handler(*_: Any) -> Promise[Pong]:
        promises.append(Promise())
        return promises[-1]

    rig = Rig(handler)
    for number in range(3):
        rig.ask(number)
    for at in (1, 2, 0):
        promises[at].resolve(PONG)
    assert [answer["id"] for answer in rig.answers] == [1, 2, 0]


def test_a_stream_is_answered_in_parts_and_only_the_last_has_no_more() -> None:
    kept: list[Part] = []
    rig = Rig(lambda *_: Stream(kept.append))
    rig.ask("x")
    kept[0]({"n": 1}, (b"one",), True)
    kept[0]({"n": 2}, (), True)
    kept[0]({"n": 3}, (b"three",), False)
    assert [answer.get("more", False) for answer in rig.answers] == [True, True, False]
    assert all(answer["id"] == "x" for answer in rig.answers)
    assert rig.sent[0][2:] == [b"one"]


def test_when_a_session_closes_what_it_waited_for_is_abandoned_and_nothing_else() -> None:
    abandoned: list[str] = []
    mine: Promise[Pong] = Promise(lambda: abandoned.append("mine"))
    others: Promise[Pong] = Promise(lambda: abandoned.append("others"))
    queue = [mine, others]
    rig = Rig(lambda *_: queue.pop(0))
    other = Session(id="s2", role=Role.ADMIN)
    rig.ask()
    rig.take(*codec.encode_request(8, "ping", {}), session=other)
    rig.dispatcher.session_closed(rig.session)
    rig.dispatcher.session_closed(rig.session)
    rig.dispatcher.session_closed(Session(id="never heard of"))
    assert abandoned == ["mine"]
    mine.resolve(PONG)
    assert not rig.sent
    others.resolve(PONG)
    assert rig.answer["id"] == 8


def test_refuse_all_answers_whoever_still_waits() -> None:
    rig = Rig(lambda *_: Promise())
    for number in range(3):
        rig.take(*codec.encode_request(number, "ping", {}), session=Session(id=f"s{number}", role=Role.ADMIN))
    rig.ask(3)
    rig.ask(4)
    rig.dispatcher.refuse_all(ShuttingDown("bye"))
    assert sorted(answer["id"] for answer in rig.answers) == [0, 1, 2, 3, 4]
    assert {answer["error"]["code"] for answer in rig.answers} == {"shutting-down"}
    rig.dispatcher.refuse_all(StokerError("again"))
    assert len(rig.sent) == 5


def test_nothing_is_remembered_of_a_session_whose_answers_have_left() -> None:
    promises: list[Promise[Pong]] = []

    def handler(*_: Any) -> Promise[Pong]:
        promises.append(Promise())
        return promises[-1]

    rig = Rig(handler)
    for number in range(100):
        rig.take(*codec.encode_request(number, "ping", {}), session=Session(id=f"s{number}", role=Role.ADMIN))
        promises[-1].resolve(PONG)
    assert not rig.dispatcher._waiting


def test_handlers_are_told_apart_by_the_type_of_the_request() -> None:
    assert {Hello.method, Submit.method, Ping.method} == {"hello", "submit", "ping"}
    rig = Rig(lambda _parts, _caller, request: Pong(time=0, pid=1, version=type(request).__name__))
    rig.ask(method="logs", id=1)
    rig.ask(method="ping")
    assert [answer["result"]["version"] for answer in rig.answers] == ["Logs", "Ping"]
