"""What is refused before anything is started."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.burners.machines import CORES

from stoker.errors import InvalidParams

ALLOWED = list(range(CORES))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"load": -1}, "outside 0 to 100"),
        ({"load": 100.5}, "outside 0 to 100"),
        ({"load": float("nan")}, "outside 0 to 100"),
        ({"workers": 0}, "at least 1 worker"),
        ({"workers": 10_000}, "allows 8 burner processes"),
        ({"seconds": 0.0}, "not above 0"),
        ({"seconds": -5.0}, "not above 0"),
        ({"seconds": float("nan")}, "not above 0"),
        ({"nice": 20}, "outside -20 to 19"),
        ({"generator": "spim"}, 'did you mean "spin"'),
        ({"generator": "warp"}, "choose from: spin"),
        ({"cpus": (4096,)}, "core 4096 cannot be used"),
        ({"cpus": (4096, 5000)}, "cores 4096, 5000 cannot be used"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_started(
    burners, forker, events, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidParams, match=said):
        burners.start(**({"name": "heat", "workers": 1, "load": 50.0} | wrong))
    assert forker.children == []
    assert events == []
    assert "heat" not in burners


def test_a_refused_core_comes_with_the_allowed_ones(burners) -> None:
    with pytest.raises(InvalidParams) as caught:
        burners.start("heat", 1, 50.0, cpus=(4096,))
    assert caught.value.data == {"allowed": ALLOWED}
    assert str(ALLOWED[0]) in caught.value.hint


def test_processes_are_pinned_in_turn(burners, forker) -> None:
    cpus = tuple(ALLOWED[:2])
    burners.start("heat", 3, 50.0, cpus=cpus)
    assert [child.spec.cpus for child in forker.children] == [(cpus[i % len(cpus)],) for i in range(3)]


def test_processes_that_are_not_pinned_are_left_to_the_system(burners, forker) -> None:
    burners.start("heat", 1, 50.0)
    assert forker.children[0].spec.cpus == ()
    assert forker.children[0].spec.nice == 10
