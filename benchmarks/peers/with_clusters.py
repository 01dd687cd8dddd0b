"""Dask and Ray, on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from benchmarks.peers.peer import WORKERS, Peer
from benchmarks.peers.tasks import add_one, cube, echo


class Dask(Peer):
    """A distributed ``LocalCluster``; a map is a ``dask.bag`` with its default partitions."""

    def start(self) -> None:
        import logging

        logging.getLogger("distributed").setLevel(logging.ERROR)
        from distributed import Client, LocalCluster

        self._cluster = LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            protocol="tcp://",
            local_directory=str(self.scratch),
        )
        self._client = Client(self._cluster)

    def stop(self) -> None:
        self._client.close()
        self._cluster.close()

    def submit(self, function: Callable[..., Any], x: Any) -> Any:
        return self._client.submit(function, x, pure=False)

    def storm(self, count: int) -> list[Any]:
        return self._client.gather([self.submit(cube, x) for x in range(count)])

    def map(self, count: int) -> list[Any]:
        from dask import bag

        return bag.from_sequence(range(count)).map(cube).compute(scheduler=self._client)


class Ray(Peer):
    """Ray; a map is its ``ray.util.multiprocessing.Pool``'s."""

    def start(self) -> None:
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        import ray

        self._ray = ray
        ray.init(
            num_cpus=WORKERS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=2 << 30,
            _temp_dir=str(self.scratch),
        )
        self._remote = {function: ray.remote(function).remote for function in (cube, echo, add_one)}
        self._pool: Any = None

    def stop(self) -> None:
        self._ray.shutdown()

    def submit(self, function: Callable[..., Any], x: Any) -> Any:
        return self._remote[function](x)

    def result(self, handle: Any) -> Any:
        return self._ray.get(handle)

    def storm(self, count: int) -> list[Any]:
        remote = self._remote[cube]
        return self._ray.get([remote(x) for x in range(count)])

    def map(self, count: int) -> list[Any]:
        return self._mapping().map(cube, range(count))

    def chunked(self, count: int, chunk: int) -> list[Any]:
        return self._mapping().map(cube, range(count), chunk)

    def _mapping(self) -> Any:
        if self._pool is None:
            from ray.util.multiprocessing import Pool

            self._pool = Pool(WORKERS)
        return self._pool
