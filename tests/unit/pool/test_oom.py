"""Whether memory ran out: as the kernel counts it, and once for each time."""

from __future__ import annotations

import pytest

from stokerd.pool import oom
from stokerd.pool.oom import OomKills, _sources


@pytest.fixture
def counts(tmp_path):
    group, machine = tmp_path / "memory.events", tmp_path / "vmstat"
    group.write_text("low 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 9\n")
    machine.write_text("nr_free_pages 5\noom_kill 40\n")
    return group, machine


def test_a_kill_is_told_of_once(counts):
    kills = OomKills(counts)
    assert not kills.struck()
    counts[0].write_text("oom 4\noom_kill 3\n")
    assert kills.struck()
    assert not kills.struck()
    counts[0].write_text("oom 4\noom_kill 5\n")
    assert kills.struck()
    assert not kills.struck()


def test_the_group_s_own_count_goes_before_the_machine_s(counts):
    kills = OomKills(counts)
    counts[1].write_text("oom_kill 41\n")
    assert not kills.struck()


def test_where_the_group_has_no_count_the_machine_s_is_taken(counts):
    kills = OomKills((counts[0].with_name("none"), counts[1]))
    counts[1].write_text("oom_kill 41\n")
    assert kills.struck()


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill many\n", "oom_killer 9\n", "oom 9\n"])
def test_a_file_without_a_count_counts_nothing(tmp_path, text):
    path = tmp_path / "memory.events"
    path.write_text(text)
    kills = OomKills((path,))
    path.write_text("oom_kill 1\n")
    assert kills.struck()


def test_without_any_file_it_never_was_memory(tmp_path):
    kills = OomKills((tmp_path / "none",))
    assert not kills.struck()
    assert not OomKills(()).struck()


def test_a_count_that_begins_anew_is_no_kill_and_the_next_one_is(counts):
    kills = OomKills(counts)
    counts[0].write_text("oom_kill 0\n")
    assert not kills.struck()
    counts[0].write_text("oom_kill 1\n")
    assert kills.struck()


def test_this_system_has_a_count_to_be_read():
    assert _sources()
    assert not OomKills().struck()


def test_what_happens_in_the_group_of_the_jobs_is_counted_from_that_of_the_daemon(tmp_path, monkeypatch):
    service = tmp_path / "system.slice/stokerd.service"
    (service / "daemon").mkdir(parents=True)
    (service / "memory.events").write_text("oom_kill 4\n")
    (service / "daemon/memory.events").write_text("oom_kill 0\n")
    (tmp_path / "cgroup").write_text("0::/system.slice/stokerd.service/daemon\n")
    monkeypatch.setattr(oom, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(oom, "CGROUPS", tmp_path)
    assert _sources()[0] == service / "memory.events"
