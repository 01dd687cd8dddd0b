"""The client against a stand-in daemon in a process of its own, over real sockets."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import stoker
from stoker.connection import Connection
from stoker.credentials import Credentials
from stoker.errors import (
    BadEndpoint,
    CannotPack,
    ConnectionClosed,
    DaemonLost,
    DeadlineExceeded,
    JobCancelled,
    MalformedMessage,
    MessageTooLarge,
    NobodyListening,
    PermissionRefused,
    TooManySessions,
    UnknownMethod,
    WorkerDied,
)

FAKE = Path(__file__).with_name("fake_daemon.py")


class Fake:
    def __init__(self, path) -> None:
        self.path = str(path)
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, FAKE, f"ipc://{self.path}"], stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"listening\n"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(params=["direct", "zmq"])
def transport(request, monkeypatch):
    """Either of the two ways to the daemon, which are to be the same in all that can be seen from here."""
    monkeypatch.setenv("STOKER_TRANSPORT", request.param)
    return request.param


@pytest.fixture
def fake(tmp_path, transport):
    fake = Fake(tmp_path / "d.sock")
    yield fake
    fake.kill()


@pytest.fixture
def client(fake):
    with stoker.Client(fake.path) as client:
        yield client


def counts(client):
    result, _ = client.connection.call("ping", {})
    return result["submits"], result["uploads"]


def in_thread(call):
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(call)
    finally:
        pool.shutdown(wait=False)


def asleep(client):
    """Wait until some thread leads and sleeps."""
    deadline = time.monotonic() + 30
    while not client.connection.turns.asleep:
        assert time.monotonic() < deadline
        time.sleep(0.001)


# --- calls ------------------------------------------------------------------------------------------------------------


def test_a_call_returns_the_result_and_the_payload(client):
    result, payload = client.connection.call("ping", {}, (b"one", b"", b"two" * 200_000))
    assert result["version"] == "fake"
    assert payload == [b"one", b"", b"two" * 200_000]


def test_a_typed_call_returns_a_model(client, fake):
    assert client.ping().pid == fake.process.pid


def test_what_the_daemon_refuses_is_raised(client):
    with pytest.raises(UnknownMethod):
        client.connection.call("status", {})
    assert client.ping().version == "fake"


def test_no_answer_in_time_is_a_timeout_and_the_connection_goes_on(client):
    with pytest.raises(TimeoutError):
        client.connection.call("ping", {"silent": True}, timeout=0.05)
    assert client.ping().version == "fake"


def test_the_clients_own_timeout_counts_where_a_call_has_none(fake):
    with stoker.Client(fake.path, timeout=0.05) as client, pytest.raises(DeadlineExceeded):
        client.connection.call("ping", {"silent": True})


def test_many_threads_share_one_connection(client):
    def work(number):
        return [client.submit(math.comb, number + 10, k).result() for k in range(50)]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(16))) == [[math.comb(n + 10, k) for k in range(50)] for n in range(16)]


def test_a_sender_wakes_the_leader_whose_message_it_took(client):
    """The leader sleeps while another thread sends without pause, and so keeps swallowing the edge."""
    held = client.options(name="never").submit(abs, 1)
    waiting = in_thread(held.result)
    asleep(client)
    for _ in range(300):
        assert client.ping().version == "fake"
    assert held.cancel()
    assert isinstance(waiting.exception(30), JobCancelled)


def test_the_lead_is_handed_on_when_the_leader_times_out(client):
    held = client.options(name="never").submit(abs, 1)
    first = in_thread(lambda: held.exception(0.3))
    asleep(client)
    second = in_thread(held.exception)
    assert isinstance(first.exception(30), DeadlineExceeded)
    held.cancel()
    assert isinstance(second.result(30), JobCancelled)


# --- submitting -------------------------------------------------------------------------------------------------------


def test_a_job_returns_its_value(client):
    job = client.submit(math.factorial, 20)
    assert job.result() == 2432902008176640000
    assert job.done()
    assert job.exception() is None
    assert job.id == 1
    assert not job.cancel()


def test_a_lambda_a_closure_and_keywords_travel(client):
    offset = 5
    assert client.submit(lambda x, y=1: x + y + offset, 1, y=2).result() == 8


def test_what_the_function_raises_comes_back_as_it_was(client):
    job = client.submit(math.factorial, -1)
    with pytest.raises(ValueError, match="negative") as caught:
        job.result()
    assert "Traceback" in str(caught.value.__cause__)
    assert type(caught.value.__cause__).__name__ == "RemoteTraceback"
    assert isinstance(job.exception(), ValueError)


def test_the_workers_death_is_the_jobs_error(client):
    with pytest.raises(WorkerDied) as caught:
        client.options(name="killed").submit(abs, 1).result()
    assert caught.value.data["signal"] == 9


def test_like_submits_are_gathered_and_answered_in_order(client):
    jobs = [client.submit(abs, -number) for number in range(5000)]
    assert [job.result() for job in jobs] == list(range(5000))
    assert counts(client)[0] < 500
    assert [job.id for job in jobs] == list(range(1, 5001))


def test_results_that_come_apart_and_backwards_find_their_jobs(client):
    split = client.options(name="split")
    client.options(name="never").submit(abs, 0)
    jobs = [split.submit(divmod, number, number % 3) for number in range(100)]
    for number, job in enumerate(jobs):
        if number % 3:
            assert job.result() == divmod(number, number % 3)
        else:
            assert isinstance(job.exception(), ZeroDivisionError)


def test_a_gathered_submit_leaves_though_nobody_waits(client):
    client.options(name="never").submit(abs, 0)
    client.submit(abs, 1)
    job = client.submit(abs, 2)
    deadline = time.monotonic() + 30
    # looked at from outside: done() itself would send it
    while job.settled is None and not job._batch.sent:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert job.result() == 2


def test_unlike_submits_do_not_mix(client):
    jobs = [client.submit(function, -number) for number in range(100) for function in (abs, float, str)]
    assert [job.result() for job in jobs] == [f(-n) for n in range(100) for f in (abs, float, str)]


def test_a_function_is_uploaded_once(client):
    factor = 2

    def function(x):
        return x * factor

    assert [client.submit(function, x).result() for x in range(10)] == [x * 2 for x in range(10)]
    assert counts(client)[1] == 1


def test_a_forgotten_function_is_uploaded_again(client):
    factor = 3
    forgetful = client.options(name="forgotten")
    assert forgetful.submit(lambda x: x * factor, 4).result() == 12
    assert counts(client) == (2, 2)


def test_the_id_of_a_job_that_runs_is_known(client):
    job = client.options(name="never").submit(abs, 1)
    assert job.id == 1
    assert not job.done()
    with pytest.raises(DeadlineExceeded):
        job.result(timeout=0.01)
    assert job.cancel()
    with pytest.raises(JobCancelled):
        job.result()


def test_a_detached_job_is_known_by_its_id(client):
    job = client.options(detach=True).submit(math.factorial, 5)
    assert isinstance(job, stoker.KeptJob)
    assert client.job(job.id).result(timeout=30) == 120
    assert client.result(job.id) == 120


def test_large_values_go_there_and_back(client):
    data = os.urandom(900_000)
    jobs = [client.submit(bytes.__add__, data, b"x") for _ in range(3)]
    assert [job.result() for job in jobs] == [data + b"x"] * 3


def test_arguments_larger_than_the_daemon_takes_are_refused_here(client):
    with pytest.raises(MessageTooLarge):
        client.submit(len, bytes(5_000_000))
    assert client.submit(len, b"123").result() == 3


def test_arguments_that_cannot_be_packed_are_refused_here(client):
    with pytest.raises(CannotPack):
        client.submit(len, threading.Lock())


# --- map --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [None, 1, 7, 10_000])
def test_map_gives_the_values_in_order(client, chunksize):
    assert list(client.map(abs, range(-3000, 0), chunksize=chunksize)) == list(range(3000, 0, -1))


def test_map_of_nothing_is_nothing(client):
    assert list(client.map(abs, [])) == []


def test_map_reads_an_endless_iterable_only_as_far_as_it_must(client):
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield read

    values = client.map(float, endless(), chunksize=10)
    assert [next(values) for _ in range(25)] == [float(n) for n in range(1, 26)]
    assert read < 500
    values.close()


def test_an_error_in_map_is_raised_when_its_turn_comes(client):
    values = client.map(math.factorial, [3, 4, -1, 5], chunksize=1)
    assert [next(values), next(values)] == [6, 24]
    with pytest.raises(ValueError, match="negative"):
        next(values)


def test_an_error_of_the_iterable_is_raised_here(client):
    def broken():
        yield 1
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(client.map(abs, broken()))


# --- the daemon goes away ---------------------------------------------------------------------------------------------


def test_every_waiter_hears_of_the_daemons_death(client, fake):
    jobs = [client.options(name="never").submit(abs, n) for n in range(5)]
    waiters = [in_thread(job.exception) for job in jobs]
    asleep(client)
    fake.process.kill()
    assert [type(waiter.result(30)) for waiter in waiters] == [DaemonLost] * 5


def test_a_daemon_that_dies_of_the_very_request_is_lost(client):
    with pytest.raises(DaemonLost):
        client.options(name="die").submit(abs, 1).result()


def test_after_a_loss_the_next_call_says_that_nobody_listens(client, fake):
    client.ping()
    fake.kill()
    with pytest.raises((DaemonLost, NobodyListening)):
        client.ping()
    with pytest.raises(NobodyListening):
        client.ping()


def test_a_new_daemon_at_the_same_place_is_found_and_gets_the_functions_again(client, fake):
    sign = -1

    def function(x):
        return x * sign

    assert client.submit(function, 1).result() == -1
    fake.kill()
    fake.start()
    with pytest.raises(DaemonLost):
        client.submit(function, 2).result()
        raise DaemonLost("noticed before the request left")
    assert client.submit(function, 3).result() == -3
    assert client.ping().pid == fake.process.pid


def test_a_peer_that_talks_nonsense_is_given_up(client):
    with pytest.raises(MalformedMessage):
        client.options(name="nonsense").submit(abs, 1).result()
    assert client.ping().version == "fake"


def test_a_refused_session_fails_what_waits(fake):
    connection = Connection(f"ipc://{fake.path}", hello={"client": "unwanted"})
    with pytest.raises(TooManySessions):
        connection.call("ping", {"silent": True})
    connection.close()


def test_closing_fails_what_waits_and_what_comes_after(client):
    held = client.options(name="never").submit(abs, 1)
    waiting = in_thread(held.exception)
    asleep(client)
    client.close()
    client.close()
    assert isinstance(waiting.result(30), ConnectionClosed)
    with pytest.raises(ConnectionClosed):
        client.ping()


# --- connecting -------------------------------------------------------------------------------------------------------


def test_no_socket_there(tmp_path):
    with pytest.raises(NobodyListening, match="no such socket"):
        stoker.Client(str(tmp_path / "none.sock"))


def test_a_socket_that_nobody_serves(tmp_path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "s.sock"))
    with pytest.raises(NobodyListening):
        stoker.Client(str(tmp_path / "s.sock"))


def test_something_else_lies_there(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadEndpoint, match="not a socket"):
        stoker.Client(str(tmp_path / "file"))


def test_nobody_listens_at_a_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(NobodyListening):
        Connection(f"tcp://127.0.0.1:{port}", credentials=Credentials(*("0" * 40 for _ in range(3))))


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become another user")
def test_a_socket_that_this_user_may_not_use(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.sock"))
        listener.listen()
        (tmp_path / "s.sock").chmod(0o600)
        program = f"""
            import os, socket, stat  # while they can be read
            from stoker.connection import Connection
            os.setuid(54321)
            Connection("ipc://{tmp_path}/s.sock")
        """
        for directory in (tmp_path, *tmp_path.parents[:2]):
            directory.chmod(0o755)
        run = script(program)
    assert PermissionRefused.__name__ in run.stderr


# --- forks, interrupts, the end ---------------------------------------------------------------------------------------


def script(program, *arguments, **options):
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
        **options,
    )


def test_a_forked_child_gets_a_connection_of_its_own(fake):
    run = script(
        """
        import os, sys, stoker
        client = stoker.Client(sys.argv[1])
        held = client.options(name="never").submit(abs, 1)
        assert client.submit(abs, -1).result() == 1
        pid = os.fork()
        for number in range(200):
            assert client.submit(abs, -number).result() == number
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
            assert held.cancel()
        else:
            try:
                held.result()
            except stoker.errors.ConnectionClosed:
                os._exit(0)
            os._exit(1)
        """,
        fake.path,
    )
    assert run.returncode == 0, run.stderr


def test_ctrl_c_in_a_wait_leaves_the_connection_usable(client):
    held = client.options(name="never").submit(abs, 1)
    main = threading.main_thread().ident

    def interrupt():
        asleep(client)
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = in_thread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        held.result()
    interrupter.result(30)
    assert client.submit(abs, -1).result() == 1
    assert held.cancel()


def test_ctrl_c_at_any_moment_of_a_storm_loses_no_answer(fake):
    run = script(
        """
        import signal, sys, stoker
        client = stoker.Client(sys.argv[1])
        stops = 0
        def stop(*_):
            raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, stop)
        jobs = []
        while stops < 300:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + stops % 30 / 10000)
                while True:
                    for number in range(300):
                        jobs.append((client.submit(abs, -number), number))
                    while jobs:
                        job, number = jobs[-1]
                        assert job.result() == number
                        jobs.pop()
            except KeyboardInterrupt:
                stops += 1
        for job, number in jobs:
            assert job.result(30) == number
        assert client.connection.call("ping", {}, timeout=30)
        """,
        fake.path,
    )
    assert run.returncode == 0, run.stderr


def test_what_was_gathered_leaves_though_the_program_ends(fake, client):
    run = script(
        """
        import sys, stoker
        client = stoker.Client(sys.argv[1])
        client.options(name="never").submit(abs, 1)
        client.submit(abs, 1)
        client.submit(float, 1)
        """,
        fake.path,
    )
    assert run.returncode == 0, run.stderr
    assert counts(client)[0] == 3


def test_a_client_travels_as_its_address(client):
    import pickle

    with pickle.loads(pickle.dumps(client)) as twin:
        assert twin.endpoint == client.endpoint
        assert twin.submit(abs, -4).result() == 4
