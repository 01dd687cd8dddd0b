"""Control groups of one's own: files as the kernel has them, and nothing touched that was not given."""

from __future__ import annotations

import os

import pytest

from stokerd import cgroups
from stokerd.cgroups import BURNERS, DAEMON, JOBS, Groups, Share

SHARES = {DAEMON: Share(1000), JOBS: Share(100, 1 << 30), BURNERS: Share(50)}
MOUNTS = "30 20 0:26 / {top} rw shared:4 - cgroup2 cgroup2 rw\n"
NEEDS_XATTR = "a file system without user attributes"


@pytest.fixture
def base(tmp_path):
    """A directory with the files of a cgroup that has the controllers of this parameter."""
    group = tmp_path / "system.slice" / "stokerd.service"
    group.mkdir(parents=True)
    for name in ("cgroup.procs", "cgroup.subtree_control"):
        (group / name).touch()
    (group / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    return group


def test_each_gets_its_share_and_its_limit(base):
    groups = Groups(base)
    groups.settle(SHARES)
    assert (base / DAEMON / "cgroup.procs").read_text() == str(os.getpid())
    assert (base / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    weights = [int((base / name / "cpu.weight").read_text()) for name in (DAEMON, JOBS, BURNERS)]
    assert weights == sorted(weights, reverse=True)
    assert len(set(weights)) == 3
    assert [(base / name / "memory.max").read_text() for name in (DAEMON, JOBS, BURNERS)] == [
        "max",
        "1073741824",
        "max",
    ]


def test_without_controllers_they_are_groups_all_the_same(base):
    (base / "cgroup.controllers").write_text("\n")
    groups = Groups(base)
    groups.settle(SHARES)
    assert groups.controllers == ()
    assert not (base / JOBS / "cpu.weight").exists()
    assert groups.directory(BURNERS) == str(base / BURNERS)


def test_killing_spares_the_daemon(base):
    groups = Groups(base)
    groups.settle(SHARES)
    groups.kill()
    assert [(base / name / "cgroup.kill").exists() for name in (DAEMON, JOBS, BURNERS)] == [False, True, True]


def test_a_process_is_put_into_a_group(base):
    cgroups.enter(str(base), 4711)
    assert (base / "cgroup.procs").read_text() == "4711"


def test_only_what_was_delegated_is_taken(tmp_path, base):
    membership, mounts = "1:cpu:/other\n0::/system.slice/stokerd.service\n", MOUNTS.format(top=tmp_path)
    assert cgroups.delegated(membership, mounts) is None
    try:
        os.setxattr(base, "user.delegate", b"1")
    except OSError:
        pytest.skip(NEEDS_XATTR)
    assert cgroups.delegated(membership, mounts) == base
    assert cgroups.delegated("1:cpu:/other\n", mounts) is None
    assert cgroups.delegated(membership, "") is None
    os.setxattr(base, "user.delegate", b"0")
    assert cgroups.delegated(membership, mounts) is None
