from __future__ import annotations

import pytest

from stokerd.processes.restart import Again, GiveUp, Patience, Rest, Restarts

PATIENCE = Patience(first=0.5, longest=4.0, settled=10.0, short_runs=6)


@pytest.mark.parametrize(
    ("mode", "code", "again"),
    [
        ("always", 0, True),
        ("always", 1, True),
        ("always", -9, True),
        ("always", None, True),
        ("on-failure", 0, False),
        ("on-failure", 1, True),
        ("on-failure", -15, True),
        ("on-failure", None, True),
        ("never", 0, False),
        ("never", 1, False),
        ("never", None, False),
    ],
)
def test_the_mode_says_which_ends_are_followed_by_a_start(mode, code, again) -> None:
    verdict = Restarts(mode, PATIENCE).decide(code, ran=0.0)
    assert isinstance(verdict, Again if again else Rest)


def test_the_wait_doubles_with_every_short_run_up_to_the_longest() -> None:
    restarts = Restarts("always", PATIENCE)
    verdicts = [restarts.decide(1, ran=1.0) for _ in range(5)]
    assert verdicts == [Again(0.5), Again(1.0), Again(2.0), Again(4.0), Again(4.0)]


def test_too_many_short_runs_in_a_row_are_given_up() -> None:
    restarts = Restarts("on-failure", PATIENCE)
    verdicts = [restarts.decide(1, ran=1.0) for _ in range(6)]
    assert [type(verdict) for verdict in verdicts] == [Again] * 5 + [GiveUp]
    assert verdicts[-1] == GiveUp("it ended 6 times within 10 s of its start")


def test_a_run_that_was_long_enough_begins_anew() -> None:
    restarts = Restarts("always", PATIENCE)
    for _ in range(5):
        restarts.decide(1, ran=1.0)
    assert restarts.decide(1, ran=10.0) == Again(0.5)
    assert restarts.decide(1, ran=1.0) == Again(0.5)
    assert restarts.decide(1, ran=1.0) == Again(1.0)


def test_the_very_first_short_run_can_be_the_last() -> None:
    restarts = Restarts("always", Patience(short_runs=1))
    assert isinstance(restarts.decide(0, ran=0.0), GiveUp)


def test_a_great_many_restarts_do_not_overflow_the_wait() -> None:
    restarts = Restarts("always", Patience(short_runs=10**6, longest=30.0))
    verdicts = {restarts.decide(1, ran=0.0) for _ in range(5000)}
    assert Again(30.0) in verdicts
