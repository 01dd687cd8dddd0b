"""Burners from start to end, with processes that do what the test says."""

from __future__ import annotations

import os
import signal

import pytest

from stoker.errors import (
    DeadlineExceeded,
    IllegalMove,
    InvalidParams,
    NameTaken,
    NoSuchBurner,
    ShuttingDown,
    StartFailed,
    Unavailable,
)
from stoker.protocol.events import BurnerChanged
from stoker.protocol.states import BurnerState


def up(burners, forker, name="heat", workers=1, load=60.0, **more):
    start = burners.start(name, workers, load, **more)
    forker.tick()
    return start.value()


def states(events, name="heat"):
    return [event.state.value for event in events if isinstance(event, BurnerChanged) and event.name == name]


# --- start ----------------------------------------------------------------------------------------------------------


def test_a_start_settles_when_every_process_has_shown_the_load(burners, forker, events) -> None:
    start = burners.start("heat", 2, 60.0)
    forker.children[0].tick()
    assert not start.settled
    forker.children[1].tick()
    info = start.value()
    assert (info.state, info.size, info.reason) == (BurnerState.RUNNING, 2, "")
    assert (info.target, info.achieved, info.shortfall) == (60.0, 60.0, 0.0)
    assert [worker.pid for worker in info.workers] == [100, 101]
    assert states(events) == ["starting", "running"]


def test_a_load_that_is_shown_before_the_word_of_the_fork_comes_is_observed_with_that(burners, forker, clock) -> None:
    start = burners.start("heat", 1, 60.0)
    (child,) = forker.children
    child.pid = None  # the forkserver has not been heard yet
    child.tick()
    assert not start.settled
    child.pid = 100
    clock.turn()  # now it is
    assert [worker.pid for worker in start.value().workers] == [100]


def test_before_the_load_is_observed_it_does_not_read_as_fine(burners) -> None:
    burners.start("heat", 1, 60.0)
    info = burners.info()[0]
    assert (info.target, info.achieved, info.shortfall) == (60.0, 0.0, 60.0)
    assert info.reason.startswith("starting")


def test_a_start_that_is_starved_succeeds_and_says_so(burners, forker) -> None:
    start = burners.start("heat", 1, 60.0)
    forker.children[0].tick(share=0.5)
    info = start.value()
    assert (info.target, info.achieved, info.shortfall) == (60.0, 30.0, 30.0)
    assert info.reason == "starved-by-others: others use the cores"
    assert [reason.code for reason in info.reasons] == ["starved-by-others"]


def test_a_burner_that_wants_more_than_its_cores_is_told_so(burners, forker) -> None:
    core = min(os.sched_getaffinity(0))
    start = burners.start("heat", 3, 100.0, cpus=(core,))
    for child in forker.children:
        child.tick(share=1 / 3)
    assert start.value().reason == f"pinned-together: processes that want 3.00 cores are pinned on core {core}"


def test_a_process_that_dies_during_the_start_fails_it_and_leaves_nothing(burners, forker, events, clock) -> None:
    start = burners.start("heat", 2, 60.0)
    forker.children[0].die(-signal.SIGSEGV)
    assert not start.settled
    clock.turn(5)
    assert isinstance(start.error, StartFailed)
    assert "process 100 ended by signal SIGSEGV" in start.error.message
    assert forker.alive == []
    assert "heat" not in burners
    assert states(events) == ["starting", "failed"]


def test_what_a_process_complains_of_is_the_reason_and_its_hint_comes_along(burners, forker) -> None:
    start = burners.start("heat", 1, 60.0)
    forker.children[0].say(b"!there is no ")
    forker.children[0].say(b"room\0ask for less")
    forker.children[0].die(1)
    assert start.error.message == "burner 'heat' did not start: there is no room"
    assert start.error.hint == "ask for less"


def test_a_process_that_gives_up_while_it_runs_ends_the_burner_and_is_not_replaced(burners, forker) -> None:
    start = burners.start("heat", 2, 60.0)
    for child in forker.children:
        child.tick()
    assert start.value().state is BurnerState.RUNNING
    forker.children[0].say(b"!pkg:work raised ValueError: no fuel\0make it catch that")
    forker.children[0].die(1)
    forker.children[1].die(-15)
    assert len(forker.children) == 2
    info = burners.info()[0]
    assert (info.state, info.workers) == (BurnerState.FAILED, ())
    assert info.reason == "burner 'heat' gave up: pkg:work raised ValueError: no fuel"


def test_a_process_that_never_ran_fails_the_start(burners, forker) -> None:
    start = burners.start("heat", 1, 60.0)
    forker.children[0].die(None, "no interpreter at /nowhere")
    assert "no interpreter at /nowhere" in start.error.message


def test_a_load_that_is_not_observed_in_time_fails_the_start(burners, forker, clock) -> None:
    start = burners.start("heat", 2, 60.0)
    forker.children[0].tick()
    clock.turn(30)
    assert isinstance(start.error, StartFailed)
    assert "1 of 2 processes" in start.error.message
    assert forker.alive == []


def test_a_fork_that_is_refused_fails_the_start_with_the_systems_reason(burners, forker, clock) -> None:
    forker.refusal = Unavailable("no more descriptors")
    start = burners.start("heat", 2, 60.0)
    assert isinstance(start.error, Unavailable)
    assert "heat" not in burners


def test_a_name_is_given_once(burners, forker) -> None:
    up(burners, forker)
    with pytest.raises(NameTaken, match="already"):
        burners.start("heat", 1, 50.0)
    assert len(forker.children) == 1


def test_replace_starts_after_the_old_one_is_reaped(burners, forker, clock, events) -> None:
    up(burners, forker)
    start = burners.start("heat", 2, 30.0, replace=True)
    assert len(forker.children) == 1
    forker.children[0].die(0)
    forker.tick()
    assert start.value().target == 30.0
    assert states(events) == ["starting", "running", "stopping", "stopped", "starting", "running"]


def test_replace_with_something_wrong_leaves_the_old_one_alone(burners, forker) -> None:
    up(burners, forker)
    with pytest.raises(InvalidParams):
        burners.start("heat", 1, 500.0, replace=True)
    assert burners.info()[0].state is BurnerState.RUNNING


def test_more_processes_than_allowed_in_all_are_refused(burners, forker) -> None:
    up(burners, forker, "one", workers=6)
    with pytest.raises(Unavailable, match="6 burner processes run already"):
        burners.start("two", 3, 50.0)
    with pytest.raises(Unavailable):
        burners.set("one", workers=8) and burners.start("two", 1, 1.0)


# --- time limit -------------------------------------------------------------------------------------------------------


def test_the_time_limit_counts_from_the_observed_load_and_ends_it(burners, forker, clock, events) -> None:
    start = burners.start("heat", 1, 60.0, seconds=30.0)
    clock.turn(3)
    forker.tick()
    assert start.value().ends == clock.time() + 30.0
    clock.turn(29.9)
    assert "heat" in burners
    clock.turn(5)
    assert "heat" not in burners
    assert forker.alive == []
    assert states(events) == ["starting", "running", "stopping", "stopped"]
    assert events[-1].reason == "its time limit of 30 s is over"


def test_the_deadline_is_in_the_page_for_the_process_to_keep_by_itself(burners, forker, clock) -> None:
    up(burners, forker, seconds=30.0)
    assert forker.children[0].sheet.order().deadline == clock.monotonic() + 30.0


def test_a_process_that_kept_the_deadline_before_the_daemon_did_is_no_loss(burners, forker, clock, events) -> None:
    up(burners, forker, seconds=30.0)
    clock.now += 30.0
    forker.children[0].die(0)
    assert len(forker.children) == 1
    assert states(events)[-1] == "stopped"
    assert "heat" not in burners


def test_without_a_wish_the_default_limit_holds_and_inf_is_for_ever(burners, forker, clock) -> None:
    assert up(burners, forker, "usual").ends == clock.time() + 3600.0
    assert up(burners, forker, "ever", seconds=float("inf")).ends is None
    clock.now += 3590  # once a second all this while the burners are looked at: that is not of interest here
    clock.turn(20)
    assert [info.name for info in burners.info()] == ["ever"]


# --- set --------------------------------------------------------------------------------------------------------------


def test_a_new_load_is_in_the_page_at_once_and_settles_when_shown(burners, forker, clock, events) -> None:
    up(burners, forker, workers=2)
    change = burners.set("heat", load=80.0)
    assert [child.sheet.order().target for child in forker.children] == [0.8, 0.8]
    assert not change.settled
    clock.turn(0.06)
    forker.tick()
    assert (change.value().target, change.value().achieved) == (80.0, 80.0)
    assert events[-1].target == pytest.approx(80.0)


def test_more_workers_do_not_disturb_those_that_burn(burners, forker, clock) -> None:
    up(burners, forker)
    before = forker.children[0].sheet.order()
    change = burners.set("heat", workers=3)
    assert forker.children[0].sheet.order() == before
    for child in forker.children[1:]:
        child.tick()
    assert len(change.value().workers) == 3
    assert forker.children[0].signals == []


def test_fewer_workers_settle_when_the_surplus_is_reaped(burners, forker, clock) -> None:
    up(burners, forker, workers=3)
    change = burners.set("heat", workers=1)
    assert [child.sheet.order().stop for child in forker.children] == [False, True, True]
    assert not change.settled
    forker.children[2].die(0)
    assert not change.settled
    forker.children[1].die(0)
    assert [worker.pid for worker in change.value().workers] == [100]


def test_a_new_time_limit_counts_from_now(burners, forker, clock) -> None:
    up(burners, forker, seconds=30.0)
    clock.turn(20)
    forker.tick()
    assert burners.set("heat", seconds=60.0).value().ends == clock.time() + 60.0
    clock.turn(40)
    assert "heat" in burners
    clock.turn(30)
    assert "heat" not in burners


def test_a_paused_burner_burns_nothing_and_says_where_it_will_go_on(burners, forker, clock) -> None:
    up(burners, forker)
    pause = burners.set("heat", paused=True)
    clock.turn(0.06)
    forker.tick()
    info = pause.value()
    assert (info.state, info.target, info.achieved) == (BurnerState.PAUSED, 0.0, 0.0)
    assert info.reason == "paused; goes on at 60 %"
    assert burners.set("heat", load=40.0).settled
    resume = burners.set("heat", paused=False)
    clock.turn(0.06)
    forker.tick()
    assert (resume.value().state, resume.value().target) == (BurnerState.RUNNING, 40.0)


def test_pausing_twice_is_pausing_once(burners, forker, clock) -> None:
    up(burners, forker)
    burners.set("heat", paused=True)
    clock.turn(0.06)
    forker.tick()
    assert burners.set("heat", paused=True).value().state is BurnerState.PAUSED


def test_pausing_before_it_runs_is_refused_and_changes_nothing(burners, forker) -> None:
    burners.start("heat", 1, 60.0)
    with pytest.raises(IllegalMove):
        burners.set("heat", paused=True, workers=2, load=10.0)
    assert len(forker.children) == 1
    assert forker.children[0].sheet.order().target == 0.6


@pytest.mark.parametrize("wrong", [{}, {"load": 101.0}, {"workers": 0}, {"workers": 9}, {"seconds": 0.0}])
def test_a_change_that_cannot_be_is_refused(burners, forker, wrong) -> None:
    up(burners, forker)
    with pytest.raises(InvalidParams):
        burners.set("heat", **wrong)


def test_an_unknown_name_is_refused_with_the_nearest(burners, forker) -> None:
    up(burners, forker)
    with pytest.raises(NoSuchBurner, match='did you mean "heat"'):
        burners.set("haet", load=1.0)
    with pytest.raises(NoSuchBurner):
        burners.stop(["heat", "cold"])
    assert burners.info()[0].state is BurnerState.RUNNING


def test_workers_that_cannot_be_forked_leave_the_burner_as_it_was(burners, forker, clock) -> None:
    up(burners, forker)
    forker.refusal = Unavailable("no more descriptors")
    with pytest.raises(Unavailable):
        burners.set("heat", workers=2, load=90.0)
    info = burners.info()[0]
    assert (info.size, info.target) == (1, 60.0)


def test_a_change_that_is_not_observed_in_time_is_reported_and_the_burner_goes_on(burners, forker, clock) -> None:
    up(burners, forker)
    change = burners.set("heat", load=80.0)
    clock.turn(30)
    assert isinstance(change.error, DeadlineExceeded)
    info = burners.info()[0]
    assert info.state is BurnerState.RUNNING
    assert "made no progress for 30.0 s" in info.reason
    assert (info.target, info.achieved, info.shortfall) == (80.0, 0.0, 80.0)


# --- losses -----------------------------------------------------------------------------------------------------------


def test_a_process_that_dies_is_replaced_and_reported(burners, forker, clock, events) -> None:
    up(burners, forker, workers=2)
    forker.children[0].die(-signal.SIGKILL)
    assert events[-1].reason == "process 100 ended by signal SIGKILL"
    info = burners.info()[0]
    assert info.reason == "process 100 ended by signal SIGKILL, 0.0 s ago; its replacement does not burn yet"
    assert (info.target, info.achieved, info.shortfall) == (60.0, 30.0, 30.0)
    clock.turn(1)
    forker.tick()
    info = burners.info()[0]
    assert [worker.pid for worker in info.workers] == [102, 101]
    assert info.reason.endswith("1.0 s ago; replaced")
    clock.turn(10)
    forker.tick()
    assert burners.info()[0].reason == ""


def test_a_place_that_keeps_losing_its_process_fails_the_burner(burners, forker, clock, events) -> None:
    up(burners, forker, workers=2)
    for _ in range(3):
        clock.turn(1)
        next(child for child in forker.alive if child.spec.name.endswith("/0")).die(-signal.SIGKILL)
    clock.turn(5)
    info = burners.info()[0]
    assert (info.state, info.size, info.workers) == (BurnerState.FAILED, 0, ())
    assert "signal SIGKILL; 3 in a row within 10 s" in info.reason
    assert forker.alive == []
    assert states(events)[-1] == "failed"


def test_one_death_in_each_of_many_places_is_no_failure(burners, forker) -> None:
    up(burners, forker, workers=4)
    for child in list(forker.alive):
        child.die(-signal.SIGKILL)
    forker.tick()
    assert burners.info()[0].state is BurnerState.RUNNING
    assert len(forker.alive) == 4


def test_deaths_far_apart_are_no_failure(burners, forker, clock) -> None:
    up(burners, forker)
    for _ in range(10):
        clock.turn(6)
        forker.alive[0].die(-signal.SIGKILL)
        forker.tick()
    assert burners.info()[0].state is BurnerState.RUNNING


def test_a_failed_burner_stays_listed_until_it_is_stopped_or_replaced(burners, forker, clock) -> None:
    up(burners, forker)
    for _ in range(3):
        forker.alive[0].die(1)
    with pytest.raises(NameTaken):
        burners.start("heat", 1, 60.0)
    with pytest.raises(IllegalMove):
        burners.set("heat", load=1.0)
    assert burners.stop(["heat"]).value() == ["heat"]
    assert "heat" not in burners


def test_a_change_that_is_pending_when_the_burner_fails_is_answered(burners, forker, clock) -> None:
    up(burners, forker)
    change = burners.set("heat", load=80.0)
    for _ in range(3):
        forker.alive[0].die(1)
    clock.turn(5)
    assert isinstance(change.error, StartFailed)


def test_a_replacement_that_the_system_refuses_is_tried_again(burners, forker, clock) -> None:
    up(burners, forker)
    forker.refusal = Unavailable("no more descriptors")
    forker.children[0].die(-signal.SIGKILL)
    clock.turn(0.5)
    forker.refusal = None
    clock.turn(1)
    assert len(forker.alive) == 1
    forker.tick()
    assert burners.info()[0].state is BurnerState.RUNNING


def test_a_replacement_that_the_system_keeps_refusing_fails_the_burner(burners, forker, clock) -> None:
    up(burners, forker)
    forker.refusal = Unavailable("no more descriptors")
    forker.children[0].die(-signal.SIGKILL)
    clock.turn(5)
    info = burners.info()[0]
    assert info.state is BurnerState.FAILED
    assert "no more descriptors" in info.reason


# --- stop -------------------------------------------------------------------------------------------------------------


def test_a_stop_settles_after_the_last_process_is_reaped(burners, forker, events) -> None:
    up(burners, forker, workers=2)
    stop = burners.stop(["heat"])
    assert all(child.sheet.order().stop for child in forker.children)
    forker.children[0].die(0)
    assert not stop.settled
    forker.children[1].die(0)
    assert stop.value() == ["heat"]
    assert burners.survivors() == 0
    assert burners.info() == []
    assert states(events) == ["starting", "running", "stopping", "stopped"]


def test_the_ladder_is_flag_then_sigterm_then_sigkill(burners, forker, clock) -> None:
    up(burners, forker)
    child = forker.children[0]
    child.obedient = False
    stop = burners.stop(["heat"], grace=3.0)
    assert child.signals == []
    clock.turn(1)
    assert child.signals == [signal.SIGTERM]
    clock.turn(1.9)
    assert child.signals == [signal.SIGTERM]
    clock.turn(0.2)
    assert child.signals == [signal.SIGTERM, signal.SIGKILL]
    assert stop.value() == ["heat"]


def test_a_second_stop_may_hurry_the_first(burners, forker, clock) -> None:
    up(burners, forker)
    forker.children[0].obedient = False
    first = burners.stop(["heat"], grace=600.0)
    second = burners.stop(["heat"], grace=0.0)
    clock.turn(0.1)
    assert (first.value(), second.value()) == (["heat"], ["heat"])


def test_a_stop_of_several_names_each_once(burners, forker, clock) -> None:
    up(burners, forker, "one")
    up(burners, forker, "two")
    stop = burners.stop(["two", "one", "two"])
    clock.turn(3)
    assert stop.value() == ["two", "one"]
    assert burners.stop([]).value() == []


def test_a_stop_during_the_start_ends_both(burners, forker, clock) -> None:
    start = burners.start("heat", 1, 60.0)
    stop = burners.stop(["heat"])
    clock.turn(3)
    assert isinstance(start.error, StartFailed)
    assert stop.value() == ["heat"]


def test_a_process_that_survives_sigkill_is_counted_and_reported(burners, forker, clock) -> None:
    up(burners, forker)
    child = forker.children[0]
    child.signal = lambda signum, group=True: True  # in uninterruptible sleep
    stop = burners.stop(["heat"])
    clock.turn(60)
    assert isinstance(stop.error, DeadlineExceeded)
    assert burners.survivors() == 1
    child.die(-signal.SIGKILL)
    assert burners.survivors() == 0
    assert "heat" not in burners


def test_close_ends_all_and_takes_no_more(burners, forker, clock) -> None:
    up(burners, forker, "one", workers=2)
    up(burners, forker, "two")
    burners.start("three", 1, 10.0)
    close = burners.close()
    with pytest.raises(ShuttingDown):
        burners.start("four", 1, 10.0)
    clock.turn(3)
    assert sorted(close.value()) == ["one", "three", "two"]
    assert forker.alive == []


def test_when_all_has_ended_no_timer_and_no_descriptor_is_left(burners, forker, clock) -> None:
    up(burners, forker, workers=3, seconds=30.0)
    burners.set("heat", load=10.0)
    burners.stop(["heat"])
    clock.turn(3)
    assert clock.pending() == 0
    assert clock.watched == {}
    assert all(child.page.closed and child.channel.fileno() == -1 for child in forker.children)


def test_burners_that_run_cost_one_timer_for_all_and_one_for_each_time_limit(burners, forker, clock) -> None:
    up(burners, forker, workers=3, seconds=float("inf"))
    up(burners, forker, "other", workers=1, seconds=float("inf"))
    clock.turn()
    assert clock.pending() == 1
    up(burners, forker, "timed", workers=3)
    clock.turn()
    assert clock.pending() == 2


def test_burners_do_not_touch_each_other(burners, forker, clock) -> None:
    up(burners, forker, "one", load=20.0)
    up(burners, forker, "two", load=70.0)
    burners.set("one", load=90.0)
    assert forker.children[1].sheet.order().target == 0.7
    burners.stop(["one"])
    clock.turn(3)
    forker.tick()
    assert [(info.name, info.achieved) for info in burners.info()] == [("two", 70.0)]
