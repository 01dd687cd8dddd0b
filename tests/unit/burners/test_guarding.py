"""Guards: when they trip, what they do, when they are clear; sensors that are not there. On a machine of files."""

from __future__ import annotations

import signal

import pytest

from stoker.errors import InvalidParams, StartFailed, Unavailable
from stoker.protocol.events import BurnerChanged, BurnerGuard
from stoker.protocol.guards import parse
from stoker.protocol.states import BurnerState
from stokerd.burners import sensors
from stokerd.burners.guards import LOOK_SECONDS, Post
from stokerd.burners.probe import EVERY_SECONDS, LIMIT_SECONDS

PRESSURE = "some avg10={} avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"


def up(burners, forker, *guards: str, load: float = 60.0, **more):
    start = burners.start("heat", 1, load, guards=guards, **more)
    forker.tick()
    return start.value()


def load_is(machine, average: float) -> None:
    machine.write("/proc/loadavg", f"{average} 0.10 0.10 1/93 5097\n")


def share(forker) -> float:
    return round(forker.burning[0].sheet.order().target * 100, 6)


def guard_events(events) -> list[tuple[bool, str]]:
    return [(event.tripped, event.action) for event in events if isinstance(event, BurnerGuard)]


# --- one guard


def test_a_guard_trips_at_once_and_is_clear_after_its_hold_time_without_a_break() -> None:
    post = Post(parse("load>8/6@5s:pause"))
    assert [post.see(8.0, 0.0), post.tripped] == [False, False]
    assert [post.see(8.1, 1.0), post.tripped] == [True, True]
    assert post.reason == "guard load>8/6@5s:pause: load is 8.1"
    assert not post.see(5.0, 2.0)
    assert not post.see(7.0, 6.0)  # neither calm nor beyond the threshold: the calm begins anew
    assert not post.see(5.0, 7.0)
    assert not post.see(5.0, 11.9)
    assert [post.see(5.0, 12.0), post.tripped, post.reason] == [True, False, ""]


def test_a_reading_between_the_two_values_does_not_trip_a_guard_that_is_clear() -> None:
    post = Post(parse("temp>85/60:cap"))
    assert not post.see(80.0, 0.0)
    assert not post.tripped


def test_a_sensor_that_falls_silent_counts_as_passed() -> None:
    post = Post(parse("temp>85:cap"))
    assert post.see(None, 0.0)
    assert post.reason.endswith("its sensor says nothing any more")
    assert not post.see(None, 100.0)
    assert not post.see(20.0, 101.0)
    assert post.see(20.0, 107.0)


# --- sensors


@pytest.mark.parametrize(
    ("guard", "file", "text", "reading"),
    [
        ("load>8:cap", "/proc/loadavg", "3.25 1.00 1.00 1/93 5097\n", 3.25),
        ("psi.cpu.some>8:cap", "/proc/pressure/cpu", PRESSURE.format("12.34"), 12.34),
        ("psi.io.full>8:cap", "/proc/pressure/io", PRESSURE.format("12.34"), 0.0),
        ("memory<1G:cap", "/proc/meminfo", "MemTotal: 9 kB\nMemAvailable:   2048 kB\n", 2048 * 1024),
        ("temp>80:cap", "/sys/class/thermal/thermal_zone3/temp", "45500\n", 45.5),
        ("temp>80:cap", "/sys/class/hwmon/hwmon0/temp2_input", "61000\n", 61.0),
    ],
)
def test_a_sensor_is_read_where_it_is_and_a_guard_on_it_is_refused_where_it_is_not(
    machine, guard: str, file: str, text: str, reading: float
) -> None:
    with pytest.raises(InvalidParams, match="cannot be kept"):
        sensors.check([parse(guard)], machine.host, None)
    machine.write(file, text)
    sensors.check([parse(guard)], machine.host, None)
    assert sensors.read(parse(guard).sensor, machine.host) == reading


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ("temp>80:cap", "no temperature sensor"),
        ("psi.cpu.some>8:cap", "/proc/pressure/cpu"),
        ("memory<1G:cap", "MemAvailable"),
        ("probe:no-such-program-here -x:abort", "no program 'no-such-program-here'"),
    ],
)
def test_a_start_with_a_guard_that_cannot_be_kept_starts_nothing(burners, forker, guard: str, said: str) -> None:
    with pytest.raises(InvalidParams, match=said) as caught:
        burners.start("heat", 1, 50.0, guards=(guard,))
    assert guard in caught.value.message
    assert (forker.children, "heat" in burners) == ([], False)


def test_a_guard_that_cannot_be_read_starts_nothing(burners, forker) -> None:
    with pytest.raises(InvalidParams, match="column 5: expected '>'"):
        burners.start("heat", 1, 50.0, guards=("load<8:cap",))
    assert forker.children == []


def test_the_hottest_sensor_counts(machine) -> None:
    for number, degrees in enumerate((41, 77, 60)):
        machine.write(f"/sys/class/thermal/thermal_zone{number}/temp", f"{degrees}000\n")
    assert sensors.read("temp", machine.host) == 77.0


# --- what guards do


@pytest.mark.parametrize(("action", "burnt"), [("warn", 60.0), ("cap", 30.0), ("pause", 0.0)])
def test_a_guard_does_its_action_until_it_is_clear(
    burners, forker, machine, clock, events, action: str, burnt: float
) -> None:
    load_is(machine, 1.0)
    info = up(burners, forker, f"load>8/6@2s:{action}")
    assert [(guard.text, guard.tripped) for guard in info.guards] == [(f"load>8/6@2s:{action}", False)]
    load_is(machine, 9.0)
    clock.turn(LOOK_SECONDS)
    assert share(forker) == burnt
    info = burners.info()[0]
    assert (info.guards[0].tripped, info.guards[0].reading, info.guards[0].action) == (True, 9.0, action)
    assert f"guard load>8/6@2s:{action}: load is 9" in next(r.text for r in info.reasons if r.code == "guard")
    load_is(machine, 5.0)
    clock.turn(LOOK_SECONDS + 1.0)
    assert share(forker) == burnt
    clock.turn(2.0)
    assert share(forker) == 60.0
    assert guard_events(events) == [(True, action), (False, action)]
    assert burners.info()[0].state is BurnerState.RUNNING


def test_an_abort_ends_the_burner_with_its_reason(burners, forker, machine, clock, events) -> None:
    load_is(machine, 1.0)
    up(burners, forker, "load>8:abort")
    load_is(machine, 9.0)
    clock.turn(3.0)
    assert "heat" not in burners
    assert forker.alive == []
    ended = [event for event in events if isinstance(event, BurnerChanged) and event.state is BurnerState.STOPPED]
    assert ended[0].reason == "guard load>8:abort: load is 9"
    assert guard_events(events) == [(True, "abort")]
    assert clock.pending() == 0


def test_an_abort_during_the_start_fails_it_with_the_guard_as_the_reason(burners, forker, machine, clock) -> None:
    load_is(machine, 9.0)
    start = burners.start("heat", 1, 60.0, guards=("load>8:abort",))
    clock.turn(3.0)
    assert isinstance(start.error, StartFailed)
    assert start.error.message.endswith("before its load was observed: guard load>8:abort: load is 9")
    assert "heat" not in burners


def test_of_several_guards_the_gravest_counts(burners, forker, machine, clock) -> None:
    load_is(machine, 9.0)
    machine.write("/proc/meminfo", "MemAvailable: 100 kB\n")
    up(burners, forker, "load>8:cap", "memory<1G:pause", "lateness>10s:abort")
    clock.turn(LOOK_SECONDS)
    assert share(forker) == 0.0
    assert [guard.tripped for guard in burners.info()[0].guards] == [True, True, False]


def test_guards_of_one_burner_leave_another_alone(burners, forker, machine, clock) -> None:
    load_is(machine, 9.0)
    up(burners, forker, "load>8:pause")
    other = burners.start("other", 1, 40.0)
    forker.tick()
    assert other.settled
    clock.turn(LOOK_SECONDS)
    assert [child.sheet.order().target for child in forker.burning] == [0.0, 0.4]


def test_steal_is_what_the_hypervisor_took_over_a_second(burners, forker, machine, clock) -> None:
    up(burners, forker, "steal>10:cap")
    for _ in range(8):
        machine.spend(LOOK_SECONDS, busy=0.2, steal=0.3)
        clock.turn(LOOK_SECONDS)
    assert share(forker) == 30.0
    assert burners.info()[0].guards[0].reading == pytest.approx(30.0, abs=0.5)


def test_lateness_is_how_late_the_loop_comes_to_its_own_timer(burners, forker, clock) -> None:
    up(burners, forker, "lateness>50ms/20ms@1s:cap")
    clock.turn(1.0)
    assert share(forker) == 60.0
    clock.now += 1.0  # the loop was kept from running
    clock.turn(0.0)
    assert share(forker) == 30.0
    assert "the loop is 750 ms late" in burners.info()[0].guards[0].reason
    clock.turn(2.0)
    assert share(forker) == 60.0


def test_sensors_are_looked_at_by_one_timer_while_a_guarded_burner_runs(burners, forker, machine, clock) -> None:
    load_is(machine, 1.0)
    burners.start("plain", 1, 10.0, seconds=float("inf"))
    forker.tick()
    clock.turn()
    assert clock.pending() == 1
    up(burners, forker, "load>8:cap", "load>9:pause", "lateness>1s:warn", seconds=float("inf"))
    clock.turn()
    assert clock.pending() == 2
    burners.stop(["heat"])
    clock.turn(3.0)
    assert clock.pending() == 1


# --- probes


def probe_of(forker):
    return next(child for child in reversed(forker.children) if not child.spec.page_bytes)


def test_a_probe_is_run_again_and_again_and_its_failure_trips_the_guard(burners, forker, clock, events) -> None:
    up(burners, forker, "probe:true --fine:pause")
    clock.turn()
    first = probe_of(forker)
    assert first.spec.args == {"argv": ["true", "--fine"]}
    first.die(0)
    assert share(forker) == 60.0
    clock.turn(EVERY_SECONDS)
    second = probe_of(forker)
    assert second is not first
    second.die(22)
    assert share(forker) == 0.0
    assert burners.info()[0].guards[0].reading == 22.0
    assert burners.info()[0].reason == "guard probe:true --fine:pause: it ended with exit code 22"
    for _ in range(2):
        clock.turn(EVERY_SECONDS)
        probe_of(forker).die(0)
    assert share(forker) == 60.0
    assert guard_events(events) == [(True, "pause"), (False, "pause")]


def test_a_probe_that_takes_too_long_is_killed_and_counts_as_a_failure(burners, forker, clock) -> None:
    up(burners, forker, "probe:true:cap")
    clock.turn()
    probe = probe_of(forker)
    clock.turn(LIMIT_SECONDS)
    assert probe.signals == [signal.SIGKILL]
    clock.turn()
    assert share(forker) == 30.0
    assert f"longer than {LIMIT_SECONDS:g} s" in burners.info()[0].guards[0].reason


def test_a_probe_that_cannot_be_forked_counts_as_a_failure_and_is_tried_again(burners, forker, clock) -> None:
    up(burners, forker, "probe:true:cap")
    forker.refusal = Unavailable("no more descriptors")
    clock.turn()
    assert "no more descriptors" in burners.info()[0].reason
    forker.refusal = None
    clock.turn(EVERY_SECONDS)
    probe_of(forker).die(0)
    assert burners.info()[0].guards[0].reading == 0.0


def test_when_the_burner_ends_its_probe_does_too(burners, forker, clock) -> None:
    up(burners, forker, "probe:true:cap")
    clock.turn()
    burners.stop(["heat"])
    assert probe_of(forker).signals == [signal.SIGKILL]
    clock.turn(3.0)
    assert forker.alive == []
    assert clock.pending() == 0
