"""Shared objects against a real daemon, from real processes, and over the bare wire."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
import zmq
from tests import programs
from tests.daemons import DEADLINE, RunningDaemon

from stoker import shared
from stoker.client import Client
from stoker.errors import NameTaken, NoSuchObject, ObjectDropped

Run = Callable[..., "Program"]


class Program(programs.Program):
    """Another one that talks to the daemon."""

    head = "import os, sys, time, signal, stoker.shared as shared, queue\n"

    def end(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, out


@pytest.fixture
def client(daemon: RunningDaemon) -> Iterator[Client]:
    with Client(daemon.endpoint) as client:
        yield client


@pytest.fixture
def run(daemon: RunningDaemon) -> Iterator[Run]:
    with programs.starting(Program, daemon) as start:
        yield start


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run in a thread; the list gets its result, or what it raised."""
    result: list[Any] = []

    def go() -> None:
        try:
            result.append(work())
        except BaseException as why:
            result.append(why)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    return thread, result


def waiting_on(client: Client, name: str, key: str, count: int = 1) -> None:
    """Wait until the daemon says that so many wait; every answer of it is an event."""
    while next(found.detail[key] for found in client.status().objects if found.id == name) < count:
        pass


# --- queues --------------------------------------------------------------------------------------------------------


def test_values_of_every_kind_come_out_of_a_queue_as_they_went_in(client):
    values = [None, True, 1, -(2**70), 1.5, "ä", b"\xff", (1, 2), {3}, [1, [2]], {"a": (1,)}, range(3), "\ud800"]
    with_queue = shared.Queue(client=client)
    with_queue.put_many(values)
    assert [with_queue.get() for _ in values] == values


def test_many_items_travel_in_one_message(client):
    many = shared.Queue(client=client)
    many.put_many(range(10_000))
    assert many.qsize() == 10_000
    assert many.get_many(20_000) == list(range(10_000))


def test_full_and_empty_are_the_standard_library_s(client):
    small = shared.Queue(maxsize=1, client=client)
    with pytest.raises(queue.Empty):
        small.get(block=False)
    with pytest.raises(queue.Empty):
        small.get(timeout=0.01)
    small.put(1)
    assert small.full()
    with pytest.raises(queue.Full):
        small.put_nowait(2)
    with pytest.raises(queue.Full):
        small.put(2, timeout=0.01)
    assert small.get() == 1
    assert small.empty()


def test_a_closed_queue_says_so(client):
    closed = shared.Queue(client=client)
    closed.close()
    with pytest.raises(ValueError, match="is closed"):
        closed.put(1)
    with pytest.raises(ValueError, match="is closed"):
        closed.get()


def test_a_program_finds_a_queue_by_its_name(client, run):
    results = shared.Queue("results", client=client)
    assert run("q = shared.Queue('results'); q.put(('from', os.getpid()))").end()[0] == 0
    assert results.get(timeout=DEADLINE)[0] == "from"


def test_what_a_program_took_and_looked_at_is_gone_when_it_ends(client, run):
    numbers = shared.Queue("numbers", client=client)
    numbers.put_many([1, 2])
    assert run("print(shared.Queue('numbers').get())").end() == (0, "1\n")
    assert numbers.get(timeout=DEADLINE) == 2
    with pytest.raises(queue.Empty):
        numbers.get(block=False)


def test_an_item_that_is_being_worked_on_returns_when_the_program_is_killed(client, run):
    work = shared.Queue("work", client=client)
    work.put_many(["a", "b"])
    program = run("with shared.Queue('work').take() as item: print(item, flush=True); time.sleep(100)")
    assert program.line() == "a"
    program.kill()
    assert [work.get(timeout=DEADLINE), work.get(timeout=DEADLINE)] in (["a", "b"], ["b", "a"])


def test_an_item_returns_when_the_work_on_it_raises(client):
    work = shared.JoinableQueue(client=client)
    work.put("a")
    with pytest.raises(ZeroDivisionError), work.take() as item:
        raise ZeroDivisionError(item)
    with work.take() as item:
        assert item == "a"
    work.join()
    with pytest.raises(ValueError, match="too many times"):
        work.task_done()


def test_an_item_that_nobody_asked_after_again_is_acknowledged_all_the_same(client):
    quiet = shared.Queue("quiet", client=client)
    quiet.put(1)
    with Client(client.endpoint) as other:
        assert shared.Queue("quiet", client=other).get() == 1
        while next(found.detail["on_loan"] for found in client.status().objects if found.id == "quiet"):
            pass


def test_a_killed_getter_breaks_nothing(client, run):
    pipe = shared.Queue("pipe", client=client)
    program = run("print('ready', flush=True); shared.Queue('pipe').get()")
    program.line()
    waiting_on(client, "pipe", "takers")
    program.kill()
    pipe.put("x")
    assert pipe.get(timeout=DEADLINE) == "x"


def test_whoever_waits_is_told_when_the_queue_is_dropped(client):
    doomed = shared.Queue("doomed", client=client)
    thread, result = in_thread(doomed.get)
    waiting_on(client, "doomed", "takers")
    doomed.drop()
    thread.join(DEADLINE)
    assert isinstance(result[0], ObjectDropped)


# --- locks ----------------------------------------------------------------------------------------------------------


def test_a_lock_behaves_as_multiprocessings(client):
    lock = shared.Lock(client=client)
    assert lock.acquire()
    assert lock.acquire(False) is False
    assert lock.acquire(False, 0.1) is False
    assert lock.acquire(timeout=0.01) is False
    assert lock.acquire(True, -1) is False
    assert lock.release() is None
    with pytest.raises(ValueError, match="not held"):
        lock.release()
    with lock:
        assert lock.locked()
    assert not lock.locked()


def test_an_rlock_belongs_to_its_thread(client):
    lock = shared.RLock(client=client)
    assert lock.acquire()
    assert lock.acquire()
    thread, result = in_thread(lambda: (lock.acquire(timeout=0), lock.release()))
    thread.join(DEADLINE)
    assert isinstance(result[0], AssertionError)
    lock.release()
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


def test_a_killed_holder_releases_the_lock_to_whoever_waits(client, run):
    lock = shared.Lock("db", client=client)
    program = run("lock = shared.Lock('db'); lock.acquire(); print(lock.token, flush=True); time.sleep(100)")
    token = int(program.line())
    assert not lock.acquire(False)
    thread, result = in_thread(lambda: lock.acquire(timeout=DEADLINE))
    waiting_on(client, "db", "waiting")
    program.kill()
    thread.join(DEADLINE)
    assert result == [True]
    assert lock.token is not None
    assert lock.token > token


def test_increments_under_a_lock_are_exact(client, run):
    code = (
        "lock, value = shared.Lock('l'), shared.Value('n', 'i')\n"
        "for _ in range(1000):\n"
        "    with lock: value.value += 1\n"
    )
    lock, value = shared.Lock("l", client=client), shared.Value("n", "i", 0, client=client)
    programs = [run(code) for _ in range(4)]
    assert [program.end()[0] for program in programs] == [0] * 4
    with lock:
        assert value.value == 4000


def test_ctrl_c_ends_a_wait_and_the_lock_is_not_granted_behind_its_back(client, run):
    lock = shared.Lock("held", client=client)
    lock.acquire()
    program = run(
        "lock = shared.Lock('held')\n"
        "try:\n"
        "    lock.acquire()\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', flush=True)\n"
        "sys.stdin.read()\n"
    )
    waiting_on(client, "held", "waiting")
    program.process.send_signal(signal.SIGINT)
    assert program.line() == "interrupted"
    lock.release()
    assert lock.acquire(timeout=DEADLINE)
    assert program.end()[0] == 0


def test_semaphores_count_and_bounded_ones_refuse(client):
    semaphore = shared.Semaphore(value=2, client=client)
    assert semaphore.acquire()
    assert semaphore.acquire()
    assert semaphore.acquire(False) is False
    assert semaphore.get_value() == 0
    semaphore.release()
    assert semaphore.get_value() == 1
    with pytest.raises(ValueError, match="too many times"):
        shared.BoundedSemaphore(client=client).release()


# --- events, conditions, barriers -----------------------------------------------------------------------------------


def test_an_event_reaches_another_program(client, run):
    event = shared.Event("go", client=client)
    assert event.wait(0.01) is False
    assert run("shared.Event('go').set()").end()[0] == 0
    assert event.wait(DEADLINE)
    event.clear()
    assert not event.is_set()


def test_a_condition_hands_over_between_programs(client, run):
    condition, state = shared.Condition("c", client=client), shared.Value("state", "i", -1, client=client)
    program = run(
        "c, state = shared.Condition('c'), shared.Value('state', 'i')\n"
        "with c:\n"
        "    state.value = 0\n"
        "    c.notify()\n"
        "    sys.exit(0 if c.wait_for(lambda: state.value == 4) else 1)\n"
    )
    with condition:
        assert condition.wait_for(lambda: state.value == 0, DEADLINE)
    for _ in range(4):
        with condition:
            state.value += 1
            condition.notify()
    assert program.end()[0] == 0


def test_a_condition_needs_its_lock_and_gives_it_back_after_time_over(client):
    condition = shared.Condition(client=client)
    with pytest.raises(AssertionError):
        condition.wait(0)
    with condition:
        assert condition.wait(0) is False
        assert condition.wait(0.01) is False
    with pytest.raises(RuntimeError):
        condition.notify()


def test_ctrl_c_ends_a_wait_on_a_condition_with_the_lock_held_again(client, run):
    shared.Condition("c", client=client)
    program = run(
        "c = shared.Condition('c')\n"
        "with c:\n"
        "    try:\n"
        "        c.wait()\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted', flush=True)\n"
    )
    waiting_on(client, "c", "waiting")
    program.process.send_signal(signal.SIGINT)
    assert program.end() == (0, "interrupted\n")


def test_a_barrier_is_passed_together_and_its_action_runs_once(client):
    done: list[int] = []
    barrier = shared.Barrier(parties=3, action=lambda: done.append(1), client=client)
    threads = [in_thread(barrier.wait) for _ in range(2)]
    indices = [barrier.wait(DEADLINE)]
    for thread, result in threads:
        thread.join(DEADLINE)
        indices += result
    assert sorted(indices) == [0, 1, 2]
    assert done == [1]
    assert barrier.n_waiting == 0


def test_a_barrier_breaks_with_the_standard_library_s_error(client):
    barrier = shared.Barrier(parties=2, timeout=0.01, client=client)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    assert not barrier.broken


def test_a_killed_party_breaks_the_barrier_and_its_other_threads_are_no_trouble(daemon, client, run):
    barrier = shared.Barrier("b", parties=4, client=client)
    program = run(
        "import threading\n"
        "b = shared.Barrier('b')\n"
        "threads = [threading.Thread(target=b.wait) for _ in range(2)]\n"
        "[t.start() for t in threads]\n"
        "time.sleep(100)\n"
    )
    thread, result = in_thread(barrier.wait)
    waiting_on(client, "b", "waiting", 3)
    program.kill()
    thread.join(DEADLINE)
    assert isinstance(result[0], threading.BrokenBarrierError)
    assert client.ping()
    assert "a bug" not in daemon.log


# --- values, arrays -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [("i", 4343, 24234), ("d", 3.625, -4.25), ("h", -232, 234), ("q", 2**33, 2**34), ("c", b"x", b"y")],
)
def test_a_value_holds_what_its_type_holds(client, code, first, second):
    value = shared.Value(None, code, first, client=client)
    assert value.value == first
    value.value = second
    assert value.value == second
    with value.get_lock(), value:
        assert value.get_obj().value == second


def test_a_value_is_cut_to_its_type_as_in_c_and_refuses_what_is_none(client):
    value = shared.RawValue(None, "i", client=client)
    value.value = 2**32 + 5
    assert value.value == 5
    with pytest.raises(TypeError):
        value.value = 1.5
    assert value.add(3) == 8
    assert value.swap(8, 1)
    assert not value.swap(8, 2)


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_double))


def test_a_value_may_be_a_structure_or_a_flag(client):
    point = shared.Value(None, Point, (1, 2.5), client=client)
    assert (point.value.x, point.value.y) == (1, 2.5)
    point.value = (3, 4.5)
    assert point.value.y == 4.5
    flag = shared.Value(None, ctypes.c_bool, client=client)
    flag.value = True
    assert flag.value is True


def test_an_array_is_read_and_set_as_a_list_of_its_size(client):
    numbers = [680, 626, 934, 821, 150, 233]
    array = shared.Array(None, "i", numbers, client=client)
    assert len(array) == len(numbers)
    for index in (slice(None), slice(2, 4), slice(None, None, 2), slice(None, None, -2), slice(4, 1, -1), slice(3, 3)):
        assert array[index] == numbers[index]
    array[1::2] = numbers[1::2] = [1, 2, 3]
    array[::-2] = numbers[::-2] = [7, 8, 9]
    array[-1] = numbers[-1] = 0
    assert list(array) == numbers
    with pytest.raises(ValueError, match="same size"):
        array[:2] = [1]
    with pytest.raises(IndexError):
        array[6] = 1
    assert list(shared.Array(None, "d", 3, client=client)) == [0.0, 0.0, 0.0]
    assert shared.RawArray(None, "c", [b"a", b"b"], client=client)[:] == b"ab"


def test_locks_of_values_are_given_made_or_refused(client):
    lock = shared.Lock(client=client)
    assert shared.Value(None, "i", 5, lock=lock, client=client).get_lock() is lock
    assert isinstance(shared.Array(None, "i", 3, client=client).get_lock(), shared.RLock)
    with pytest.raises(AttributeError):
        shared.Value(None, "i", 5, lock="navalue", client=client)
    assert not hasattr(shared.RawValue(None, "i", 5, client=client), "get_lock")


# --- dict, list, namespace ------------------------------------------------------------------------------------------


def test_a_dict_behaves_as_one(client):
    mapping = shared.Dict(client=client)
    mapping.update({"a": 1, 2: "b", (1, "x"): None}, c=[1])
    assert mapping.copy() == {"a": 1, 2: "b", (1, "x"): None, "c": [1]}
    assert mapping[2.0] == "b"
    assert (1, str(b"x", "ascii")) in mapping
    assert mapping.get("z", 5) == 5
    assert mapping.setdefault("a", 9) == 1
    assert mapping.setdefault("n", 9) == 9
    assert mapping.pop("n") == 9
    assert mapping.pop("n", None) is None
    assert mapping.popitem() == ("c", [1])
    assert list(mapping) == ["a", 2, (1, "x")]
    del mapping["a"]
    for missing in (lambda: mapping["a"], lambda: mapping.pop("a"), lambda: mapping.__delitem__("a")):
        with pytest.raises(KeyError):
            missing()
    iterator = iter(mapping)
    mapping.clear()
    with pytest.raises(RuntimeError):
        next(iterator)
    with pytest.raises(KeyError):
        mapping.popitem()


def test_a_list_behaves_as_one(client):
    row, plain = shared.List(None, range(10), client=client), list(range(10))
    assert row[:] == plain
    assert row[2:5] == plain[2:5]
    assert row[-3:] == plain[-3:]
    assert row[::3] == plain[::3]
    row[1:3] = plain[1:3] = ["x"]
    row[::4] = plain[::4] = [7, 8, 9]
    row[-1] = plain[-1] = "end"
    row.insert(1, "in"), plain.insert(1, "in")
    row.insert(-1, "before the end"), plain.insert(-1, "before the end")
    del row[0], plain[0]
    del row[2:4], plain[2:4]
    assert row.copy() == plain
    assert row.pop() == plain.pop()
    assert row.pop(0) == plain.pop(0)
    row.remove("before the end"), plain.remove("before the end")
    row.reverse(), plain.reverse()
    row.sort(key=str), plain.sort(key=str)
    row += [1]
    row *= 2
    plain = [*plain, 1] * 2
    assert list(row) == plain
    assert row.index(1) == plain.index(1)
    assert row.count(1) == 2
    assert row.__add__([5]) == [*plain, 5]
    for missing in (lambda: row[100], lambda: row.pop(100), lambda: row.__setitem__(-100, 1)):
        with pytest.raises(IndexError):
            missing()
    iterator = iter(row)
    row[0] = "changed"
    assert next(iterator) == "changed"


def test_changes_to_all_of_a_list_lose_nothing_of_what_others_add(client):
    row = shared.List(client=client)
    threads = [in_thread(lambda: [row.append(n) for n in range(50)]) for _ in range(2)]
    while any(thread.is_alive() for thread, _ in threads):
        row.reverse()
    assert sorted(row) == sorted([*range(50), *range(50)])


def test_a_namespace_has_attributes_of_any_name(client):
    space = shared.Namespace(None, client)
    space.name, space.job, space._hidden = "Bob", "Builder", "hidden"
    assert (space.name, space.job) == ("Bob", "Builder")
    del space.job
    assert str(space) == "Namespace(name='Bob')"
    assert not hasattr(space, "job")


def test_objects_travel_inside_one_another(client):
    inner, row = shared.Dict(None, {"water": 10}, client=client), shared.List(client=client)
    row.append(inner)
    row.append(shared.Queue(client=client))
    row[0]["feed"] = 3
    row[1].put(5)
    assert inner.copy() == {"water": 10, "feed": 3}
    assert row[1].get() == 5


# --- life and travel ------------------------------------------------------------------------------------------------


EVERYTHING: list[Callable[[Client], Any]] = [
    lambda c: shared.Queue(maxsize=3, client=c),
    lambda c: shared.JoinableQueue(client=c),
    lambda c: shared.SimpleQueue(client=c),
    lambda c: shared.Lock(client=c),
    lambda c: shared.RLock(client=c),
    lambda c: shared.Semaphore(client=c),
    lambda c: shared.BoundedSemaphore(client=c),
    lambda c: shared.Event(client=c),
    lambda c: shared.Condition(client=c),
    lambda c: shared.Condition(lock=shared.Lock(client=c), client=c),
    lambda c: shared.Barrier(parties=2, client=c),
    lambda c: shared.Value(None, "i", 1, client=c),
    lambda c: shared.RawArray(None, "i", 4, client=c),
    lambda c: shared.Array(None, "i", [1, 2], client=c),
    lambda c: shared.Dict(client=c),
    lambda c: shared.List(client=c),
    lambda c: shared.Namespace(None, c),
]


@pytest.mark.parametrize("make", EVERYTHING)
def test_every_object_can_be_pickled_and_is_the_same_on_the_other_side(client, monkeypatch, make):
    monkeypatch.delenv("STOKER_SOCKET", raising=False)
    original = make(client)
    copy = pickle.loads(pickle.dumps(original))
    assert type(copy) is type(original)
    assert copy._id == original._id
    if hasattr(copy, "acquire"):
        assert copy.acquire()
        copy.release()
    if isinstance(copy, shared.Array):
        copy[0] = 9
        assert original[0] == 9


def test_jobs_share_what_they_are_handed(client):
    results, total, lock = (
        shared.Queue(client=client),
        shared.Value(None, "i", client=client),
        shared.Lock(client=client),
    )

    def work(number: int) -> None:
        for _ in range(100):
            with lock:
                total.value += 1
        results.put(number)

    jobs = [client.submit(work, number) for number in range(4)]
    for job in jobs:
        job.result(DEADLINE)
    assert sorted(results.get(timeout=DEADLINE) for _ in jobs) == [0, 1, 2, 3]
    assert total.value == 400


def test_what_travels_to_its_own_program_uses_the_client_that_is_there(client, monkeypatch):
    monkeypatch.setenv("STOKER_SOCKET", "/nowhere/else.sock")
    lock = shared.RLock(client=client)
    with lock, pickle.loads(pickle.dumps(lock)) as again:
        assert again


def test_a_forked_child_uses_what_its_parent_made(client):
    results, lock = shared.Queue(client=client), shared.Lock(client=client)
    with lock:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                results.put((os.getpid(), lock.acquire(False)))
                os._exit(0)
            os._exit(1)
        assert results.get(timeout=DEADLINE) == (pid, False)
    assert os.waitpid(pid, 0)[1] == 0


def test_an_anonymous_object_that_nobody_has_any_more_is_dropped(client):
    kept, travelled = shared.Queue(client=client), shared.Queue(client=client)
    pickle.dumps(travelled)
    for _ in range(20):
        shared.Queue(client=client)
    del travelled
    gc.collect()
    event = shared.Event(client=client)
    assert sorted(found.kind for found in client.status().objects) == ["event", "queue", "queue"]
    assert kept.empty()
    assert not event.is_set()


def test_anonymous_objects_end_with_the_last_program_that_used_them(client, run):
    program = run("q = shared.Queue(); print(q.id, flush=True); sys.stdin.read()")
    object_id = program.line()
    copy = shared.Queue.__new__(shared.Queue)
    copy.__setstate__({"id": object_id, "endpoint": client.endpoint, "maxsize": 0})
    copy._client = client
    copy.put(1)
    assert copy.qsize() == 1  # a put is not waited for, and until it is known this program has not used it
    assert program.end()[0] == 0
    assert copy.get() == 1


def test_a_name_of_another_kind_is_taken_and_what_was_dropped_is_not_there(client):
    shared.Queue("x", client=client)
    with pytest.raises(NameTaken):
        shared.Lock("x", client=client)
    with pytest.raises(NameTaken):
        shared.Queue("x", 5, client=client)
    lock = shared.Lock("y", client=client)
    lock.drop()
    with pytest.raises(NoSuchObject):
        lock.acquire()


def test_the_client_of_a_name_without_a_client_is_the_default_one(daemon, monkeypatch):
    from stoker.default import default_client

    monkeypatch.setenv("STOKER_SOCKET", daemon.endpoint)
    lock = shared.Lock("db")
    assert default_client().endpoint == daemon.endpoint
    with lock:
        assert default_client().status("db").objects[0].detail["owner"]
    default_client().close()


# --- the bare wire --------------------------------------------------------------------------------------------------


def test_any_language_puts_and_gets_with_a_plain_socket(daemon, client):
    answers = shared.Queue("answers", client=client)
    assert daemon.call("object.open", kind="queue", name="answers")["result"]["created"] is False
    reply = daemon.call("queue.put", id="answers", payload=(msgpack.packb(42), msgpack.packb("x")))
    assert reply["result"] == {"accepted": 2}
    assert answers.get_many(5) == [42, "x"]
    answers.put("for you")
    client.ping()  # a put is sent and not waited for: by the answer to this it is there
    head, frames = daemon.exchange("queue.get", id="answers", timeout=0)
    assert head["result"] == {"encoding": "msgpack", "lengths": [8], "delivery": 0}
    assert msgpack.unpackb(frames[0]) == "for you"
    assert daemon.error("queue.get", id="answers", timeout=0)["code"] == "queue-empty"


def test_a_peer_without_a_session_cannot_own_a_lock_and_is_told_why(daemon, client):
    shared.Lock("db", client=client)
    error = daemon.error("lock.acquire", id="db")
    assert "hello" in error["hint"]
    assert daemon.error("object.open", kind="queue")["code"] == "invalid-params"
    assert daemon.result("object.open", kind="value", name="n")["lock"] == "n~lock"
    assert daemon.result("value.add", id="n", amount=3) == {"value": 3, "swapped": True}


def test_a_req_socket_with_a_session_holds_a_lock(daemon):
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger, socket.rcvtimeo = 0, int(DEADLINE * 1000)
        socket.connect(daemon.endpoint)
        for method, params in (
            ("hello", {}),
            ("object.open", {"kind": "lock", "name": "db"}),
            ("lock.acquire", {"id": "db"}),
        ):
            socket.send(msgpack.packb({"v": 1, "id": 1, "method": method, "params": params}))
            head = msgpack.unpackb(socket.recv_multipart()[0])
        assert head["result"]["acquired"]
        assert daemon.result("lock.show", id="db")["depth"] == 1
        socket.send(msgpack.packb({"v": 1, "id": 2, "method": "bye", "params": {}}))
        socket.recv_multipart()
    while daemon.result("lock.show", id="db")["session"] is not None:
        pass


@pytest.mark.parametrize(
    ("method", "params", "payload", "code"),
    [
        ("lock.acquire", {"id": "nowhere"}, (), "bad-request"),
        ("queue.put", {"id": "nowhere"}, (b"x",), "no-such-object"),
        ("queue.put", {"id": "q", "lengths": [3, 4]}, (b"12345",), "invalid-params"),
        ("queue.put", {"id": "q", "encoding": "json"}, (b"1",), "invalid-params"),
        ("queue.get", {"id": "q", "timeout": -1}, (), "invalid-params"),
        ("queue.get", {"id": "q", "ack": "manual"}, (), "bad-request"),
        ("event.set", {"id": "q"}, (), "name-taken"),
        ("value.set", {"id": "v", "value": 2**63}, (), "invalid-params"),
        ("value.get", {"id": "v", "index": 1}, (), "out-of-range"),
        ("array.set", {"id": "v"}, (), "invalid-params"),
        ("dict.set", {"id": "d", "keys": ["a", "b"]}, (b"x",), "invalid-params"),
        ("dict.get", {"id": "d", "keys": [[1]]}, (), "invalid-params"),
        ("object.open", {"kind": "lokc"}, (), "invalid-params"),
        ("object.open", {"kind": "queue", "name": "bad name"}, (), "invalid-params"),
    ],
)
def test_bad_requests_get_a_clear_error(daemon, method, params, payload, code):
    for kind, name in (("queue", "q"), ("value", "v"), ("dict", "d")):
        daemon.result("object.open", kind=kind, name=name)
    error = daemon.call(method, payload=payload, **params)["error"]
    assert error["code"] == code, error
    assert error["message"]
