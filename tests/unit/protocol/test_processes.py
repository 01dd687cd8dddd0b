"""How a process is kept: what no single type can tell."""

from __future__ import annotations

import resource
from typing import get_type_hints

import pytest

from stoker.errors import InvalidParams
from stoker.protocol import processes
from stoker.protocol.processes import Keeping, KeepingOptions, address, check, circle, in_order
from stoker.protocol.requests import StartProcess
from stokerd.config import KEPT_LIVE
from stokerd.config_tables import ProcessConfig
from stokerd.processes.settings import OF_A_RUN


def test_the_request_the_table_and_the_keyword_arguments_have_the_same_keys():
    keys = set(processes.KEYS)
    assert keys < set(StartProcess.__struct_fields__)
    assert keys < set(ProcessConfig.__struct_fields__)
    assert keys == set(get_type_hints(KeepingOptions))


def test_every_key_is_taken_on_while_it_runs_or_by_a_new_start():
    assert set(OF_A_RUN) | (KEPT_LIVE - {"autostart"}) == set(processes.KEYS)
    assert not set(OF_A_RUN) & KEPT_LIVE


def test_every_resource_limit_is_one_that_the_standard_library_knows():
    known = {name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_")}
    assert known - {"ofile"} == set(processes.RLIMITS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp:80", ("127.0.0.1", 80, "")),
        ("tcp:localhost:80", ("127.0.0.1", 80, "")),
        ("tcp:10.0.0.1:65535", ("10.0.0.1", 65535, "")),
        ("tcp:[::1]:80", ("::1", 80, "")),
        ("unix:/run/x.sock", ("", 0, "/run/x.sock")),
    ],
)
def test_an_address_is_read(text, expected):
    assert address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("80", "tcp:", "tcp:0", "tcp:65536", "tcp:http", "tcp:-1", "tcp:example.org:80", "tcp:²", "udp:80", "notify:"),
        *("unix:", "unix:relative", "unix:/" + "x" * 107, "unix:/a\0b"),
    ],
)
def test_what_is_no_address_is_refused_with_what_there_is(text):
    with pytest.raises(InvalidParams, match="notify, tcp:PORT, tcp:HOST:PORT or unix:PATH"):
        address(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ready": "notify", "ready_command": ("true",)}, "two kinds of readiness"),
        ({"ready": "soon"}, "'soon' is not notify"),
        ({"ready_command": ("",)}, "name is empty"),
        ({"rlimits": {"nofiles": 1}}, "no resource limit 'nofiles'"),
        ({"backoff": 2.0, "backoff_most": 1.0}, "longer than the longest"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(options, message):
    with pytest.raises(InvalidParams, match=message):
        check(Keeping(**options))


def test_settings_that_do_not_are_not():
    check(Keeping(ready="tcp:80{instance}", rlimits={"nofile": 1, "core": "unlimited"}))


@pytest.mark.parametrize(
    ("graph", "way"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b"], "b": ["a"]}, ("a", "b", "a")),
        ({"x": ["a"], "a": ["b", "c"], "b": [], "c": ["x"]}, ("x", "a", "c", "x")),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, ()),
        ({"a": ["elsewhere"]}, ()),
        ({f"p{n}": [f"p{n + 1}"] for n in range(5000)}, ()),
    ],
)
def test_a_circle_is_found_with_the_way_around_it(graph, way):
    assert circle(graph) == way


def test_each_comes_after_those_that_it_waits_for():
    graph = {"web": ["db", "cache"], "cron": ["web"], "cache": ["db"], "db": ["elsewhere"]}
    order = in_order(graph)
    assert sorted(order) == sorted(graph)
    assert all(order.index(before) < order.index(name) for name in graph for before in graph[name] if before in graph)


def test_a_chain_of_any_length_has_an_order():
    chain = {f"p{n}": [f"p{n + 1}"] for n in range(5000)}
    assert in_order(chain)[:2] == ["p4999", "p4998"]


def test_those_that_wait_for_nobody_keep_their_order():
    assert in_order({"c": [], "a": [], "b": []}) == ["c", "a", "b"]
