"""When a process that ended is started again: the decision alone."""

from __future__ import annotations

import itertools

import pytest

from stoker.protocol.processes import Keeping
from stokerd.processes.restart import Again, Fatal, GiveUp, Rest, Restarts

LONG, SHORT = 10.0, 0.0


def keep(**options) -> Keeping:
    return Keeping(**{"backoff": 1.0, "backoff_most": 5.0, "settled": 10.0, "flap_ends": 6, **options})


def verdicts(restarts: Restarts, *ends: tuple[int | None, float], apart: float = 1.0) -> list:
    moments = itertools.count(1000.0, apart)
    return [restarts.decide(code, ran, next(moments)) for code, ran in ends]


@pytest.mark.parametrize(
    ("mode", "code", "again"),
    [
        ("always", 0, True),
        ("always", 1, True),
        ("on-failure", 0, False),
        ("on-failure", 1, True),
        ("on-failure", -9, True),
        ("on-failure", None, True),
        ("never", 0, False),
        ("never", 1, False),
        ("never", None, False),
    ],
)
def test_who_is_started_again(mode, code, again):
    (verdict,) = verdicts(Restarts(keep(restart=mode)), (code, SHORT))
    assert isinstance(verdict, Again if again else Rest)


def test_the_wait_doubles_with_every_short_run_up_to_the_longest():
    found = verdicts(Restarts(keep()), *[(1, SHORT)] * 5)
    assert [verdict.delay for verdict in found] == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_the_wait_begins_anew_after_a_long_run():
    found = verdicts(Restarts(keep()), (1, SHORT), (1, SHORT), (1, LONG), (1, SHORT), (1, SHORT))
    assert [verdict.delay for verdict in found] == [1.0, 2.0, 1.0, 1.0, 2.0]


def test_so_many_ends_within_so_long_are_too_many():
    *before, last = verdicts(Restarts(keep(flap_ends=3, flap_seconds=10.0)), *[(1, LONG)] * 3)
    assert all(isinstance(verdict, Again) for verdict in before)
    assert last == GiveUp("it ended 3 times within 10 s")


def test_as_many_ends_over_a_longer_time_are_not():
    found = verdicts(Restarts(keep(flap_ends=3, flap_seconds=10.0)), *[(1, LONG)] * 20, apart=6.0)
    assert all(isinstance(verdict, Again) for verdict in found)


def test_long_runs_that_end_well_do_not_flap_and_short_ones_do():
    always = keep(restart="always", flap_ends=3, flap_seconds=1000.0)
    assert all(isinstance(verdict, Again) for verdict in verdicts(Restarts(always), *[(0, LONG)] * 20))
    assert isinstance(verdicts(Restarts(always), *[(0, SHORT)] * 3)[-1], GiveUp)


def test_with_no_number_of_ends_it_is_never_given_up():
    found = verdicts(Restarts(keep(flap_ends=0)), *[(1, SHORT)] * 500)
    assert all(isinstance(verdict, Again) for verdict in found)
    assert found[-1].delay == 5.0


def test_a_code_that_says_that_another_start_is_of_no_use_is_believed_whatever_the_mode():
    for mode in ("always", "on-failure", "never"):
        (verdict,) = verdicts(Restarts(keep(restart=mode, fatal_codes=(78,))), (78, SHORT))
        assert verdict == Fatal("exit code 78 is one of fatal_codes")
    assert isinstance(verdicts(Restarts(keep(fatal_codes=(78,))), (77, SHORT))[0], Again)


def test_what_was_is_forgotten_when_somebody_wants_it_up():
    restarts = Restarts(keep(flap_ends=3))
    verdicts(restarts, *[(1, SHORT)] * 2)
    restarts.forget()
    (verdict,) = verdicts(restarts, (1, SHORT))
    assert verdict == Again(1.0)
