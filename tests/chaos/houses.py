"""Farms whose daemon may die and come back, and what has to be as it was when the dust has settled."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import psutil
from tests.conftest import StartDaemon
from tests.daemons import STOKERD, alive, wait_until
from tests.farms import WORK, Farm

DEEDS = Path(__file__).with_name("deeds.py")
STANDING = Path(__file__).with_name("standing.py")
Program: TypeAlias = tuple[str, ...] | Callable[[Path], tuple[str, ...]]


class House(Farm):
    """A farm that outlives its daemon.

    Args:
        start_daemon: the fixture.
        home: made here; ``work.py`` and ``deeds.py`` are there, and the jobs' marks.
        workers: of the pool ``default``.
        more: lines of configuration of that pool.
        tables: further tables of the configuration.
        arguments: of the daemon.
        program: what becomes the daemon; or a function that says so, given the home.
    """

    def __init__(
        self,
        start_daemon: StartDaemon,
        home: Path,
        *,
        workers: int = 2,
        more: str = "",
        tables: str = "",
        arguments: tuple[str, ...] = (),
        program: Program = STOKERD,
    ) -> None:
        home.mkdir(parents=True)
        shutil.copy(WORK, home / "work.py")
        shutil.copy(DEEDS, home / "deeds.py")
        self._start, self._arguments, self._workers = start_daemon, arguments, workers
        self._config = f"[pool.default]\nworkers = {workers}\n{more}\n{tables}"
        self._directory = home.parent / f"{home.name}.d"
        self._home = home
        super().__init__(self._started(program), home)

    def _started(self, program: Program) -> Any:
        daemon = self._start(
            *self._arguments,
            directory=self._directory,
            config=self._config,
            cwd=self._home,
            program=program(self._home) if callable(program) else program,
        )
        assert "ready" in daemon.ready, (daemon.ready, daemon.log)
        daemon.wait_for_workers(self._workers)
        return daemon

    def again(self, program: Program = STOKERD) -> None:
        """Another daemon in place of one that is dead: the same endpoint, the same state directory."""
        self.daemon = self._started(program)

    def die(self) -> None:
        """SIGKILL of the daemon: nothing of its family lives on."""
        family = self.daemon.family()
        self.daemon.kill()
        wait_until(lambda: not alive(family))

    @property
    def state_dir(self) -> Path:
        """Where it keeps what must outlive it."""
        given = dict(itertools.pairwise(self._arguments)).get("--state-dir")
        return Path(given) if given else self._directory / "state"

    def lines(self, name: str) -> list[int]:
        """The numbers that jobs have appended to a file."""
        path = self.home / name
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def forkservers(self) -> list[psutil.Process]:
        """The daemon's own children."""
        return psutil.Process(self.daemon.pid).children()

    def deed(self, function: str, *args: Any, **options: Any) -> int:
        """Hand in one call of a function of ``deeds``; returns its id."""
        return self.submit(f"deeds:{function}", *args, **options)


@dataclass(frozen=True)
class Inventory:
    """What there is of whatever could leak."""

    descriptors: int
    forkserver_descriptors: int
    processes: int
    claims: int
    payloads: int
    shared_memory: frozenset[str]

    def exceeded_by(self, other: Inventory) -> bool:
        """Whether there is more of anything in the other."""
        return (
            other.descriptors > self.descriptors
            or other.forkserver_descriptors > self.forkserver_descriptors
            or other.processes > self.processes
            or other.claims > self.claims
            or other.payloads > self.payloads
            or not other.shared_memory <= self.shared_memory
        )


def inventory(farm: Farm) -> Inventory | None:
    """Everything, once it stays the same; None: it does not yet."""
    seen = {_count(farm) for _ in range(10)}
    return seen.pop() if len(seen) == 1 else None


def _count(farm: Farm) -> Inventory:
    state = farm.state_dir if isinstance(farm, House) else farm.daemon.directory / "state"
    forkservers = 0
    for child in psutil.Process(farm.daemon.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            forkservers += len(list(Path(f"/proc/{child.pid}/fd").iterdir()))
    return Inventory(
        descriptors=farm.descriptors(),
        forkserver_descriptors=forkservers,
        processes=len(farm.daemon.family()),
        claims=_files(state / "claims"),
        payloads=_files(state / "jobs" / "payloads"),
        shared_memory=frozenset(_shared_memory()),
    )


def _shared_memory() -> Iterator[str]:
    """What lies in /dev/shm but for what other libraries have put there: tests of them may run beside these."""
    others = ("joblib_", "sem.loky-", "sem.mp-")
    return (entry.name for entry in Path("/dev/shm").iterdir() if not entry.name.startswith(others))


def _files(folder: Path) -> int:
    return len(list(folder.iterdir())) if folder.exists() else 0


def zombies(pid: int) -> list[psutil.Process]:
    """The zombies below a process."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() == psutil.STATUS_ZOMBIE:
                found.append(child)
    return found


def baseline(farm: Farm) -> Inventory:
    """What :func:`inventory` says first."""
    found: list[Inventory] = []

    def look() -> bool:
        found.extend(filter(None, [inventory(farm)]))
        return bool(found)

    wait_until(look)
    return found[0]


@contextmanager
def nothing_leaks(farm: Farm, workers: int = 2, warm_up: Callable[[], object] = bool) -> Iterator[None]:
    """Whatever is done inside, in the end there are as many workers again, and no more of anything than before.

    No more, and not exactly as many: a connection that was being closed may have been counted at the beginning.

    Args:
        farm: with an idle daemon.
        workers: how many it has.
        warm_up: called first: what it brings into being, forkservers for instance, is not a leak.
    """
    warm_up()
    farm.all_ended(farm.submit_many("square", [[x] for x in range(2000)]))  # a reply so large as to open what it takes
    farm.daemon.wait_for_workers(workers)
    before = baseline(farm)
    yield
    farm.daemon.wait_for_workers(workers)
    last: list[Inventory | None] = [None]

    def as_before() -> bool:
        last[0] = inventory(farm)
        return last[0] is not None and not before.exceeded_by(last[0])

    try:
        wait_until(as_before)
    except AssertionError:
        raise AssertionError(f"there is more than before: {before} {last[0]}") from None
    wait_until(lambda: not zombies(farm.daemon.pid))


Build = Callable[..., House]
