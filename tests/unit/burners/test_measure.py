"""What a percentage is of, the reserve, and how things are shared out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import InvalidParams
from stokerd.burners import measure
from stokerd.burners.host import Capacity

TWO, QUOTA = Capacity(2, 2.0), Capacity(4, 1.5)


@pytest.mark.parametrize(
    ("of", "load", "workers", "capacity", "cores"),
    [
        ("core", 50, 3, TWO, 1.5),
        ("machine", 50, 2, TWO, 1.0),
        ("machine", 50, 7, QUOTA, 2.0),
        ("quota", 50, 7, QUOTA, 0.75),
        ("quota", 100, 2, TWO, 2.0),
    ],
)
def test_a_load_in_cores(of: str, load: float, workers: int, capacity: Capacity, cores: float) -> None:
    assert measure.cores(of, load, workers, capacity) == pytest.approx(cores)


@pytest.mark.parametrize(("of", "workers"), [("core", 1), ("machine", 4), ("quota", 2)])
def test_the_usual_number_of_processes_can_make_any_load(of: str, workers: int) -> None:
    assert measure.usual_workers(of, QUOTA) == workers
    measure.check_deliverable(of, 100.0, workers, (), QUOTA)


@pytest.mark.parametrize(
    ("capacity", "cores"),
    [(Capacity(1, 1.0), 0.1), (TWO, 0.2), (QUOTA, 0.15), (Capacity(10, 10.0), 1.0), (Capacity(64, 64.0), 1.0)],
)
def test_the_reserve_is_one_core_or_a_tenth_whichever_is_less(capacity: Capacity, cores: float) -> None:
    assert measure.reserve(capacity) == pytest.approx(cores)


def test_what_the_processes_cannot_make_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(InvalidParams) as caught:
        measure.check_deliverable("machine", 90.0, 2, (), Capacity(4, 4.0))
    assert caught.value.message == (
        "90 % of all 4 cores that the daemon may use is 3.60 cores, and 2 processes can burn 2.00 at most"
    )
    assert caught.value.hint == "ask for at most 50 %, or for 4 workers"


def test_what_the_pins_do_not_allow_is_refused_too() -> None:
    with pytest.raises(InvalidParams, match=r"4 processes pinned on 1 core can burn 1\.00 at most"):
        measure.check_deliverable("machine", 50.0, 4, (3,), Capacity(4, 4.0))


def test_of_a_core_everything_can_be_tried() -> None:
    measure.check_deliverable("core", 100.0, 9, (0,), TWO)


@given(
    st.floats(0, 100),
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 8)), max_size=8),
)
def test_a_share_is_never_above_what_can_be_used_and_nothing_usable_is_left(
    amount: float, each: list[tuple[float, float]]
) -> None:
    wishes, most = [wish for wish, _ in each], [limit for _, limit in each]
    shares = measure.share_out(amount, wishes, most)
    assert all(0 <= share <= limit + 1e-9 for share, limit in zip(shares, most, strict=True))
    usable = sum(limit for wish, limit in each if wish > 0)
    assert sum(shares) == pytest.approx(min(amount, usable), abs=1e-6)


def test_shares_are_in_proportion_where_nothing_bounds_them() -> None:
    assert measure.share_out(1.2, [1.0, 2.0, 0.0], [2.0, 2.0, 2.0]) == pytest.approx([0.4, 0.8, 0.0])
    assert measure.share_out(3.0, [1.0, 1.0], [1.0, 4.0]) == pytest.approx([1.0, 2.0])
