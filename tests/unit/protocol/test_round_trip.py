"""Whatever can be said, is understood as it was said."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.protocol_values import instances, same

from stoker.protocol import codec, events, typed
from stoker.protocol.methods import METHODS
from stoker.protocol.models import Environment
from stoker.protocol.requests import Request

KINDS: list[type[Request[Any]]] = [
    kind for entry in METHODS.values() for kind in (get_args(entry) or (entry,)) if isinstance(kind, type)
]
REPLIES = sorted({kind.reply for kind in KINDS}, key=lambda kind: kind.__name__)
IDS = st.integers(-(2**63), 2**64 - 1) | st.text(max_size=128)
FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_request_comes_out_as_it_went_in(kind: type[Request[Any]]) -> None:
    @FEW
    @given(instances(kind), IDS, st.lists(st.binary(max_size=20), max_size=3))
    def check(request: Request[Any], number: int | str, payload: list[bytes]) -> None:
        frames = codec.encode_request(number, kind.method, typed.encode_params(request), payload)
        head, rest = codec.decode_head([bytes(frame) for frame in frames])
        assert typed.request_id(head) == number
        assert same(typed.decode_request(head), request)
        assert list(rest) == payload

    check()


@pytest.mark.parametrize("kind", REPLIES, ids=lambda kind: kind.__name__)
def test_a_reply_comes_out_as_it_went_in(kind: type[msgspec.Struct]) -> None:
    @FEW
    @given(instances(kind), IDS, st.booleans())
    def check(reply: msgspec.Struct, number: int | str, more: bool) -> None:
        head, _ = codec.decode_head(codec.encode_reply(number, typed.to_map(reply), more=more))
        assert head["id"] == number
        assert head.get("more", False) is more
        assert same(typed.decode(head["result"], kind, what="reply"), reply)

    check()


@pytest.mark.parametrize("kind", events.all_events().values(), ids=lambda kind: kind.topic)
def test_an_event_comes_out_as_it_went_in(kind: type[events.Event]) -> None:
    @FEW
    @given(instances(kind))
    def check(event: events.Event) -> None:
        assert same(msgspec.convert(codec.unpack(codec.pack(typed.to_map(event))), kind), event)

    check()


@pytest.mark.parametrize(("word", "entry"), METHODS.items())
def test_every_method_has_its_word_its_reply_and_its_description(word: str, entry: Any) -> None:
    for kind in get_args(entry) or (entry,):
        assert kind.method == word
        assert issubclass(kind.reply, msgspec.Struct)
        assert inspect.getdoc(kind)
        assert inspect.getdoc(kind.reply)
        assert kind.__struct_config__.forbid_unknown_fields, "a typo in a parameter must not pass"
        assert kind.__struct_config__.frozen


def test_every_request_type_is_in_the_table() -> None:
    def below(kind: type[Any]) -> list[type[Any]]:
        return [leaf for child in kind.__subclasses__() for leaf in (child, *below(child))]

    with_method = {kind for kind in below(Request) if "method" in kind.__dict__}
    assert with_method == set(KINDS)


def test_topics_are_unique_and_every_event_has_a_description() -> None:
    kinds = events.Event.__subclasses__()
    assert len(events.all_events()) == len(kinds)
    assert all(inspect.getdoc(kind) for kind in kinds)


@FEW
@given(instances(Environment), instances(Environment))
def test_the_key_of_an_environment_is_equal_for_equal_ones_only(one: Environment, other: Environment) -> None:
    assert (one.key == other.key) is (one == other)
    again = Environment(
        executable=one.executable, cwd=one.cwd, path=one.path, env=dict(reversed(list(one.env.items())))
    )
    assert again.key == one.key


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_short_way_finds_the_same_request_or_leaves_it_to_the_long_one(kind: type[Request[Any]]) -> None:
    @FEW
    @given(instances(kind), IDS, st.booleans(), st.data())
    def check(request: Request[Any], number: int | str, quiet: bool, data: st.DataObject) -> None:
        whole = bytearray(codec.encode_request(number, kind.method, typed.encode_params(request), quiet=quiet)[1])
        if data.draw(st.booleans()):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        found = typed.quick_request(bytes(whole))
        if found is None:
            return
        head, _ = codec.decode_head([b"", bytes(whole)])
        assert same(typed.decode_request(head), found[1])
        assert (typed.request_id(head), head.get("quiet", False)) == (found[0], found[2])

    check()


@pytest.mark.parametrize("kind", REPLIES, ids=lambda kind: kind.__name__)
def test_a_reply_is_encoded_alike_on_both_ways(kind: type[msgspec.Struct]) -> None:
    @FEW
    @given(instances(kind), IDS)
    def check(reply: msgspec.Struct, number: int | str) -> None:
        short, long = typed.encode_result(number, reply), codec.encode_reply(number, typed.to_map(reply))
        assert same(codec.decode_head(short)[0], codec.decode_head(long)[0])

    check()
