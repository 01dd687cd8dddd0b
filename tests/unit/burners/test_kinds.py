"""The kinds of load: calibration of chunks, what each kind does, and what it refuses."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stoker.protocol.loads import LOADS, STRESS_NG
from stokerd.burners.control import CLAMP
from stokerd.burners.kinds import CHUNK_SECONDS, KINDS, Refusal, calibrated, call, disk, memory, room


class Core:
    """A core on which one turn takes ``turn`` seconds, and every n-th sample ``slow`` times as long."""

    def __init__(self, turn: float, every: int = 0, slow: float = 1.0) -> None:
        self.now, self.turn, self.every, self.slow, self.samples = 0.0, turn, every, slow, 0
        self.turns = 0

    def clock(self) -> float:
        return self.now

    def work(self, turns: int) -> None:
        self.samples += 1
        self.turns = turns
        disturbed = self.every and self.samples % self.every
        self.now += turns * self.turn * (self.slow if disturbed else 1.0)


@pytest.mark.parametrize("turn", [1e-9, 40e-9, 3e-6])
def test_a_chunk_takes_50_microseconds_on_any_core(turn: float) -> None:
    core = Core(turn)
    calibrated(core.work, core.clock)()
    assert core.turns * turn == pytest.approx(CHUNK_SECONDS, rel=0.05)


def test_a_turn_longer_than_a_chunk_is_a_chunk() -> None:
    core = Core(1e-3)
    calibrated(core.work, core.clock)()
    assert core.turns == 1


def test_a_busy_host_does_not_make_chunks_smaller() -> None:
    core = Core(40e-9, every=4, slow=5.0)
    calibrated(core.work, core.clock)()
    assert core.turns * 40e-9 == pytest.approx(CHUNK_SECONDS, rel=0.05)


PARAMS: dict[str, dict[str, Any]] = {
    "memory": {"bytes": 3_000_000},
    "bandwidth": {"bytes": 4 << 20},
    "call": {"call": "os:listdir"},
}


def params_of(name: str, folder: Path) -> dict[str, Any]:
    return {"rate": 1e6, "folder": str(folder), "quota": 1 << 20} if name == "disk" else PARAMS.get(name, {})


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_makes_a_chunk_that_its_clock_sees(name: str, tmp_path: Path) -> None:
    load = KINDS[name](params_of(name, tmp_path))
    before, done = load.clock(), load.work()
    load.chunk()
    assert load.clock() > before
    assert (load.work() > done) == bool(LOADS[name].work)
    assert load.note() == ""
    load.close()


def test_every_kind_is_explained_and_every_explained_kind_is_there() -> None:
    assert set(LOADS) == {*KINDS, STRESS_NG}
    assert all(load.what and load.unit and set(load.needs) <= set(load.takes) for load in LOADS.values())


def test_without_numpy_matrix_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(Refusal, match="needs numpy") as caught:
        KINDS["matrix"]({})
    assert "pip install numpy" in caught.value.hint


def test_matrix_keeps_blas_to_one_thread() -> None:
    KINDS["matrix"]({})
    assert os.environ["OPENBLAS_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"] == "1"


# --- memory ---------------------------------------------------------------------------------------------------


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * memory.PAGE


def test_memory_is_held_before_the_load_begins_and_given_back_at_its_end() -> None:
    before = resident()
    load = KINDS["memory"]({"bytes": 64 << 20})
    assert resident() - before > 60 << 20
    load.close()
    assert resident() - before < 16 << 20


def test_memory_touches_every_page_in_turn() -> None:
    pages = 1500
    load = KINDS["memory"]({"bytes": pages * memory.PAGE})
    cells = [cell.cell_contents for cell in load.chunk.func.__self__._work.__closure__]  # type: ignore[attr-defined]
    held = next(cell for cell in cells if hasattr(cell, "madvise"))
    held[:] = bytes(len(held))
    done = load.work()
    while load.work() - done < pages:
        load.chunk()
    assert all(held[page * memory.PAGE] for page in range(pages))


def test_memory_beyond_what_may_be_taken_is_refused_before_any_is_taken() -> None:
    with pytest.raises(Refusal, match=r"8 MiB more of memory is beyond the 1 MiB"):
        memory.reserve(8 << 20, lambda: 1 << 20)


def test_memory_that_somebody_else_takes_meanwhile_is_not_fought_for() -> None:
    left = iter([64 << 20, 64 << 20, 64 << 20, 1000])
    with pytest.raises(Refusal, match=r"after 8 MiB is beyond the 1000 B"):
        memory.reserve(64 << 20, lambda: next(left))


def test_memory_that_no_process_can_have_is_refused() -> None:
    with pytest.raises(Refusal, match="cannot be had"):
        memory.reserve(1 << 62, lambda: float("inf"))


MEMINFO = "MemTotal:       8000000 kB\nMemFree:  100 kB\nMemAvailable:   5000000 kB\n"
GROUPS = {
    "/proc/meminfo": MEMINFO,
    "/proc/self/cgroup": "0::/box/inner\n",
    "/proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "/sys/fs/cgroup/box/inner/memory.max": "max\n",
    "/sys/fs/cgroup/box/inner/memory.current": "4096\n",
    "/sys/fs/cgroup/box/memory.max": "1000000000\n",
    "/sys/fs/cgroup/box/memory.current": "900000000\n",
    "/sys/fs/cgroup/box/memory.stat": "anon 1\ninactive_file 300000000\n",
}
GROUPS_V1 = {
    "/proc/meminfo": MEMINFO,
    "/proc/self/cgroup": "4:memory:/box\n3:cpu:/other\n",
    "/proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
    "/sys/fs/cgroup/memory/box/memory.limit_in_bytes": "500000000\n",
    "/sys/fs/cgroup/memory/box/memory.usage_in_bytes": "100000000\n",
}


def test_what_may_be_taken_leaves_a_twentieth_of_the_machine() -> None:
    assert room.spare_memory({"/proc/meminfo": MEMINFO}.get) == pytest.approx(4_600_000 * 1024)


def test_what_may_be_taken_is_bounded_by_the_cgroups() -> None:
    assert room.spare_memory(GROUPS.get) == pytest.approx(400_000_000 - 50_000_000)
    assert room.spare_memory(GROUPS_V1.get) == pytest.approx(400_000_000 - 25_000_000)


def test_where_the_kernel_tells_nothing_nothing_is_forbidden() -> None:
    assert room.spare_memory({}.get) == float("inf")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [({"index3": "105M\n"}, 210 << 20), ({"index0": "32K\n"}, 64 << 20), ({"index3": "2G"}, 1 << 30), ({}, 64 << 20)],
)
def test_the_buffer_of_bandwidth_is_larger_than_the_caches(sizes, expected: int) -> None:
    files = {f"/sys/devices/system/cpu/cpu0/cache/{name}/size": size for name, size in sizes.items()}
    assert memory.buffer_bytes(files.get) == expected


# --- disk -----------------------------------------------------------------------------------------------------


def blocks(folder: Path, io: str, count: int = 4) -> tuple[disk.Blocks, int]:
    fd = disk.open_nameless(str(folder))
    return disk.Blocks(fd, 4096, count, io), fd


def test_a_disk_load_has_no_name_in_its_folder(tmp_path: Path) -> None:
    load = KINDS["disk"]({"rate": 1e6, "folder": str(tmp_path)})
    load.chunk()
    assert list(tmp_path.iterdir()) == []
    load.close()


def test_where_there_are_no_nameless_files_one_is_made_and_unlinked_at_once(tmp_path: Path, monkeypatch) -> None:
    real = os.open

    def without_tmpfile(path, flags: int, mode: int = 0o777, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", without_tmpfile)
    file, fd = blocks(tmp_path, "write")
    file.turn()
    assert os.fstat(fd).st_size == 4096
    assert list(tmp_path.iterdir()) == []
    os.close(fd)


def test_a_disk_load_stays_within_its_quota(tmp_path: Path) -> None:
    file, fd = blocks(tmp_path, "write", count=3)
    for _ in range(10):
        file.turn()
    assert os.fstat(fd).st_size == 3 * 4096
    assert file.bytes == 10 * 4096
    os.close(fd)


def test_what_is_to_be_read_is_written_once_first(tmp_path: Path) -> None:
    file, fd = blocks(tmp_path, "read", count=3)
    assert file.note() == "writes its file first: 3 of 3 blocks to go"
    for _ in range(3):
        file.turn()
    assert file.note() == ""
    os.ftruncate(fd, 0)  # whatever is only read now is not written again
    for _ in range(5):
        file.turn()
    assert os.fstat(fd).st_size == 0
    assert file.bytes == 8 * 4096
    os.close(fd)


def test_both_reads_back_each_block_that_it_wrote(tmp_path: Path) -> None:
    file, fd = blocks(tmp_path, "both", count=4)
    sizes = []
    for _ in range(6):
        file.turn()
        sizes.append(os.fstat(fd).st_size // 4096)
    assert sizes == [1, 1, 2, 2, 3, 3]
    os.close(fd)


def test_the_clock_of_a_disk_is_what_it_did_by_the_rate(tmp_path: Path) -> None:
    load = KINDS["disk"]({"rate": 1_000_000.0, "folder": str(tmp_path), "quota": 1 << 20})
    while load.clock() < 0.25:
        load.chunk()
    assert load.work() == load.clock() * 1_000_000
    load.close()


def test_a_quota_beyond_the_file_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="that may be taken of the file system") as caught:
        KINDS["disk"]({"rate": 1e6, "folder": str(tmp_path), "quota": 1 << 47})
    assert "smaller quota" in caught.value.hint


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_folder_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match="cannot be written to"):
        disk.open_nameless(str(tmp_path / name))


def test_a_disk_that_gives_up_ends_the_load_with_the_reason(tmp_path: Path) -> None:
    file, fd = blocks(tmp_path, "write")
    os.close(fd)
    with pytest.raises(Refusal, match="the disk gave up: Bad file descriptor"):
        file.turn()


# --- call -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:work", "cannot be imported: ModuleNotFoundError"),
        ("gc:no_such", "there is no no_such in gc"),
        ("sys:maxsize", "is of type int, which cannot be called"),
    ],
)
def test_what_cannot_be_called_is_refused(name: str, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        call.find(name)


def test_a_module_that_fails_to_import_is_refused_with_its_error(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "broken_module_of_a_test.py").write_text("raise SystemExit('not today')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Refusal, match="SystemExit: not today"):
        call.find("broken_module_of_a_test:work")


def test_a_method_can_be_named_with_dots() -> None:
    assert call.find("pathlib:Path.cwd")() == Path.cwd()


@pytest.mark.parametrize("error", [ValueError("no fuel"), SystemExit("enough")])
def test_a_call_that_raises_ends_the_load_with_its_reason(error: BaseException) -> None:
    def work() -> None:
        raise error

    with pytest.raises(Refusal, match=f"pkg:work raised {type(error).__name__}: {error}"):
        call.Repeated(work, "pkg:work").turn()


def test_a_long_call_gets_credit_for_what_it_burns_beyond_the_clamp_and_says_so() -> None:
    now = [0.0]

    def work() -> None:
        now[0] += 0.2

    repeated = call.Repeated(work, "pkg:work", lambda: now[0])
    assert (repeated.credit(), repeated.note()) == (0.0, "")
    repeated.turn()
    assert repeated.credit() == pytest.approx(0.2 - CLAMP)
    assert "one call of pkg:work burns up to 0.20 s" in repeated.note()
    assert repeated.calls == 1


def test_the_clock_of_a_call_sees_children_that_were_waited_for() -> None:
    before = call.cpu_seconds()
    if (pid := os.fork()) == 0:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        os._exit(0)
    os.waitpid(pid, 0)
    assert call.cpu_seconds() - before >= 0.05
