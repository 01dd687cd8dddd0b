"""A daemon whose workers can import :mod:`tests.integration.work`, and short words for what tests ask of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.daemons import DEADLINE, RunningDaemon, wait_until

WORK = Path(__file__).parent / "integration" / "work.py"


class Farm:
    """See the module.

    Args:
        daemon: it was started in ``home``.
        home: where ``work.py`` lies, and where jobs leave their marks.
    """

    def __init__(self, daemon: RunningDaemon, home: Path) -> None:
        self.daemon = daemon
        self.home = home

    # --- jobs

    def submit(self, function: str, *args: Any, **options: Any) -> int:
        """Hand in one call of a function of ``work``; returns its id."""
        return self.submit_spec({"call": {"function": _reference(function), "args": list(args)}, **options})

    def submit_many(self, function: str, many: list[list[Any]], **options: Any) -> list[int]:
        """Hand in a batch; returns the ids."""
        first = self.submit_spec({"call": {"function": _reference(function), "many": many}, **options})
        return list(range(first, first + len(many)))

    def command(self, *argv: str, **options: Any) -> int:
        """Hand in a command; returns its id."""
        its = {name: options.pop(name) for name in ("cwd", "env", "stdin") if name in options}
        return self.submit_spec({"command": {"argv": list(argv), **its}, **options})

    def submit_spec(self, spec: dict[str, Any]) -> int:
        """Hand in one entry; returns the id of its first job."""
        job: int = self.daemon.result("submit", jobs=[spec])["jobs"][0]["id"]
        return job

    def run(self, function: str, *args: Any, **options: Any) -> dict[str, Any]:
        """Hand in one call and wait; the whole entry."""
        return self.ended(self.submit(function, *args, **options))

    def ended(self, job: int) -> dict[str, Any]:
        """The whole entry of a job once it has ended."""
        entry: dict[str, Any] = self.daemon.result("result", id=job, timeout=DEADLINE)["job"]
        return entry

    def all_ended(self, jobs: list[int]) -> list[dict[str, Any]]:
        """The entries, without values, once all have ended."""
        entries: list[dict[str, Any]] = self.daemon.result("wait", ids=jobs, timeout=DEADLINE)["jobs"]
        assert all("ended" in entry for entry in entries), "waited in vain"
        return entries

    def values(self, jobs: list[int]) -> list[Any]:
        """The values once all have ended."""
        self.all_ended(jobs)
        return [self.ended(job).get("value") for job in jobs]

    def state(self, job: int) -> str:
        """What a job's state is now."""
        state: str = self.daemon.result("jobs", ids=[job])["jobs"][0]["state"]
        return state

    def logs(self, job: int) -> tuple[bytes, bytes]:
        """What a job wrote."""
        reply, frames = self.daemon.exchange("logs", id=job)
        assert "result" in reply, reply
        return bytes(frames[0]), bytes(frames[1])

    # --- marks

    def path(self, name: str) -> str:
        """A file of this name that is not there yet."""
        return str(self.home / name)

    def marks(self, name: str) -> set[int]:
        """The pids of the workers that left this mark."""
        return {int(path.suffix[1:]) for path in self.home.glob(f"{name}.*")}

    def wait_for_marks(self, name: str, count: int = 1) -> set[int]:
        """The pids, once there are so many."""
        wait_until(lambda: len(self.marks(name)) >= count)
        return self.marks(name)

    def wait_for_file(self, name: str) -> None:
        """Return once it is there."""
        wait_until((self.home / name).exists)

    def go(self, name: str = "go") -> None:
        """Let those go on that wait for it."""
        (self.home / name).touch()

    # --- workers

    def pids(self, pool: str = "default") -> set[int]:
        """Those of the workers that are ready or at work."""
        return {worker["pid"] for worker in self.daemon.workers(pool)}

    def descriptors(self) -> int:
        """How many the daemon has open."""
        return len(list(Path(f"/proc/{self.daemon.pid}/fd").iterdir()))


def make_farm(start_daemon: Any, home: Path, workers: int = 2, more: str = "", limits: str = "") -> Farm:
    """A farm with so many workers, all of them ready."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(WORK, home / "work.py")
    config = f"[pool.default]\nworkers = {workers}\n{more}\n{limits}"
    daemon = start_daemon(config=config, cwd=home)
    assert "ready" in daemon.ready, daemon.ready
    daemon.wait_for_workers(workers)
    return Farm(daemon, home)


def _reference(function: str) -> str:
    return function if ":" in function else f"work:{function}"
