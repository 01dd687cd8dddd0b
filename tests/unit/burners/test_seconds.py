"""The figures of each second, and why a burner falls short. On a machine of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.burners.machines import Machine

from stoker.errors import NoSuchBurner
from stoker.protocol.events import BurnerShortfall


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine", 2)


def up(burners, forker, name: str = "heat", workers: int = 1, load: float = 50.0, **more):
    start = burners.start(name, workers, load, **more)
    forker.tick()
    return start.value()


def second(clock, forker, machine, share: float = 1.0, busy: float = 0.0, **more) -> None:
    """One second in which the processes burn this share of what they should, and the machine is so busy."""
    machine.spend(1.0, busy=busy, **more)
    clock.now += 1.0
    for child in forker.burning:
        child.tick(101, share)  # the first of them is at the moment of the last one that there was
    clock.turn()


def test_each_second_is_kept_and_adds_up(burners, forker, clock, machine) -> None:
    up(burners, forker, workers=2, load=40.0)
    second(clock, forker, machine, busy=0.6)
    second(clock, forker, machine, share=0.5, busy=0.9, steal=0.05)
    history = burners.figures(["heat"])[0]
    assert (history.name, history.cores, len(history.seconds)) == ("heat", 1.0, 2)
    for kept in history.seconds:
        assert kept.asked == 40.0
        assert kept.achieved + kept.shortfall == pytest.approx(kept.target, abs=1e-3)
    last = history.seconds[-1]
    assert (last.target, last.achieved) == pytest.approx((40.0, 20.0), abs=0.5)
    assert (last.others, last.steal) == pytest.approx((90.0 - 20.0, 5.0), abs=1.0)
    assert last.at == clock.time()


def test_two_minutes_are_kept(burners, forker, clock, machine) -> None:
    up(burners, forker)
    for _ in range(125):
        second(clock, forker, machine)
    assert len(burners.figures()[0].seconds) == 120


def test_figures_of_an_unknown_burner_are_refused(burners, forker) -> None:
    up(burners, forker)
    with pytest.raises(NoSuchBurner):
        burners.figures(["heat", "cold"])


def test_the_machines_figures_are_in_the_status_of_burner_and_process(burners, forker, clock, machine) -> None:
    up(burners, forker, workers=2, load=50.0, cpus=(0, 1))
    for pid, waited in ((100, 5.0), (101, 7.0)):
        machine.waited(pid, waited)
    second(clock, forker, machine)
    machine.waited(100, 5.25)
    machine.waited(101, 7.0)
    machine.spend(1.0, busy=0.75, steal=0.25, cores=(0,))
    second(clock, forker, machine, busy=0.0, cores=(1,))
    info = burners.info()[0]
    assert info.machine == pytest.approx(37.5, abs=1.0)
    assert info.steal == pytest.approx(12.5, abs=1.0)
    assert [worker.others for worker in info.workers] == pytest.approx([25.0, 0.0], abs=1.5)
    assert [worker.steal for worker in info.workers] == pytest.approx([25.0, 0.0], abs=1.0)
    assert [worker.waited for worker in info.workers] == pytest.approx([25.0, 0.0])


def test_without_the_kernels_word_waiting_is_not_known(burners, forker, clock, machine) -> None:
    up(burners, forker)
    second(clock, forker, machine)
    assert burners.info()[0].workers[0].waited is None


def test_falling_short_is_told_once_when_it_lasts_and_so_is_its_end(burners, forker, clock, machine, events) -> None:
    up(burners, forker, load=60.0)
    for share in (1.0, 0.5, 1.0, 0.5, 0.5, 0.5, 1.0, 0.5, 1.0, 1.0, 1.0):
        second(clock, forker, machine, share=share, busy=1.0)
    told = [event for event in events if isinstance(event, BurnerShortfall)]
    assert [(event.short, event.code) for event in told] == [(True, "starved-by-others"), (False, "")]
    assert (told[0].target, told[0].achieved, told[0].shortfall) == pytest.approx((60.0, 30.0, 30.0), abs=0.5)
    assert told[0].achieved + told[0].shortfall == pytest.approx(told[0].target, abs=1e-3)
    assert told[0].others == pytest.approx(85.0, abs=1.0)
    assert "others use" in told[0].reason


def short_of(burners, forker, clock, machine, **more) -> str:
    """The first reason after two seconds in which half of it was missing."""
    for _ in range(2):
        second(clock, forker, machine, share=0.5, **more)
    return burners.info()[0].reasons[0].text


def test_others_are_named_with_what_they_use_and_how_long_we_waited(burners, forker, clock, machine) -> None:
    up(burners, forker, load=60.0)
    machine.waited(100, 1.0)
    second(clock, forker, machine, share=0.5, busy=1.0)
    machine.waited(100, 1.4)
    second(clock, forker, machine, share=0.5, busy=1.0)
    assert burners.info()[0].reason == (
        "starved-by-others: others use 85.0 % of the 2 cores, steal is 0.0 %; its processes waited 40.0 % of the time"
    )


def test_the_quota_is_named_where_it_held_processes_back(burners, forker, clock, machine) -> None:
    machine.quota(1.0)
    machine.throttled(10, 3.0)
    up(burners, forker, load=80.0)
    second(clock, forker, machine, share=0.5)
    machine.throttled(17, 3.4)
    second(clock, forker, machine, share=0.5)
    assert burners.info()[0].reason == (
        "quota: the CPU quota of 1.00 cores held processes back in 7 periods of the last second, for 0.40 s"
    )


def test_steal_is_named_where_it_took_half_of_what_is_missing(burners, forker, clock, machine) -> None:
    up(burners, forker, load=80.0)
    why = short_of(burners, forker, clock, machine, busy=0.2, steal=0.15)
    assert why == "steal: the hypervisor took 0.30 of 2 cores, 0.40 are missing"


def test_a_little_steal_is_not_named(burners, forker, clock, machine) -> None:
    up(burners, forker, load=80.0)
    assert short_of(burners, forker, clock, machine, busy=0.8, steal=0.05).startswith("starved-by-others")


def test_processes_of_several_burners_that_are_pinned_together_are_named(burners, forker, clock, machine) -> None:
    up(burners, forker, "one", load=80.0, cpus=(1,))
    up(burners, forker, "two", load=70.0, cpus=(1,))
    for _ in range(2):
        second(clock, forker, machine, share=0.6, busy=0.5)
    for info in burners.info():
        assert info.reason == "pinned-together: processes that want 1.50 cores are pinned on core 1"


def test_more_processes_than_cores_are_named(burners, forker, clock, machine) -> None:
    up(burners, forker, workers=3, load=100.0, no_reserve=True)
    why = short_of(burners, forker, clock, machine, busy=1.0)
    assert why == "pinned-together: burners want 3.00 cores, and all of them may run on 2 cores"


def test_a_burner_that_reaches_its_target_has_no_reason(burners, forker, clock, machine) -> None:
    up(burners, forker, load=60.0)
    second(clock, forker, machine, busy=0.3)
    info = burners.info()[0]
    assert (info.reason, info.reasons) == ("", ())


def test_a_process_that_has_nothing_to_burn_may_be_silent(burners, forker, clock, machine) -> None:
    up(burners, forker, load=0.0)
    clock.turn(10.0)
    assert burners.info()[0].reason == ""


def test_when_the_last_burner_ends_nothing_is_looked_at_any_more(burners, forker, clock, machine) -> None:
    up(burners, forker)
    second(clock, forker, machine, busy=1.0)
    burners.stop(["heat"])
    clock.turn(3.0)
    assert clock.pending() == 0
