"""The grammar of guards: what is read, and what is refused at which column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import InvalidParams
from stoker.protocol.guards import ACTIONS, SENSORS, Guard, parse


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("load>8:pause", ("load", "pause", 8.0, 7.2, 5.0)),
        ("load > 8 / 6 @ 30s : pause", ("load", "pause", 8.0, 6.0, 30.0)),
        ("psi.cpu.some>40:cap", ("psi.cpu.some", "cap", 40.0, 36.0, 5.0)),
        ("psi.memory.full>10%/5%@1m:abort", ("psi.memory.full", "abort", 10.0, 5.0, 60.0)),
        ("temp>85C:abort", ("temp", "abort", 85.0, 76.5, 5.0)),
        ("memory<512M:pause", ("memory", "pause", 512 << 20, 1.1 * (512 << 20), 5.0)),
        ("memory<1g/2GiB:warn", ("memory", "warn", 1 << 30, 2 << 30, 5.0)),
        ("steal>10%:warn", ("steal", "warn", 10.0, 9.0, 5.0)),
        ("lateness>50ms/20ms@500ms:cap", ("lateness", "cap", 0.05, 0.02, 0.5)),
    ],
)
def test_a_guard_is_read_in_the_units_of_its_sensor(text: str, read: tuple[str, str, float, float, float]) -> None:
    guard = parse(text)
    assert (guard.sensor, guard.action) == read[:2]
    assert (guard.threshold, guard.clear, guard.hold) == pytest.approx(read[2:])
    assert guard.text == text


def test_a_probe_is_a_program_with_its_arguments_whatever_is_in_them() -> None:
    guard = parse("""probe:curl -fs 'http://localhost:8080/health?a=1 2':abort""")
    assert (guard.sensor, guard.action) == ("probe", "abort")
    assert guard.argv == ("curl", "-fs", "http://localhost:8080/health?a=1 2")


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", 1, "an action is missing"),
        ("load>8", 7, "an action is missing"),
        ("load>8:halt", 8, "'halt' is no action: expected warn, cap, pause or abort"),
        ("lod>8:cap", 1, "'lod' is no sensor: expected one of load, psi.cpu.some"),
        ("load<8:cap", 5, "expected '>' after load"),
        ("memory>8M:cap", 7, "expected '<' after memory"),
        ("load>:cap", 6, "expected a number"),
        ("load>x:cap", 6, "expected a number"),
        ("load>8M:cap", 7, "'M' is no unit here: it has none"),
        ("lateness>50:cap", 12, "no unit: expected ms, s"),
        ("load>8/9:cap", 8, "clear above the threshold"),
        ("memory<2G/1G:cap", 11, "clear below the threshold"),
        ("load>8@1d:cap", 9, "'d' is no unit here: expected ms, s, m, h"),
        ("load>8/7/6:cap", 9, "expected '/' and a value, '@' and a time, or ':' and an action"),
        ("probe:cap", 6, "expected ':' and a program"),
        ("probe::cap", 7, "expected a program"),
        ("probe:a 'b:cap", 7, "cannot be read: no closing quotation"),
    ],
)
def test_what_is_wrong_is_refused_with_its_column_and_what_was_expected(text: str, column: int, said: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        parse(text)
    assert said in caught.value.message
    assert caught.value.data == {"column": column}
    assert "load>8:pause" in caught.value.hint


@given(st.text(max_size=40) | st.builds("{}{}{}:{}".format, *map(st.sampled_from, (SENSORS, "<>:", "0128", ACTIONS))))
def test_any_text_is_a_guard_or_refused(text: str) -> None:
    try:
        assert isinstance(parse(text), Guard)
    except InvalidParams as why:
        assert 1 <= why.data["column"] <= len(text) + 1


def test_beyond_and_calm_are_apart_by_the_margin() -> None:
    above, below = parse("load>8/6:cap"), parse("memory<1K/2K:cap")
    assert [above.exceeded(8), above.exceeded(8.1), above.is_calm(6), above.is_calm(6.1)] == [False, True, True, False]
    assert [below.exceeded(1024), below.exceeded(1000), below.is_calm(2048), below.is_calm(2000)] == [
        False,
        True,
        True,
        False,
    ]
