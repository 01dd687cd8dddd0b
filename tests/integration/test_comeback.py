"""The daemon goes away and comes back: what is asked again by itself, and what never is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.daemons import DEADLINE, RunningDaemon, wait_until

import stoker
from stoker.errors import DaemonLost, NobodyListening

PATIENT = 60.0


@pytest.fixture(params=["direct", "zmq"])
def transport(request, monkeypatch):
    """Either of the two ways to the daemon."""
    monkeypatch.setenv("STOKER_TRANSPORT", request.param)
    return request.param


@pytest.fixture
def place(tmp_path):
    """A directory in which daemons follow one another, and all who did."""
    started = []

    def start():
        started.append(RunningDaemon(tmp_path / "d"))
        return started[-1]

    yield start
    for daemon in started:
        daemon.close()


def threaded(function, *args):
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(function, *args)
    finally:
        pool.shutdown(wait=False)


def gone(client):
    """Wait until the client has seen that its daemon is gone."""
    wait_until(lambda: client.connection.progress() or client.connection._link is None)


def test_a_request_that_changes_nothing_is_asked_again_of_the_next_daemon(place, transport):
    first = place()
    with stoker.Client(first.endpoint, reconnect=PATIENT) as client:
        job = client.options(durable=True, detach=True).submit(time.sleep, 0)
        assert job.result() is None
        waiting = threaded(client.job(client.options(delay=3600, durable=True, detach=True).submit(abs, 1).id).result)
        wait_until(lambda: client.connection.session.outstanding)
        first.kill()
        second = place()
        assert client.ping().pid == second.pid
        assert job.status().id == job.id, "what was durable is known to the next daemon"
        late = [job.id for job in client.jobs() if job.ended is None]
        assert len(late) == 1
        client.cancel(*late)
        assert isinstance(waiting.exception(DEADLINE), stoker.JobCancelled), "it waited on, at the next daemon"


def test_what_has_not_left_waits_for_the_daemon_whatever_it_is(place, transport):
    first = place()
    with stoker.Client(first.endpoint, reconnect=PATIENT) as client:
        assert client.submit(pow, 2, 3).result() == 8
        first.kill()
        gone(client)
        later = threaded(lambda: client.submit(lambda: 6 * 7).result())
        started = threaded(lambda: client.start_pool("side", workers=1).name)
        place()
        assert later.result(DEADLINE) == 42
        assert started.result(DEADLINE) == "side"


def test_a_job_that_may_have_been_accepted_is_not_submitted_twice(place, transport, tmp_path):
    first = place()
    with stoker.Client(first.endpoint, reconnect=PATIENT) as client:
        client.ping()
        os.kill(first.pid, signal.SIGSTOP)  # it is sent, and whether it was taken nobody knows
        unsure = threaded(client.call, "math:factorial", 3)
        streamed = threaded(lambda: client.submit(abs, -1).result())
        wait_until(lambda: client.connection.session.outstanding >= 2)
        first.kill()
        place()
        assert isinstance(unsure.exception(DEADLINE), DaemonLost)
        assert isinstance(streamed.exception(DEADLINE), DaemonLost)
        assert not client.jobs()


def test_a_durable_job_is_submitted_again_under_its_key_and_runs_once(place, transport, tmp_path):
    first = place()
    lines = tmp_path / "lines"
    with stoker.Client(first.endpoint, reconnect=PATIENT) as client:
        os.kill(first.pid, signal.SIGSTOP)
        handed_in = threaded(client.run, ["sh", "-c", f"echo x >> {lines}"])
        wait_until(lambda: client.connection.session.outstanding)
        first.kill()
        place()
        assert handed_in.result(DEADLINE).result(DEADLINE) == 0
        assert lines.read_text() == "x\n"
        assert len(client.jobs()) == 1


def test_the_result_of_a_durable_job_is_fetched_from_the_next_daemon(place, tmp_path):
    first = place()
    there = tmp_path / "there"
    with stoker.Client(first.endpoint, reconnect=PATIENT) as client:
        script = f"import pathlib, time\nwhile not pathlib.Path({str(there)!r}).exists(): time.sleep(0.01)"
        job = client.options(durable=True, on_crash="requeue").submit(exec, script)
        plain = client.submit(exec, script)
        assert job.id
        assert plain.id
        wait_until(lambda: job.status().state == "running")
        first.kill()
        place()
        there.touch()
        assert job.result(DEADLINE) is None
        with pytest.raises(DaemonLost):
            plain.result(DEADLINE)


def test_a_job_that_was_not_durable_is_told_to_be_lost_with_the_daemon(place):
    first = place()
    with stoker.Client(first.endpoint, reconnect=PATIENT) as client:
        job = client.options(detach=True).submit(time.sleep, 600)
        waiting = threaded(job.result)
        wait_until(lambda: client.connection.session.outstanding)
        first.kill()
        place()
        with pytest.raises(DaemonLost, match="the job was lost with it"):
            waiting.result(DEADLINE)


def test_a_restart_is_waited_through(place):
    first = place()
    with stoker.Client(first.endpoint, reconnect=PATIENT) as client:
        job = client.options(durable=True, delay=3600, detach=True).submit(abs, -5)
        waiting = threaded(job.result)
        wait_until(lambda: client.connection.session.outstanding)
        assert first.stop() == 0
        place()
        assert job.cancel()
        assert isinstance(waiting.exception(DEADLINE), stoker.JobCancelled)


def test_the_asyncio_client_asks_again_too(place):
    first = place()

    async def main():
        async with stoker.aio.Client(first.endpoint, reconnect=PATIENT) as client:
            job = await client.options(durable=True, delay=3600, detach=True).submit(abs, -5)
            waiting = asyncio.ensure_future(job.result())
            await asyncio.sleep(0)
            await asyncio.to_thread(first.kill)
            second = await asyncio.to_thread(place)
            assert (await client.ping()).pid == second.pid
            assert await job.cancel()
            with pytest.raises(stoker.JobCancelled):
                await waiting

    asyncio.run(main())


def test_the_asyncio_client_waits_for_it_without_holding_up_the_loop(place, tmp_path):
    first = place()
    there = tmp_path / "there"
    script = f"import pathlib, time\nwhile not pathlib.Path({str(there)!r}).exists(): time.sleep(0.01)"

    async def main():
        async with stoker.aio.Client(first.endpoint, reconnect=PATIENT) as client:
            kept = await client.options(durable=True, on_crash="requeue").submit(exec, script)
            await kept.id()
            waiting = asyncio.ensure_future(kept.result())
            running = {"states": ["running"]}
            await asyncio.to_thread(wait_until, lambda: first.result("jobs", **running)["jobs"])
            await asyncio.to_thread(first.kill)
            await asyncio.to_thread(gone, client.plain)
            by_value = asyncio.ensure_future(client.submit(lambda: 6 * 7))
            detached = asyncio.ensure_future(client.options(detach=True).submit(lambda: 6 * 8))
            await asyncio.to_thread(place)
            there.touch()
            assert await waiting is None
            assert await (await by_value) == 42
            assert await (await detached) == 48

    asyncio.run(main())


def test_a_daemon_that_does_not_come_back_is_given_up(place):
    daemon = place()
    with stoker.Client(daemon.endpoint, reconnect=0.2) as client:
        client.ping()
        daemon.kill()
        with pytest.raises(NobodyListening):
            client.status()


def test_a_daemon_of_nobodys_is_not_waited_for(place):
    daemon = place()
    with stoker.Client(daemon.endpoint) as client:
        assert client.connection.greeting["supervised"] is False
        assert client.connection.patience() == 0


def test_a_daemon_of_a_service_manager_is_waited_for(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        first = RunningDaemon(tmp_path / "d")
        with stoker.Client(first.endpoint) as client:
            assert client.ping().pid == first.pid
            first.kill()
            asked = threaded(client.ping)
            second = RunningDaemon(tmp_path / "d")
            assert asked.result(DEADLINE).pid == second.pid
        second.close()


def test_the_command_line_waits_and_says_so(place):
    first = place()
    with stoker.Client(first.endpoint) as client:
        job = client.options(durable=True, delay=3600, detach=True).submit(abs, -5)
    argv = [sys.executable, "-m", "stoker", "wait", str(job.id), "--socket", first.endpoint, "--json"]
    waiting = subprocess.Popen(
        argv, env={**os.environ, "STOKER_RECONNECT": "60"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: first.result("status")["daemon"]["sessions"] == 1)
    first.kill()
    second = place()
    assert "waiting for it to come back" in waiting.stderr.readline()
    second.result("cancel", ids=[job.id])
    out, _ = waiting.communicate(timeout=DEADLINE)
    assert json.loads(out)["jobs"][0]["state"] == "cancelled"
