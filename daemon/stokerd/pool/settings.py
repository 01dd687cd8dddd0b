"""What one pool is configured with."""

from __future__ import annotations

from dataclasses import dataclass

from stoker.protocol.models import Environment
from stokerd.pool.batch import Function


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beginning:
    """What each worker of a pool calls before its first job.

    Args:
        form: how the payload is packed, a form of :mod:`stokerd.pool.messages`.
        function: what is called; without code where it is imported by its reference.
        payload: its packed arguments.
    """

    form: int
    function: Function
    payload: bytes

    def __eq__(self, other: object) -> bool:
        """Whether it is the same call, whoever has asked for it."""
        return isinstance(other, Beginning) and self._call == other._call

    def __hash__(self) -> int:
        return hash(self._call)

    @property
    def _call(self) -> tuple[int, bytes, bytes]:
        return self.form, self.function.reference, self.payload


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """One pool's settings.

    Args:
        workers: how many.
        nice: their niceness.
        output_bytes: kept per job and stream.
        prefetch: seconds of work that a worker is handed ahead.
        result_ttl: seconds for which values are kept where the job does not say.
        result_bytes: the largest value of one job.
        queue_jobs: how many jobs may wait.
        queue_bytes: how many bytes their payloads may have.
        session_jobs: how many unfinished jobs one session may have.
        max_jobs: jobs that a worker runs before a fresh one takes its place; 0: any number.
        memory_bytes: resident memory that a worker may use, with what its commands use; 0: any.
        quarantine: how many workers one job may kill before it is not tried again.
        beginning: what workers call first.
        environment: of the workers that stand by; None: the daemon's own.
    """

    workers: int
    nice: int = 0
    output_bytes: int = 1024 * 1024
    prefetch: float = 0.003
    result_ttl: float = 3600.0
    result_bytes: int = 256 * 1024 * 1024
    queue_jobs: int = 1_000_000
    queue_bytes: int = 1024 * 1024 * 1024
    session_jobs: int = 1_000_000
    max_jobs: int = 0
    memory_bytes: int = 0
    quarantine: int = 3
    beginning: Beginning | None = None
    environment: Environment | None = None
