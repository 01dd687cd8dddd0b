"""The protocol's document: complete, consistent and JSON."""

from __future__ import annotations

import json
import re

import pytest

from stoker.errors import codes
from stoker.protocol.document import document, members
from stoker.protocol.events import all_events
from stoker.protocol.methods import METHODS


@pytest.fixture(scope="module")
def told():
    return json.loads(json.dumps(document(), allow_nan=False))


def method(told, name):
    return next(entry for entry in told["methods"] if entry["name"] == name)


def test_every_method_is_there_once_with_words_parameters_and_result(told):
    assert sorted(entry["name"] for entry in told["methods"]) == sorted(METHODS)
    for entry in told["methods"]:
        assert entry["summary"], entry["name"]
        assert entry["result"]["schema"], entry["name"]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_every_field_of_its_struct_as_a_parameter(told, name):
    fields = {field for struct in members(METHODS[name]) for field in struct.__struct_encode_fields__}
    known = {parameter["name"] for parameter in method(told, name)["params"]}
    assert fields <= known
    assert known - fields <= {"kind"}


def test_start_has_each_of_its_kinds(told):
    kinds = {str(struct.__struct_config__.tag) for struct in members(METHODS["start"])}
    assert set(method(told, "start")["params"][0]["schema"]["enum"]) == kinds == {"burner", "process", "pool", "known"}
    assert len(method(told, "start")["x-params"]["oneOf"]) == len(kinds)


def test_what_every_kind_requires_is_required_and_what_one_lacks_is_not(told):
    required = {parameter["name"] for parameter in method(told, "start")["params"] if parameter["required"]}
    assert required == {"kind", "name"}


def test_every_event_and_every_error_code_is_there(told):
    assert {event["topic"] for event in told["x-events"]} == set(all_events())
    assert {error["code"] for error in told["x-errors"]} == set(codes())


def test_every_reference_leads_somewhere(told):
    references = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(told)))
    assert references
    assert references <= set(told["components"]["schemas"])


def test_the_words_are_for_readers_and_hold_no_markup_of_ours(told):
    assert ":class:" not in json.dumps([entry["summary"] for entry in told["methods"]])
    words = {parameter["name"]: parameter.get("description", "") for parameter in method(told, "submit")["params"]}
    assert words["jobs"].startswith("what to run")


def test_the_verb_prints_the_document_without_a_daemon(stoker, told, monkeypatch):
    monkeypatch.setenv("STOKER_SOCKET", "/nowhere/at/all.sock")
    code, out, err = stoker("api")
    assert (code, err, json.loads(out)) == (0, "", told)
    assert stoker("api", "--json")[1].count("\n") == 1
