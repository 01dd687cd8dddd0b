"""What the kernel tells, read from files."""

from __future__ import annotations

import os

import pytest
from tests.unit.burners.machines import Machine

from stokerd.burners.host import USER_HZ, Capacity, Host, usage
from stokerd.cores import Throttling


def test_busy_is_what_is_neither_idle_nor_waiting_nor_stolen(tmp_path) -> None:
    machine = Machine(tmp_path, 2)
    line = "cpu{} {} {} {} {} {} {} {} {} 9 9"
    before = machine.host.times()
    grown = {0: (1, 2, 3, 4, 5, 6, 7, 8), 1: (0, 0, 0, 100, 0, 0, 0, 0)}
    text = ["cpu  1 1 1 1 1 1 1 1 1 1"]
    for core, columns in grown.items():
        text.append(line.format(core, *(round(a * USER_HZ) + b for a, b in zip(before[core], columns, strict=True))))
    machine.write("/proc/stat", "\n".join([*text, "intr 5"]))
    found = usage(before, machine.host.times(), 1.0)
    jiffy = 1 / USER_HZ
    assert found.wall == 2.0
    assert found.busy == pytest.approx(2.0 - (4 + 5 + 100 + 8) * jiffy)
    assert found.steal == pytest.approx(8 * jiffy)
    assert found.irq == pytest.approx(13 * jiffy)
    assert found.percent(1.0) == 50.0


def test_cores_outside_of_the_affinity_do_not_count(tmp_path) -> None:
    machine = Machine(tmp_path, 4)
    machine.affinity = {1, 3}
    before = machine.host.times()
    machine.spend(1.0, busy=1.0, cores=(0, 2))
    machine.spend(1.0, busy=0.25, cores=(1, 3))
    after = machine.host.times()
    assert sorted(after) == [1, 3]
    found = usage(before, after, 1.0)
    assert found.percent(found.busy) == pytest.approx(25.0)
    assert usage(before, after, 1.0, (3,)).wall == 1.0


def test_counters_that_run_backwards_are_no_time_at_all(tmp_path) -> None:
    machine = Machine(tmp_path, 1)
    before = machine.host.times()
    machine.idle[0] -= 5
    machine.steal[0] -= 0
    machine.spend(0.0)
    assert usage(before, machine.host.times(), 1.0).busy == 1.0


def test_capacity_is_affinity_and_the_tightest_quota(tmp_path) -> None:
    machine = Machine(tmp_path, 4)
    assert machine.host.capacity() == Capacity(4, 4.0)
    machine.quota(1.5)
    assert machine.host.capacity() == Capacity(4, 1.5)
    machine.quota(9)
    assert machine.host.capacity() == Capacity(4, 4.0)


def test_throttling_is_read_from_both_kinds_of_cgroup(tmp_path) -> None:
    machine = Machine(tmp_path, 1)
    assert machine.host.throttling() == Throttling(0, 0.0)
    machine.throttled(7, 1.25)
    assert machine.host.throttling() == Throttling(7, 1.25)
    machine.write("/sys/fs/cgroup/cpu.stat", "nr_periods 9\nnr_throttled 3\nthrottled_time 500000000\n")
    assert machine.host.throttling() == Throttling(3, 0.5)


def test_a_machine_that_tells_nothing_reads_as_nothing(tmp_path) -> None:
    host = Host(tmp_path, lambda: {0})
    assert host.times() == {}
    assert host.waited(1) is None
    assert host.throttling() == Throttling(0, 0.0)
    assert usage({}, {}, 1.0).percent(1.0) == 0.0


def test_this_machine_tells_of_its_cores_and_of_a_process() -> None:
    host = Host()
    assert set(host.times()) == os.sched_getaffinity(0)
    waited = host.waited(os.getpid())
    assert waited is None or waited >= 0
