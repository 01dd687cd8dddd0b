"""What a kind of load demands, checked before anything is started."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.errors import InvalidParams, Unavailable
from stoker.protocol.loads import LOADS
from stokerd.burners.demands import check_kind, check_memory

DISK: dict[str, Any] = {"rate": 1e6, "folder": "/var/tmp"}


@pytest.mark.parametrize(
    ("generator", "params"),
    [
        ("spin", {}),
        ("hash", {}),
        ("float", {}),
        ("matrix", {}),
        ("memory", {"bytes": 1 << 20}),
        ("bandwidth", {}),
        ("bandwidth", {"bytes": 1 << 30}),
        ("disk", DISK),
        ("disk", {**DISK, "quota": 1 << 20, "io": "both"}),
        ("call", {"call": "pkg.mod:Class.work"}),
        ("stress-ng:vm", {}),
        ("stress-ng:hdd", {"folder": "/var/tmp"}),
    ],
)
def test_what_a_kind_takes_is_accepted(generator: str, params: dict[str, Any]) -> None:
    check_kind(generator, params)


@pytest.mark.parametrize(
    ("generator", "params", "message", "hint"),
    [
        ("spinn", {}, "there is no kind of load 'spinn'", "did you mean"),
        ("zzz", {}, "there is no kind of load 'zzz'", "spin, hash"),
        ("spin:fast", {}, "there is no kind of load 'spin:fast'", "did you mean"),
        ("stress-ng", {}, "names no stressor", "stress-ng:cpu"),
        ("stress-ng:", {}, "names no stressor", "stress-ng:cpu"),
        ("stress-ng:--all", {}, "names no stressor", "stress-ng:cpu"),
        ("stress-ng:a b", {}, "names no stressor", "stress-ng:cpu"),
        ("spin", {"bytes": 1 << 20}, "the kind spin takes no bytes", "bytes is for memory and bandwidth"),
        ("memory", {"bytes": 1 << 20, "rate": 1.0}, "the kind memory takes no rate", "rate is for disk"),
        ("memory", {}, "the kind memory needs bytes", "--bytes 512M"),
        ("disk", {"rate": 1e6}, "the kind disk needs folder", "--rate 10M --folder"),
        ("disk", {}, "the kind disk needs rate and folder", "--rate 10M --folder"),
        ("call", {}, "the kind call needs call", "--call"),
        ("memory", {"bytes": 512}, "bytes of 512 B is outside 4 KiB to", "a size has a unit"),
        ("bandwidth", {"bytes": 4096}, "bytes of 4 KiB is outside 1 MiB to", "a size has a unit"),
        ("memory", {"bytes": 1 << 60}, "is outside", "a size has a unit"),
        ("disk", {**DISK, "rate": 10.0}, "rate of 10 B is outside 4 KiB to", "a size has a unit"),
        ("disk", {**DISK, "quota": 100}, "quota of 100 B is outside 1 MiB to", "a size has a unit"),
        ("disk", {**DISK, "io": "erase"}, "a disk cannot 'erase'", "write, read, both"),
        ("disk", {**DISK, "folder": "here"}, "'here' is no absolute path", "its own idea"),
        ("disk", {**DISK, "folder": "/a\0b"}, "is no absolute path", "its own idea"),
        ("call", {"call": "work"}, "'work' does not name a function", "package.module:function"),
        ("call", {"call": "os:system('x')"}, "does not name a function", "package.module:function"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(generator: str, params, message: str, hint: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        check_kind(generator, params)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_every_parameter_of_a_kind_has_a_kind_that_takes_it() -> None:
    for kind, load in LOADS.items():
        for name in load.takes:
            other = next(other for other, its in LOADS.items() if name not in its.takes)
            stressed = "stress-ng:cpu" if other == "stress-ng" else other
            with pytest.raises(InvalidParams, match=f"takes no {name}") as caught:
                check_kind(stressed, {name: 1})
            assert kind in caught.value.hint


def test_memory_counts_for_all_processes_together() -> None:
    check_memory("memory", {"bytes": 100}, 3, lambda: 300)
    with pytest.raises(Unavailable, match="4 x 100 B of memory for the kind memory is beyond the 300 B") as caught:
        check_memory("memory", {"bytes": 100}, 4, lambda: 300)
    assert "fewer processes" in caught.value.hint
    check_memory("spin", {}, 1000, lambda: 0)


def test_where_there_is_less_than_the_margin_nothing_may_be_taken() -> None:
    with pytest.raises(Unavailable, match="beyond the 0 B"):
        check_memory("memory", {"bytes": 1}, 1, lambda: -5.0)
