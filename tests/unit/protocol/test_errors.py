"""An error is the same on both sides of the wire."""

from __future__ import annotations

import inspect
import pickle
import re
from typing import Any

import pytest

from stoker import errors
from stoker.errors import InvalidParams, QueueFull, StokerError, from_wire
from stoker.protocol import codec, typed
from stoker.protocol.models import ErrorInfo

KINDS: list[type[StokerError]] = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StokerError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_comes_out_as_it_went_in(kind: type[StokerError]) -> None:
    sent = kind("it broke", hint="mend it", data={"id": 7, "raw": b"\0"})
    got = from_wire(codec.unpack(codec.pack(sent.to_wire())))
    assert type(got) is kind
    assert (got.message, got.hint, got.data) == (sent.message, sent.hint, sent.data)
    assert str(got) == "it broke (mend it)"
    assert typed.decode(sent.to_wire(), ErrorInfo, what="error").retryable is kind.retryable


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_can_be_pickled(kind: type[StokerError]) -> None:
    sent = kind("it broke", hint="mend it", data={"id": 7})
    got = pickle.loads(pickle.dumps(sent))
    assert type(got) is kind
    assert (got.message, got.hint, got.data, got.args) == (sent.message, sent.hint, sent.data, sent.args)


def test_codes_are_unique_words() -> None:
    assert len(errors.codes()) == len(KINDS)
    assert set(errors.codes().values()) == set(KINDS)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in errors.codes())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_says_what_it_is_and_has_an_exit_code(kind: type[StokerError]) -> None:
    assert inspect.getdoc(kind)
    assert kind.exit_code in {1, 2, 4, 69, 73, 74, 75, 77, 78}


def test_a_code_from_the_future_is_kept() -> None:
    error = from_wire({"code": "sun-exploded", "message": "boom", "data": {"at": 1}})
    assert type(error) is StokerError
    assert error.wire_code == "sun-exploded"
    assert error.to_wire()["code"] == "sun-exploded"
    assert from_wire(error.to_wire()).wire_code == "sun-exploded"
    assert pickle.loads(pickle.dumps(error)).wire_code == "sun-exploded"


@pytest.mark.parametrize(
    "odd", [{}, {"code": None}, {"code": "timeout"}, {"code": 5, "message": 6, "hint": [], "data": "x"}, {"data": None}]
)
def test_an_odd_error_map_is_still_an_error(odd: dict[str, Any]) -> None:
    assert isinstance(from_wire(odd), StokerError)
    assert from_wire(odd).to_wire()["message"]


def test_what_is_empty_does_not_travel() -> None:
    assert InvalidParams("no").to_wire() == {"code": "invalid-params", "message": "no"}
    assert QueueFull("full").to_wire() == {"code": "queue-full", "message": "full", "retryable": True}
