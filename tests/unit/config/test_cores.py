"""How many cores may be used: affinity, cgroup v2 and v1."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest

from stokerd.cores import cpu_quota, usable_cores

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = "33 32 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"


def quota(files: dict[str, str]) -> float:
    return cpu_quota(files.get)


def test_without_cgroups_there_is_no_quota():
    assert quota({}) == math.inf
    assert quota({"/proc/self/cgroup": "0::/\n", "/proc/self/mountinfo": V2}) == math.inf


def test_the_tightest_of_a_v2_group_and_those_above_it_counts():
    files = {
        "/proc/self/cgroup": "0::/system.slice/stoker.service\n",
        "/proc/self/mountinfo": V2,
        "/sys/fs/cgroup/system.slice/stoker.service/cpu.max": "max 100000\n",
        "/sys/fs/cgroup/system.slice/cpu.max": "150000 100000\n",
        "/sys/fs/cgroup/cpu.max": "400000 100000\n",
    }
    assert quota(files) == 1.5


def test_a_v1_quota_counts_and_minus_one_means_none():
    files = {
        "/proc/self/cgroup": "4:memory:/a\n3:cpu,cpuacct:/a/b\n0::/\n",
        "/proc/self/mountinfo": V1,
        "/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1",
        "/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us": "100000",
        "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "50000",
        "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
    }
    assert quota(files) == 0.5


def test_in_a_container_the_mount_shows_only_its_own_part_of_the_tree():
    mount = "30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    files = {
        "/proc/self/cgroup": "0::/docker/abc\n",
        "/proc/self/mountinfo": mount,
        "/sys/fs/cgroup/cpu.max": "200000 100000\n",
    }
    assert quota(files) == 2.0
    assert quota(files | {"/proc/self/cgroup": "0::/../elsewhere\n"}) == 2.0


@pytest.mark.parametrize("garbage", ["", "max", "x y", "1 0", "1 2 3", "-5 100"])
def test_a_quota_that_cannot_be_read_limits_nothing(garbage):
    files = {"/proc/self/cgroup": "0::/\n", "/proc/self/mountinfo": V2, "/sys/fs/cgroup/cpu.max": garbage}
    assert quota(files) == math.inf


def test_a_process_pinned_to_one_core_may_use_one():
    pin = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    code = f"{pin}; from stokerd.cores import usable_cores; print(usable_cores())"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.check_output([sys.executable, "-c", code], env=env, text=True) == "1\n"


def test_there_is_at_least_one_core_and_never_more_than_the_affinity_allows():
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))
