"""What one pool is configured with."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    workers: int
    nice: int = 0
    output_bytes: int = 1024 * 1024
    prefetch: float = 0.003
    result_ttl: float = 3600.0
    result_bytes: int = 256 * 1024 * 1024
    queue_jobs: int = 1_000_000
    queue_bytes: int = 1024 * 1024 * 1024
