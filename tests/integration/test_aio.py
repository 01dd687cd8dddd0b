"""``stoker.aio`` on a real daemon."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import math
import os
import threading
import time
from pathlib import Path

import msgpack
import pytest
import zmq
from tests.daemons import DEADLINE, wait_until

import stoker
from stoker import aio
from stoker.control import DaemonCalls, JobCalls, LoadCalls
from stoker.errors import (
    CannotPack,
    ConnectionClosed,
    DaemonLost,
    DeadlineExceeded,
    JobCancelled,
    NobodyListening,
    NoSuchJob,
    NotFound,
    WorkerDied,
)


def run(main):
    """Run a coroutine in a loop of its own, within the deadline."""

    async def limited():
        async with asyncio.timeout(DEADLINE):
            return await main

    return asyncio.run(limited())


def until(path, value=0):
    """A job that runs until a file appears, and says by another one that it runs."""
    Path(f"{path}.up").touch()
    while not Path(path).exists():
        time.sleep(0.01)
    return value


async def appearance(path):
    """Wait for a file."""
    await asyncio.to_thread(wait_until, Path(path).exists)


async def state_of(client, number):
    return str((await client.jobs(number))[0].state)


async def ended(client, number):
    """The state of a job once it has ended."""
    return str((await client.wait(number))[0].state)


# --- jobs


def test_a_job_can_be_awaited_and_so_can_its_result(daemon):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            job = await client.submit(math.factorial, 20)
            assert await job == await job.result() == math.factorial(20)
            assert job.done()
            assert await job.exception() is None
            assert (await job.status()).id == await job.id()
            assert await (await client.submit(pow, 2, exp=5)) == 32

    run(main())


def test_what_the_function_raised_is_raised_with_the_workers_traceback(daemon):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            job = await client.submit(math.factorial, -1)
            with pytest.raises(ValueError, match="not defined for negative values") as caught:
                await job
            assert "ValueError: factorial()" in str(caught.value.__cause__)
            assert isinstance(await (await client.submit(os._exit, 3)).exception(), WorkerDied)
            with pytest.raises(CannotPack):
                await client.submit(len, threading.Lock())

    run(main())


def test_ten_thousand_jobs_at_once_come_back_each_with_its_own_value(daemon):
    async def main():
        async with aio.Client(daemon.endpoint) as client:

            async def one(number):
                return await (await client.submit(abs, -number))

            before = threading.active_count()
            tasks = [asyncio.ensure_future(one(number)) for number in range(10_000)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert threading.active_count() <= before + 1  # the one that receives
            assert await asyncio.gather(*tasks) == list(range(10_000))

    run(main())


def test_the_loop_goes_on_while_jobs_run(daemon, tmp_path):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            job = await client.submit(until, str(tmp_path / "go"), 7)
            waiting = asyncio.ensure_future(job.result())
            await appearance(tmp_path / "go.up")
            assert (await client.ping()).pid == daemon.pid
            assert not waiting.done()
            (tmp_path / "go").touch()
            assert await waiting == 7

    run(main())


def test_a_cancelled_task_cancels_the_job_that_it_awaits(daemon, tmp_path):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            job = await client.submit(until, str(tmp_path / "never"))
            waiting = asyncio.ensure_future(job.result())
            other = asyncio.ensure_future(job.result())
            await appearance(tmp_path / "never.up")
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(JobCancelled):
                await other
            assert await ended(client, await job.id()) == "cancelled"

    run(main())


def test_a_job_is_cancelled_though_its_id_is_not_known_yet(daemon, tmp_path):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            job = await client.submit(until, str(tmp_path / "never"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await job
            assert isinstance(await job.exception(), JobCancelled)

    run(main())


def test_a_timeout_ends_the_job_and_a_shield_leaves_it_alone(daemon, tmp_path):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            ends, stays = [await client.submit(until, str(tmp_path / name), 5) for name in ("never", "go")]
            await appearance(tmp_path / "never.up")
            await appearance(tmp_path / "go.up")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await ends
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.shield(stays.result())
            assert isinstance(await ends.exception(), JobCancelled)
            assert await state_of(client, await stays.id()) == "running"
            (tmp_path / "go").touch()
            assert await stays == 5

    run(main())


def test_cancel_says_whether_it_did(daemon, tmp_path):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            job = await client.submit(until, str(tmp_path / "never"))
            assert await job.cancel()
            assert not await job.cancel()
            with pytest.raises(JobCancelled):
                await job

    run(main())


def test_closing_sends_the_cancels_that_are_due(daemon, tmp_path):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            job = await client.submit(until, str(tmp_path / "never"))
            waiting = asyncio.ensure_future(job.result())
            await appearance(tmp_path / "never.up")
            waiting.cancel()
        assert waiting.cancelled() or await asyncio.wait((waiting,))

    run(main())
    wait_until(lambda: daemon.result("jobs")["jobs"][-1]["state"] == "cancelled")


# --- map


@pytest.mark.parametrize("chunksize", [None, 1, 7])
def test_map_gives_the_values_in_order(daemon, chunksize):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            found = [value async for value in client.map(abs, range(-500, 0), chunksize=chunksize)]
            assert found == list(range(500, 0, -1))
            assert [value async for value in client.map(abs, [])] == []

    run(main())


def test_map_gives_the_values_as_they_come(daemon, tmp_path):
    slow, quick = str(tmp_path / "slow"), str(tmp_path / "quick")
    Path(quick).touch()

    async def main():
        async with aio.Client(daemon.endpoint) as client:
            values = client.map(until_named, [slow, quick], chunksize=1, ordered=False)
            assert await anext(values) == quick
            await asyncio.to_thread(Path(slow).touch)
            assert [value async for value in values] == [slow]

    run(main())


def until_named(path):
    return until(path, path)


def test_map_reads_an_asynchronous_iterable_no_farther_than_it_has_to(daemon):
    read = []

    async def numbers():
        for number in range(1_000_000):
            read.append(number)
            yield number

    async def main():
        async with aio.Client(daemon.endpoint) as client:
            async with contextlib.aclosing(client.map(abs, numbers(), chunksize=2)) as values:
                assert [await anext(values) for _ in range(10)] == list(range(10))
            assert len(read) < 100

    run(main())


def test_map_raises_what_a_call_raised_and_cancels_the_rest(daemon, tmp_path):
    Path(tmp_path, "there").write_text("x")
    names = [str(tmp_path / name) for name in ("there", "missing")]

    async def main():
        async with aio.Client(daemon.endpoint) as client:
            values = client.map(os.stat, [*names, *names * 50], chunksize=1)
            assert (await anext(values)).st_size == 1
            with pytest.raises(FileNotFoundError):
                await anext(values)
            with pytest.raises(ValueError, match="chunksize"):
                await anext(client.map(abs, [1], chunksize=0))

    run(main())


# --- events


def test_events_can_be_iterated_over(daemon):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            events = client.events("pool.")
            first = asyncio.ensure_future(anext(events))
            # it may have subscribed before or after: the first event is whichever came then
            sizes = iter(range(1, 100))
            while not first.done():
                await client.set("default", workers=next(sizes) % 2 + 1)
                await asyncio.wait((first,), timeout=0.05)
            assert first.result().topic == "pool.changed"
            await client.start_pool("other", workers=1)
            async for happening in events:
                if happening.facts["name"] == "other":
                    break
            await events.aclose()

    run(main())


class Forgetful(threading.Thread):
    """A daemon that loses two events, which a real one does only to a very slow listener."""

    def __init__(self, directory) -> None:
        super().__init__()
        self.url = f"ipc://{directory}/s.sock"
        self.context = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.router.bind(self.url)
        self.publisher = self.context.socket(zmq.PUB)
        self.events = f"ipc://{directory}/e.sock"
        self.publisher.bind(self.events)

    def run(self):
        asked = 0
        while True:
            peer, _, head = self.router.recv_multipart()
            request = msgpack.unpackb(head)
            result = {"seq": 0, "events": []}
            if request["method"] == "hello":
                result = {"session": "s", "pid": 1, "version": "0", "events": self.events, "limits": {}}
            self.router.send_multipart([peer, b"", msgpack.packb({"id": request["id"], "result": result})])
            asked += request["method"] == "events"
            if asked == 2:  # it has subscribed, and fetched what happened meanwhile
                break
        for seq in (1, 2, 5):
            self.publisher.send_multipart([b"x", msgpack.packb([seq, 0.0, "x", {}])])

    def close(self):
        self.join()
        self.context.destroy(linger=0)


def test_who_was_too_slow_for_the_events_is_told_how_many_are_missing(short_path):
    forgetful = Forgetful(short_path)
    forgetful.start()

    async def main():
        async with aio.Client(forgetful.url) as client:
            events = client.events()
            heard = [await anext(events) for _ in range(3)]
            await events.aclose()
            assert [(each.seq, each.missed) for each in heard] == [(1, 0), (2, 0), (5, 2)]

    run(main())
    forgetful.close()


def test_the_events_end_with_the_daemon(start_daemon):
    daemon = start_daemon()

    async def main():
        async with aio.Client(daemon.endpoint) as client:
            listening = asyncio.ensure_future(drain(client.events()))
            while not listening.done():
                if not listening.done() and daemon.process.poll() is None:
                    await client.start_pool("p", workers=1)
                    await asyncio.sleep(0)
                    daemon.kill()
                await asyncio.wait((listening,))
            assert isinstance(listening.exception(), ConnectionError)

    run(main())


async def drain(values):
    async for _ in values:
        pass


# --- everything else


def test_every_call_of_the_client_for_threads_is_there():
    elsewhere = {"events", "job", "result"}
    for calls in (DaemonCalls, LoadCalls, JobCalls):
        for name, method in inspect.getmembers(calls, inspect.isfunction):
            if not name.startswith("_") and name not in elsewhere:
                assert inspect.iscoroutinefunction(getattr(aio.Client, name)), name
                assert getattr(aio.Client, name).__doc__ == method.__doc__


def test_the_calls_do_what_they_do_for_threads(daemon):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            assert client.endpoint == daemon.endpoint
            assert (await client.status()).daemon.pid == daemon.pid
            started = await client.start_burner("warm", load=5, seconds=60)
            assert started.name == "warm"
            assert (await client.set("warm", load=6)).kind == "burner"
            assert (await client.stop("warm")).survivors == 0
            await client.start_process("sleeper", ["sleep", "600"])
            assert (await client.stop(all=True)).stopped == ("sleeper",)
            assert (await client.recent_events(limit=5)).events
            assert (await client.config()).config
            job = await client.submit(abs, -1)
            await job
            assert (await client.wait(await job.id()))[0].ended
            with pytest.raises(NotFound):
                await client.stop("nobody")
            with pytest.raises(NoSuchJob):
                await client.jobs(10**9)
            with pytest.raises(NoSuchJob):
                await client.result(10**9)

    run(main())


def test_commands_and_named_functions_are_known_by_their_ids(daemon, tmp_path):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            echoed = await client.run(["cat"], stdin=b"hello", cwd=tmp_path)
            assert await echoed == 0
            assert (await client.logs(echoed.id))[0] == b"hello"
            assert await (await client.call("math:factorial", 5)) == 120
            kept = await client.options(detach=True, name="kept").submit(lambda x: x + 1, 41)
            assert isinstance(kept, aio.KeptJob)
            assert await client.job(kept.id).result() == await client.result(kept.id) == 42
            assert await kept.done()
            assert await kept.exception() is None
            assert (await kept.status()).name == "kept"
            assert not await kept.cancel()
            slow = await client.run(["sleep", "600"])
            with pytest.raises(DeadlineExceeded):
                await slow.result(timeout=0.01)
            assert not await slow.done()
            assert await slow.cancel()
            assert isinstance(await slow.exception(), JobCancelled)

    run(main())


def test_a_request_has_its_time(daemon):
    async def main():
        async with aio.Client(daemon.endpoint, timeout=DEADLINE) as client:
            job = await client.run(["sleep", "600"])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await client.wait(job.id)
            assert (await client.wait(job.id, timeout=0.01))[0].ended is None
            os.kill(daemon.pid, 19)
            try:
                with pytest.raises(DeadlineExceeded, match="no answer to ping"):
                    await client.ping(timeout=0.05)
            finally:
                os.kill(daemon.pid, 18)
            assert (await client.ping(timeout=DEADLINE)).pid == daemon.pid
            await job.cancel()

    run(main())


# --- the end


def test_the_daemons_death_fails_what_is_awaited(start_daemon, tmp_path):
    daemon = start_daemon()

    async def main():
        async with aio.Client(daemon.endpoint) as client:
            job = await client.submit(until, str(tmp_path / "never"))
            command = await client.run(["sleep", "600"])
            waiting = [asyncio.ensure_future(each.result()) for each in (job, command)]
            waiting.append(asyncio.ensure_future(client.wait(command.id)))
            await appearance(tmp_path / "never.up")
            daemon.kill()
            done, _ = await asyncio.wait(waiting)
            assert {type(each.exception()) for each in done} == {DaemonLost}
            with pytest.raises(ConnectionError):
                await client.ping()

    run(main())


def test_closing_fails_what_is_under_way(daemon, tmp_path):
    async def main():
        async with aio.Client(daemon.endpoint) as client:
            job = await client.submit(until, str(tmp_path / "go"))
            waiting = asyncio.ensure_future(job.result())
            await appearance(tmp_path / "go.up")
        with pytest.raises(ConnectionClosed):
            await waiting
        with pytest.raises(ConnectionClosed):
            await client.ping()
        with pytest.raises(ConnectionClosed):
            await client.submit(abs, 1)
        (tmp_path / "go").touch()

    run(main())


def test_a_loop_that_is_closed_while_a_job_runs_harms_nobody(daemon, tmp_path):
    clients = []

    async def careless():
        client = await aio.Client(daemon.endpoint).open()
        clients.append(client)
        await client.submit(until, str(tmp_path / "go"))
        await appearance(tmp_path / "go.up")

    run(careless())
    plain = clients[0].plain
    (tmp_path / "go").touch()
    with plain:
        # the thread that receives has had its answer for the closed loop before this one
        assert plain.submit(abs, -1).result(DEADLINE) == 1
    assert clients[0].plain is plain
    gc.collect()

    async def again():
        async with aio.Client(daemon.endpoint) as client:
            assert await (await client.submit(abs, -3)) == 3

    run(again())


def test_a_client_is_for_the_loop_that_it_was_opened_in(daemon):
    client = aio.Client(daemon.endpoint)

    async def close():
        await client.close()

    with pytest.raises(ConnectionClosed, match="not open"):
        run(client.ping())
    run(client.open())
    with pytest.raises(RuntimeError, match="another event loop"):
        run(client.ping())
    with pytest.raises(RuntimeError, match="another event loop"):
        run(client.submit(abs, 1))
    run(close())


def test_nobody_listening_is_told(short_path):
    async def main():
        async with aio.Client(str(short_path / "none.sock")):
            pass

    with pytest.raises(NobodyListening):
        run(main())


def test_it_is_found_under_its_name():
    assert stoker.aio.Client is aio.Client
