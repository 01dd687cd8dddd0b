from __future__ import annotations

import pytest

from stoker.errors import CannotPack, DaemonLost, DeadlineExceeded, MalformedMessage, QueueFull
from stoker.protocol.codec import encode_error, encode_reply, pack, unpack
from stoker.session import Exchange, Session


class Parts(Exchange):
    def __init__(self) -> None:
        super().__init__()
        self.parts = []

    def part(self, result, payload):
        self.parts.append((result, list(payload)))


def asked(session, completion=None, **extra):
    completion = completion or Exchange()
    number, frames = session.request("ping", {}, (), completion, **extra)
    return number, frames, completion


def test_a_request_leaves_as_delimiter_head_and_payload():
    number, frames = Session().request("upload", {"name": "f"}, (b"code",), Exchange())
    assert frames[0] == b""
    assert unpack(frames[1]) == {"v": 1, "id": number, "method": "upload", "params": {"name": "f"}}
    assert frames[2:] == [b"code"]


def test_replies_find_their_request_in_any_order():
    session = Session()
    first, _, one = asked(session)
    second, _, two = asked(session)
    session.receive(encode_reply(second, {"n": 2}))
    session.receive(encode_reply(first, {"n": 1}, (b"x",)))
    assert one.outcome() == ({"n": 1}, [b"x"])
    assert two.outcome()[0] == {"n": 2}
    assert session.outstanding == 0


def test_parts_come_before_the_end_and_keep_the_request_open():
    session = Session()
    number, _, parts = asked(session, Parts())
    session.receive(encode_reply(number, {"n": 1}, more=True))
    assert not parts.settled
    assert session.outstanding == 1
    session.receive(encode_reply(number, {"n": 2}))
    assert parts.parts == [({"n": 1}, [])]
    assert parts.outcome()[0] == {"n": 2}


def test_an_error_reply_is_raised_as_its_class():
    session = Session()
    number, _, exchange = asked(session)
    session.receive(encode_error(number, QueueFull("full", hint="wait").to_wire()))
    with pytest.raises(QueueFull, match="full"):
        exchange.outcome()


def test_an_error_without_an_id_leaves_nobody_waiting():
    session = Session()
    _, _, one = asked(session)
    _, _, two = asked(session)
    session.receive(encode_error(None, {"code": "message-too-large", "message": "too large"}))
    assert one.settled
    assert two.settled
    assert session.outstanding == 0


def test_a_reply_that_comes_twice_or_late_is_dropped():
    session = Session()
    number, _, exchange = asked(session)
    session.receive(encode_reply(number, {"n": 1}))
    session.receive(encode_reply(number, {"n": 2}))
    session.receive(encode_reply(999, {"n": 3}))
    assert exchange.outcome()[0] == {"n": 1}


def test_a_forgotten_request_is_not_told_of_its_reply():
    session = Session()
    number, _, exchange = asked(session)
    session.forget(number)
    session.receive(encode_reply(number, {}))
    assert not exchange.settled


@pytest.mark.parametrize(
    "frames", [[], [b""], [b"x", b"y"], [b"", b"\xc1"], [b"", pack([1])], [b"", pack({"id": 1, "result": 7})]]
)
def test_what_is_not_a_reply_is_malformed(frames):
    session = Session()
    asked(session)
    with pytest.raises(MalformedMessage):
        session.receive(frames)


def test_parameters_that_cannot_be_packed_leave_nothing_pending():
    session = Session()
    with pytest.raises(CannotPack):
        session.request("ping", {"x": object()}, (), Exchange())
    assert session.outstanding == 0


def test_only_requests_whose_deadline_has_come_expire():
    session = Session()
    _, _, early = asked(session, deadline=10.0)
    late, _, patient = asked(session, deadline=20.0)
    _, _, endless = asked(session)
    assert session.next_deadline == 10.0
    session.expire(9.9)
    assert not early.settled
    session.expire(10.0)
    with pytest.raises(DeadlineExceeded):
        early.outcome()
    assert not patient.settled
    session.receive(encode_reply(late, {}))
    assert session.next_deadline is None
    session.expire(1e9)
    assert not endless.settled


def test_loss_fails_everything_each_with_an_error_of_its_own():
    session = Session()
    exchanges = [asked(session)[2] for _ in range(3)]
    session.fail_all(lambda: DaemonLost("gone"))
    errors = [exchange.error for exchange in exchanges]
    assert all(isinstance(error, DaemonLost) for error in errors)
    assert len({id(error) for error in errors}) == 3
    assert session.outstanding == 0


def test_what_a_quiet_request_failed_of_is_told_to_whom_it_concerns():
    session = Session()
    told = []
    frames = session.tell("lock.release", {"id": "l"}, told.append)
    head = unpack(frames[1])
    assert head["quiet"] is True
    assert session.outstanding == 0
    session.receive(encode_error(head["id"], {"code": "queue-full", "message": "no"}))
    assert [type(error) for error in told] == [QueueFull]


def test_the_answer_to_a_later_request_means_that_a_quiet_one_went_well():
    session = Session()
    told = []
    number = unpack(session.tell("lock.release", {"id": "l"}, told.append)[1])["id"]
    later, _, exchange = asked(session)
    session.receive(encode_reply(later, {}))
    assert exchange.settled
    session.receive(encode_error(number, {"code": "queue-full", "message": "too late to be true"}))
    assert not told
    session.tell("lock.release", {"id": "l"}, told.append)
    session.fail_all(lambda: DaemonLost("gone"))
    assert not told, "what it wanted came true with the end of the session"


@pytest.mark.parametrize("number", [{}, [1], 1.5, b"1"])
def test_a_reply_whose_id_is_no_id_ends_the_conversation(number: object) -> None:
    with pytest.raises(MalformedMessage, match="an id of type"):
        Session().receive([b"", pack({"id": number, "result": {}})])
