"""``start`` of a burner, from the request to its reply."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stoker.errors import InvalidParams, NameTaken, StartFailed
from stoker.protocol.methods import METHODS
from stoker.protocol.requests import StartReply
from stoker.protocol.typed import decode
from stokerd.control.caller import Caller, Session
from stokerd.control.handlers.burners import HANDLERS


@pytest.fixture
def start(burners):
    """Hand in the parameters of a ``start`` as they come over the wire."""
    parts = SimpleNamespace(burners=burners, pools={"crunch"}, processes={"web"})

    def start(**params):
        request = decode({"kind": "burner"} | params, METHODS["start"], what="start")
        return HANDLERS[type(request)](parts, Caller(Session("s1")), request)

    return start


def test_the_reply_comes_when_the_load_is_observed_and_names_the_processes(start, forker) -> None:
    reply = start(name="heat", workers=2, load=50, seconds=30.0, nice=5)
    assert not reply.settled
    forker.tick()
    assert reply.value() == StartReply(kind="burner", name="heat", pids=(100, 101))
    assert forker.children[0].spec.nice == 5


def test_a_start_that_fails_is_answered_with_its_error(start, forker) -> None:
    reply = start(name="heat", load=50)
    forker.children[0].die(1)
    assert isinstance(reply.error, StartFailed)


@pytest.mark.parametrize("name", ["crunch", "web"])
def test_a_name_of_a_pool_or_a_process_is_taken(start, name: str) -> None:
    with pytest.raises(NameTaken, match=name):
        start(name=name, load=50)


def test_a_wrong_parameter_is_refused_in_the_call(start) -> None:
    with pytest.raises(InvalidParams, match="core 4096"):
        start(name="heat", load=50, cpus=[4096])


def test_a_caller_who_left_does_not_stop_the_burner(start, burners, forker) -> None:
    reply = start(name="heat", load=50)
    reply.abandon()
    forker.tick()
    assert "heat" in burners
