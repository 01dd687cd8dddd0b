"""The options that say what kind of load it is, and what is shown of it."""

from __future__ import annotations

import pytest

from stoker.cli import kinds, overview
from stoker.cli.values import UsageError
from stoker.protocol.loads import LOADS, PARAMETERS, STRESS_NG


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512", 512),
        ("64K", 65536),
        ("10M", 10 << 20),
        ("1.5G", 3 << 29),
        ("10MiB", 10 << 20),
        ("10MB", 10 << 20),
        ("10M/s", 10 << 20),
        ("2t", 2 << 40),
        (" .5k ", 512),
    ],
)
def test_a_size_has_a_unit_of_1024(text: str, expected: int) -> None:
    assert kinds.size(text) == expected


@pytest.mark.parametrize("text", ["", "lots", "0", "-5M", "10X", "10M/h", "1e9", "99999999T"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        kinds.size(text)


def test_the_command_line_has_every_parameter_that_a_kind_takes() -> None:
    assert set(kinds.NAMES) == set(PARAMETERS)


def test_the_list_of_kinds_has_what_each_does_and_takes() -> None:
    told = kinds.listing(as_json=False)
    for kind, load in LOADS.items():
        assert f"\n{kind}:STRESSOR\n" in told if kind == STRESS_NG else f"{kind}\n" in told
        assert all(f"--{name}" in told for name in load.takes)


@pytest.mark.parametrize(
    ("kind", "unit", "work", "expected"),
    [
        ("spin", "", 0.0, ""),
        ("float", "", 0.0, "float"),
        ("bandwidth", "B", 12_700_000_000.0, "bandwidth: 12.7 GB/s"),
        ("call", "calls", 910.4, "call: 910 calls/s"),
        ("disk", "B", 0.0, "disk: 0 B/s"),
        ("matrix", "FLOP", 3.2e16, "matrix: 3.2e+04 TFLOP/s"),
    ],
)
def test_a_burner_of_another_kind_says_what_it_gets_done(kind, unit, work, expected) -> None:
    assert overview.work({"kind": kind, "work_unit": unit, "work": work}) == expected
