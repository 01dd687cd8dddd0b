"""What a message costs: ZeroMQ and the direct channel side by side, and multiprocessing's manager for comparison.

Run it on a machine with nothing else to do: ``python benchmarks/transport.py [rounds]``. All peers are kept alive and
measured in turn, in short blocks, so that what else the machine does hits all of them alike; the median of the blocks
is told, and the ratio to the first peer of the table.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import stoker

BLOCK = 300
"""Operations of one block."""
ITEMS = 5000
"""Items through a queue in one block."""

Measure = Callable[[], float]
"""Measures one block; seconds for one operation."""


@contextlib.contextmanager
def private_daemon() -> Iterator[str]:
    """A daemon of this benchmark's own; its endpoint."""
    with tempfile.TemporaryDirectory(prefix="stk-") as directory:
        ready, told = os.pipe()
        daemon = subprocess.Popen(
            [
                *(sys.executable, "-m", "stokerd", "--socket", f"{directory}/s.sock", "--state-dir", directory),
                *("--log-level", "warning", "--ready-fd", str(told)),
            ],
            pass_fds=(told,),
        )
        os.close(told)
        assert os.read(ready, 1000), "the daemon did not start"
        os.close(ready)
        try:
            yield f"ipc://{directory}/s.sock"
        finally:
            daemon.terminate()
            daemon.wait()


def client_over(transport: str, endpoint: str) -> stoker.Client:
    """A client that insists on one transport."""
    os.environ["STOKER_TRANSPORT"] = transport
    client = stoker.Client(endpoint)
    del os.environ["STOKER_TRANSPORT"]
    return client


def timed(operation: Callable[[], object], count: int = BLOCK) -> Measure:
    """One operation after the other."""

    def measure() -> float:
        begin = time.perf_counter()
        for _ in range(count):
            operation()
        return (time.perf_counter() - begin) / count

    return measure


def pair(lock: object) -> Callable[[], None]:
    """Acquire and release."""
    acquire, release = lock.acquire, lock.release  # type: ignore[attr-defined]

    def both() -> None:
        acquire()
        release()

    return both


def flow(put: Callable[[object], None], get: Callable[[], object], count: int = ITEMS) -> Measure:
    """One thread puts while another gets; until all have come."""

    def measure() -> float:
        begin = time.perf_counter()
        producer = threading.Thread(target=lambda: [put(number) for number in range(count)])
        producer.start()
        got = [get() for _ in range(count)]
        producer.join()
        assert got == list(range(count))
        return (time.perf_counter() - begin) / count

    return measure


def consume(endpoint: str, name: str, blocks: multiprocessing.connection.Connection, transport: str) -> None:
    """The other process of :func:`between`: gets as many as it is told to, then says so."""
    queue = stoker.Queue(name, client=client_over(transport, endpoint))
    while (count := blocks.recv()) is not None:
        got = [queue.get() for _ in range(count)]
        blocks.send(got == list(range(count)))


def between(endpoint: str, transport: str, count: int = ITEMS) -> tuple[Measure, Callable[[], None]]:
    """One process puts, another gets; and how to end the other one."""
    ours, theirs = multiprocessing.Pipe()
    name = f"flow-{transport}"
    queue = stoker.Queue(name, client=client_over(transport, endpoint))
    other = multiprocessing.get_context("spawn").Process(target=consume, args=(endpoint, name, theirs, transport))
    other.start()

    def measure() -> float:
        ours.send(count)
        begin = time.perf_counter()
        for number in range(count):
            queue.put(number)
        assert ours.recv()
        return (time.perf_counter() - begin) / count

    def end() -> None:
        ours.send(None)
        other.join()

    return measure, end


def report(title: str, peers: dict[str, Measure], rounds: int) -> None:
    """Measure all peers in turn, and print."""
    for measure in peers.values():
        measure()
    blocks: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, measure in peers.items():
            blocks[name].append(measure())
    first = statistics.median(next(iter(blocks.values())))
    print(f"\n{title}")
    for name, taken in blocks.items():
        median = statistics.median(taken)
        print(f"  {name:28} {median * 1e6:9.1f} us  {1 / median:12,.0f} /s   x{median / first:.2f}")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    with private_daemon() as endpoint, multiprocessing.Manager() as manager:
        direct, zmq = client_over("direct", endpoint), client_over("zmq", endpoint)
        for client in (direct, zmq):
            assert client.submit(abs, -1).result() == 1
        ping = {"direct": direct.connection, "zmq": zmq.connection}
        report("ping", {name: timed(lambda c=c: c.call("ping", {})) for name, c in ping.items()}, rounds)  # type: ignore[misc]
        both = {"direct": direct, "zmq": zmq}
        locks = {"multiprocessing.Manager": timed(pair(manager.Lock()))}
        locks |= {name: timed(pair(stoker.Lock(f"lock-{name}", client=client))) for name, client in both.items()}
        report("lock: acquire and release", locks, rounds)
        jobs = {name: timed(lambda c=c: c.submit(abs, -1).result()) for name, c in both.items()}  # type: ignore[misc]
        report("one job", jobs, rounds)
        ends = []
        plain = multiprocessing.Queue()
        flows = {"multiprocessing.Queue, threads": flow(plain.put, plain.get)}
        for name in both:
            flows[f"{name}, two processes"], end = between(endpoint, name)
            ends.append(end)
        report("queue: one producer, one consumer", flows, rounds)
        for end in ends:
            end()


if __name__ == "__main__":
    main()
