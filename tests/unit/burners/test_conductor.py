"""What each burner burns: of core, machine and quota; the reserve; jobs; totals. On a machine of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.burners.machines import Machine

from stoker.errors import InvalidParams
from stoker.protocol.events import BurnerChanged
from stokerd.burners.conductor import TICK_SECONDS
from stokerd.burners.registry import Burners


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine", 4)


def up(burners: Burners, forker, name: str = "heat", workers: int | None = None, load: float = 50.0, **more):
    start = burners.start(name, workers, load, **more)
    forker.tick()
    return start.value()


def shares(forker) -> list[float]:
    """What each process is ordered to burn, in percent of one core."""
    return [round(child.sheet.order().target * 100, 6) for child in forker.burning]


def codes(info) -> list[str]:
    return [reason.code for reason in info.reasons]


# --- what a percentage is of


def test_of_core_each_process_burns_it(burners, forker) -> None:
    info = up(burners, forker, workers=2, load=50.0)
    assert shares(forker) == [50.0, 50.0]
    assert (info.of, info.cores, info.unit) == ("core", 1.0, "one core, for each process")
    assert (info.asked, info.target, info.achieved, info.shortfall) == (50.0, 50.0, 50.0, 0.0)


def test_of_machine_it_is_spread_over_one_process_per_core(burners, forker) -> None:
    info = up(burners, forker, load=50.0, of="machine")
    assert shares(forker) == [50.0] * 4
    assert (info.cores, info.unit) == (4.0, "all 4 cores that the daemon may use")
    assert (info.asked, info.target, info.achieved, info.shortfall) == (50.0, 50.0, 50.0, 0.0)


def test_of_machine_on_fewer_processes_each_burns_more(burners, forker, clock) -> None:
    info = up(burners, forker, workers=2, load=25.0, of="machine")
    assert shares(forker) == [50.0, 50.0]
    assert (info.target, info.achieved) == (25.0, 25.0)
    assert [worker.target for worker in info.workers] == [50.0, 50.0]
    burners.set("heat", workers=4)
    clock.turn(0.1)
    assert shares(forker) == [25.0] * 4


def test_of_quota_100_percent_is_what_the_cgroup_allows(burners, forker, machine) -> None:
    machine.quota(1.5)
    info = up(burners, forker, load=50.0, of="quota")
    assert shares(forker) == [37.5, 37.5]
    assert (info.cores, info.target, info.achieved) == (1.5, 50.0, 50.0)
    assert "1.50 cores" in info.unit


def test_a_quota_that_changes_is_followed(burners, forker, machine, clock) -> None:
    machine.quota(2)
    up(burners, forker, workers=2, load=50.0, of="quota")
    machine.quota(1)
    clock.turn(1.0)
    assert shares(forker) == [25.0, 25.0]


def test_what_the_processes_cannot_make_is_refused_at_start_and_in_a_change(burners, forker) -> None:
    with pytest.raises(InvalidParams, match=r"60 % of all 4 cores .* is 2\.40 cores, and 2 processes can burn 2\.00"):
        burners.start("heat", 2, 60.0, of="machine")
    assert forker.children == []
    up(burners, forker, workers=2, load=40.0, of="machine")
    for change in ({"load": 60.0}, {"workers": 1}):
        with pytest.raises(InvalidParams, match="at most"):
            burners.set("heat", **change)
    assert shares(forker) == [80.0, 80.0]


# --- the reserve


def test_the_reserve_bounds_what_is_burnt_and_says_so(burners, forker, events) -> None:
    info = up(burners, forker, workers=4, load=100.0)
    assert shares(forker) == [90.0] * 4
    assert (info.asked, info.target, info.achieved, info.shortfall) == (100.0, 90.0, 90.0, 0.0)
    assert codes(info) == ["reserve"]
    assert info.reason == info.reasons[0].text
    assert "4.00 of 4 cores, of which 0.40 are left free: it gets 3.60 instead of 4.00" in info.reason
    assert "--no-reserve" in info.reason
    assert info.reserve == pytest.approx(0.4)
    assert events[-1].target == 90.0


def test_without_the_reserve_all_is_burnt(burners, forker) -> None:
    info = up(burners, forker, workers=4, load=100.0, no_reserve=True)
    assert shares(forker) == [100.0] * 4
    assert (info.reasons, info.reserve) == ((), 0.0)


def test_the_reserve_is_of_all_burners_together_and_the_first_is_served_first(burners, forker, clock) -> None:
    up(burners, forker, "one", workers=3, load=100.0)
    info = up(burners, forker, "two", workers=1, load=100.0)
    assert shares(forker) == [100.0] * 3 + [60.0]
    assert codes(info) == ["reserve"]
    burners.set("one", load=50.0)
    assert shares(forker) == [50.0] * 3 + [100.0]
    burners.set("one", load=100.0)
    burners.stop(["one"])
    clock.turn(2.0)
    assert shares(forker) == [100.0]


def test_the_reserve_is_given_up_and_kept_again_while_it_runs(burners, forker, clock) -> None:
    up(burners, forker, workers=4, load=100.0)
    change = burners.set("heat", no_reserve=True)
    assert not change.settled
    clock.turn(0.1)
    forker.tick()
    assert (change.value().target, change.value().reasons) == (100.0, ())
    burners.set("heat", no_reserve=False)
    assert shares(forker) == [90.0] * 4


def test_a_paused_burner_asks_for_nothing(burners, forker, clock) -> None:
    up(burners, forker, "one", workers=4, load=90.0)
    up(burners, forker, "two", workers=1, load=50.0)
    assert shares(forker)[-1] == 0.0
    burners.set("one", paused=True)
    assert shares(forker) == [0.0] * 4 + [50.0]


# --- jobs


def test_a_burner_that_yields_gives_the_cores_that_jobs_use_and_takes_them_back(burners, forker, clock, jobs) -> None:
    up(burners, forker, workers=3, load=100.0, yield_to_jobs=True)
    assert shares(forker) == [100.0] * 3
    jobs[0] = 1.0
    clock.turn(TICK_SECONDS)
    assert shares(forker) == pytest.approx([200 / 3] * 3, abs=1e-4)
    info = burners.info()[0]
    assert info.yields
    assert "jobs: running jobs use 1.00 cores: it gives 1.00 way" in [reason.text for reason in info.reasons]
    jobs[0] = 7.0
    clock.turn(TICK_SECONDS)
    assert shares(forker) == [0.0] * 3
    jobs[0] = 0.0
    clock.turn(TICK_SECONDS)
    assert shares(forker) == [100.0] * 3


def test_those_that_yield_share_what_they_give_and_the_others_do_not(burners, forker, clock, jobs) -> None:
    up(burners, forker, "one", workers=2, load=100.0, yield_to_jobs=True)
    up(burners, forker, "two", workers=1, load=100.0, yield_to_jobs=True)
    up(burners, forker, "three", workers=1, load=50.0)
    jobs[0] = 1.5
    clock.turn(TICK_SECONDS)
    assert shares(forker) == [50.0, 50.0, 50.0, 50.0]


def test_jobs_are_looked_at_only_while_one_that_yields_runs(burners, forker, clock, jobs) -> None:
    up(burners, forker, "plain", seconds=float("inf"))
    clock.turn()
    assert clock.pending() == 1
    up(burners, forker, "kind", yield_to_jobs=True, seconds=float("inf"))
    clock.turn()
    assert clock.pending() == 2
    burners.stop(["kind"])
    clock.turn(3.0)
    assert clock.pending() == 1


# --- totals


def pass_time(machine: Machine, clock, forker, foreign: float, seconds: float) -> float:
    """Let the machine run, with so many cores of foreign load; returns how many were busy, mean of the last second.

    The kernel's and the processes' counters move before each look, as they do for real.
    """
    busy = []
    for _ in range(round(seconds / TICK_SECONDS)):
        own = sum(share / 100 for share in shares(forker))
        busy.append(min(4.0, own + foreign))
        machine.spend(TICK_SECONDS, busy=busy[-1] / 4)
        ticks = round(TICK_SECONDS * 100)
        for child in forker.burning:
            child.tick(ticks + 1)  # the first of them stands for the one that there is
        clock.turn(TICK_SECONDS)
    last = busy[-round(1 / TICK_SECONDS) :]
    return sum(last) / len(last)


def test_a_total_fills_up_what_others_leave(burners, forker, machine, clock) -> None:
    up(burners, forker, load=60.0, mode="total")
    assert pass_time(machine, clock, forker, 0.0, 3.0) == pytest.approx(2.4, abs=0.05)
    assert pass_time(machine, clock, forker, 1.0, 3.0) == pytest.approx(2.4, abs=0.05)
    info = burners.info()[0]
    assert (info.of, info.mode, info.asked) == ("machine", "total", 60.0)
    assert info.target == pytest.approx(35.0, abs=2.0)
    assert info.achieved + info.shortfall == pytest.approx(info.target, abs=1e-3)
    assert pass_time(machine, clock, forker, 3.0, 3.0) == 3.0
    assert shares(forker) == [0.0] * 4


def test_a_total_counts_the_burners_of_the_other_mode(burners, forker, machine, clock) -> None:
    up(burners, forker, "base", workers=1, load=80.0)
    up(burners, forker, "rest", load=60.0, mode="total")
    assert pass_time(machine, clock, forker, 0.0, 3.0) == pytest.approx(2.4, abs=0.05)
    assert shares(forker)[0] == 80.0
    assert sum(shares(forker)[1:]) == pytest.approx(160.0, abs=5.0)


def test_of_several_totals_the_highest_counts_and_they_share_it_as_they_ask(burners, forker, machine, clock) -> None:
    up(burners, forker, "low", load=20.0, mode="total")
    up(burners, forker, "high", load=60.0, mode="total")
    assert pass_time(machine, clock, forker, 0.0, 3.0) == pytest.approx(2.4, abs=0.05)
    low, high = sum(shares(forker)[:4]), sum(shares(forker)[4:])
    assert high == pytest.approx(3 * low, rel=1e-3)


def test_the_reserve_bounds_a_total(burners, forker, machine, clock) -> None:
    up(burners, forker, load=100.0, mode="total")
    assert pass_time(machine, clock, forker, 0.0, 3.0) == pytest.approx(3.6, abs=0.05)
    assert codes(burners.info()[0]) == ["reserve"]


def test_a_total_of_cores_is_so_many_cores_of_the_machine(burners, forker, machine, clock) -> None:
    info = up(burners, forker, workers=2, load=60.0, of="core", mode="total")
    assert (info.of, info.cores) == ("core", 1.0)
    assert pass_time(machine, clock, forker, 0.5, 3.0) == pytest.approx(1.2, abs=0.05)


def test_the_machine_is_looked_at_only_while_a_total_runs(burners, forker, machine, clock) -> None:
    up(burners, forker, load=60.0, mode="total", seconds=float("inf"))
    clock.turn()
    assert clock.pending() == 2
    burners.set("heat", paused=True)
    clock.turn(0.2)
    assert clock.pending() <= 2  # the wait for the pause to be observed, and the look once a second
    forker.tick()
    assert clock.pending() == 1


def test_a_new_target_of_a_total_is_told_by_one_event_and_not_by_one_for_each_step(
    burners, forker, machine, clock, events
) -> None:
    up(burners, forker, load=60.0, mode="total")
    pass_time(machine, clock, forker, 0.5, 2.0)
    assert sum(isinstance(event, BurnerChanged) for event in events) == 2
