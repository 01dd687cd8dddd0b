"""The peers, and how each is driven.

What lies in this package runs in the peer's own environment, so it imports nothing but the standard library and, inside
``start``, the peer.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Entry(NamedTuple):
    """How to get at a peer.

    Args:
        adapter: ``module:class`` in this package.
        requirements: packages of its environment, the peer first; none: this interpreter.
        programs: that must be on the PATH.
        options: of the adapter.
    """

    adapter: str
    requirements: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed

    @property
    def package(self) -> str:
        """The distribution whose version counts; empty: Python's own."""
        return self.requirements[0].split("[")[0] if self.requirements else ""


DIRECT, OVER_ZMQ = "Stoker (direct)", "Stoker (ZeroMQ)"
DURABLE, DURABLE_OVER_ZMQ = "Stoker (direct), durable", "Stoker (ZeroMQ), durable"

STOKER = {
    DIRECT: Entry("with_stoker:Stoker", options={"transport": "direct"}),
    OVER_ZMQ: Entry("with_stoker:Stoker", options={"transport": "zmq"}),
}

POOLS = {
    "multiprocessing.Pool": Entry("with_stdlib:Pool"),
    "ProcessPoolExecutor": Entry("with_stdlib:Executor"),
    "loky": Entry("with_pools:Loky", ("loky", "numpy")),
    "joblib": Entry("with_pools:Joblib", ("joblib", "numpy")),
    "pebble": Entry("with_pools:Pebble", ("pebble", "numpy")),
    "mpire": Entry("with_pools:Mpire", ("mpire", "numpy")),
    "Dask": Entry("with_clusters:Dask", ("distributed", "numpy")),
    "Ray": Entry("with_clusters:Ray", ("ray", "numpy")),
    "Celery + Redis": Entry("with_queues:Celery", ("celery[redis]", "numpy"), ("redis-server",)),
    "RQ": Entry("with_queues:Rq", ("rq", "numpy"), ("redis-server",)),
    "huey (SQLite)": Entry("with_queues:Huey", ("huey", "numpy")),
}

DURABLES = {
    DURABLE: Entry("with_stoker:Stoker", options={"transport": "direct", "durable": True}),
    DURABLE_OVER_ZMQ: Entry("with_stoker:Stoker", options={"transport": "zmq", "durable": True}),
    "huey (SQLite)": Entry("with_queues:Huey", ("huey", "numpy")),
    "huey (SQLite, fsync)": Entry("with_queues:Huey", ("huey", "numpy"), options={"fsync": True}),
}

OBJECTS = {
    DIRECT: Entry("with_objects:StokerObjects", options={"transport": "direct"}),
    OVER_ZMQ: Entry("with_objects:StokerObjects", options={"transport": "zmq"}),
    "multiprocessing.Manager": Entry("with_objects:ManagerObjects"),
    "multiprocessing": Entry("with_objects:PlainObjects"),
}

FLOORS = {
    "floor: pipe": Entry("with_kernel:PipeFloor"),
    "floor: socketpair": Entry("with_kernel:SocketPairFloor"),
    "floor: ZeroMQ ipc": Entry("with_kernel:ZeroMQFloor"),
    "floor: four hops": Entry("with_kernel:FourHopsFloor"),
    "floor: two hops, called": Entry("with_kernel:TwoHopsCalledFloor"),
    "floor: four hops, called": Entry("with_kernel:FourHopsCalledFloor"),
    "floor: four hops, called, ZeroMQ": Entry("with_kernel:FourHopsZeroMQFloor"),
}

COPIES = {"floor: memcpy": Entry("with_kernel:CopyFloor")}

SUPERVISORS = {
    "supervisorctl status": Entry("with_supervisors:Supervisor", ("supervisor", "setuptools<81")),
    "circusctl status": Entry("with_supervisors:Circus", ("circus", "setuptools<81")),
}

CATALOGUE: dict[str, Entry] = STOKER | POOLS | DURABLES | FLOORS | COPIES | SUPERVISORS
"""Every peer that runs jobs, floors included; :data:`OBJECTS` has names of these again."""
