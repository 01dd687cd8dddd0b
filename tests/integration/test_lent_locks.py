"""Locks that the daemon has lent to a process: with real processes, which are killed, stopped and forked meanwhile."""

from __future__ import annotations

import array
import contextlib
import fcntl
import gc
import mmap
import multiprocessing
import os
import pickle
import random
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import programs
from tests.conftest import StartDaemon
from tests.daemons import DEADLINE, RunningDaemon, wait_until

from stoker import shared
from stoker.client import Client
from stoker.errors import StokerError
from stoker.protocol.loans import SLOTS
from stoker.shared.borrowing import Loan

PAIRS = 100
"""Acquisitions in a row after which a lock is lent in any case."""


@pytest.fixture(scope="module")
def daemon(module_daemon: RunningDaemon) -> RunningDaemon:
    """One for all that do not end it."""
    return module_daemon


@pytest.fixture
def client(daemon: RunningDaemon) -> Iterator[Client]:
    with Client(daemon.endpoint) as client:
        yield client


@pytest.fixture
def other(daemon: RunningDaemon) -> Iterator[Client]:
    with Client(daemon.endpoint) as other:
        yield other


@pytest.fixture
def lock(client: Client, request: pytest.FixtureRequest) -> Iterator[shared.Lock]:
    """One that is lent to this process, and free."""
    lock = shared.Lock(request.node.name[:100], client=client)
    borrow(lock)
    lock.release()
    yield lock
    lock.drop()


@pytest.fixture
def theirs(lock: shared.Lock, other: Client) -> shared.Lock:
    """The same one for another session."""
    return shared.Lock(lock.name, client=other)


def loan_of(lock: shared.Lock) -> Loan | None:
    loans = lock._connection.loans
    found: Loan | None = loans.by_lock.get(lock._id) if loans is not None else None
    return found if found is not None and not found.void else None


def borrow(lock: shared.Lock) -> None:
    """Acquire it until it is lent; it is held then."""
    for _ in range(PAIRS):
        assert lock.acquire(timeout=DEADLINE)
        if loan_of(lock) is not None:
            return
        lock.release()
    raise AssertionError("it was never lent")


def is_lent(lock: shared.Lock) -> bool:
    return bool(lock._ask("lock.show")["lent"])


HEAD = f"""
import mmap, os, random, signal, sys, threading, time
import stoker.shared as shared
from stoker.shared import borrowing

def borrow(lock):
    for _ in range({PAIRS}):
        lock.acquire()
        loans = lock._connection.loans
        if loans is not None and lock._id in loans.by_lock:
            return loans.by_lock[lock._id]
        lock.release()
    raise AssertionError("it was never lent")
"""


class Program(programs.Program):
    """Another one that talks to the daemon."""

    head = HEAD

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> str:
        out, _ = self.process.communicate(timeout=DEADLINE)
        assert self.process.returncode == 0, out
        return out

    def stopped(self) -> bool:
        """Whether it has stopped itself, which is waited for."""
        pid, status = os.waitpid(self.process.pid, os.WUNTRACED)
        assert pid
        return os.WIFSTOPPED(status)


Run = Callable[..., Program]


@pytest.fixture
def run(daemon: RunningDaemon) -> Iterator[Run]:
    with programs.starting(Program, daemon) as start:
        yield start


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_a_pair_sends_no_message_and_waits_for_nobody(client: Client, lock: shared.Lock, daemon: RunningDaemon) -> None:
    (socket,) = client.connection._link.descriptors  # type: ignore[union-attr]
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        for _ in range(1000):
            with lock:
                assert lock.token is not None
        unread = array.array("i", [0])
        fcntl.ioctl(socket, termios.TIOCOUTQ, unread)
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    assert unread[0] == 0
    assert loan_of(lock) is not None


def test_who_takes_a_lock_now_and_then_is_lent_nothing(client: Client) -> None:
    lock = shared.Lock("now-and-then", client=client)
    with lock:
        assert client.connection.loans is None


@pytest.mark.parametrize("transport", ["zmq"])
def test_over_zeromq_nothing_is_lent(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch, transport: str) -> None:
    monkeypatch.setenv("STOKER_TRANSPORT", transport)
    with Client(daemon.endpoint) as client:
        lock = shared.Lock("by-zmq", client=client)
        for _ in range(20):
            with lock:
                assert not is_lent(lock)


def test_who_never_asks_for_a_loan_sees_nothing_of_it(daemon: RunningDaemon, client: Client) -> None:
    shared.Lock("plain", client=client)
    for _ in range(20):
        reply, payload = client.connection.call("lock.acquire", {"id": "plain"})
        assert set(reply) == {"acquired", "token"}
        assert not payload
        client.connection.call("lock.release", {"id": "plain", "token": reply["token"]})


# --- as ever ----------------------------------------------------------------------------------------------------------


def test_it_behaves_as_one_that_is_not_lent(lock: shared.Lock, theirs: shared.Lock) -> None:
    assert not lock.locked()
    assert lock.acquire()
    token = lock.token
    assert token is not None
    assert lock.locked()
    assert theirs.locked()
    assert is_lent(lock)  # looking has recalled nothing
    assert lock.acquire(False) is False
    assert lock.acquire(timeout=0.01) is False
    lock.release()
    assert lock.token is None
    with pytest.raises(ValueError, match="not held"):
        lock.release()
    assert theirs.acquire(False)
    assert theirs.token is not None
    assert theirs.token > token
    theirs.release()


def test_tokens_grow_by_whatever_way_it_is_acquired(lock: shared.Lock, theirs: shared.Lock) -> None:
    last = 0
    for number in range(300):
        for mine in (lock,) * 50 if number % 3 else (lock, theirs):
            assert mine.acquire(timeout=DEADLINE)
            assert mine.token is not None
            assert mine.token > last
            last = mine.token
            mine.release()


def test_two_objects_with_one_name_are_one_lock(lock: shared.Lock, client: Client) -> None:
    twin = shared.Lock(lock.name, client=client)
    assert lock.acquire()
    assert not twin.acquire(False)
    lock.release()
    borrow(lock)
    twin.release()  # anybody may
    assert twin.acquire(timeout=DEADLINE)
    twin.release()
    with pytest.raises(ValueError, match=r"not held|lost"):
        lock.release()


def test_another_thread_may_release_it(lock: shared.Lock) -> None:
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert loan_of(lock) is not None
    assert lock.acquire(False)
    lock.release()


def test_another_session_waits_for_it_and_gets_it(lock: shared.Lock, theirs: shared.Lock) -> None:
    lock.acquire()
    got: list[Any] = []
    waiter = threading.Thread(target=lambda: got.append(theirs.acquire(timeout=DEADLINE)))
    waiter.start()
    wait_until(lambda: lock._ask("lock.show")["waiting"] == 1)
    assert not got
    lock.release()
    waiter.join()
    assert got == [True]
    assert not lock.acquire(False)
    theirs.release()
    assert lock.acquire(timeout=DEADLINE)
    lock.release()


def test_a_held_one_is_pickled_and_released_elsewhere(lock: shared.Lock, run: Run) -> None:
    lock.acquire()
    code = "import pickle; lock = pickle.loads(bytes.fromhex(sys.argv[1])); lock.release()"
    program = run(code, pickle.dumps(lock).hex())
    program.end()
    assert lock.acquire(timeout=DEADLINE)
    lock.release()


def test_what_was_lost_meanwhile_is_told_by_the_next_operation(lock: shared.Lock, theirs: shared.Lock) -> None:
    lock.acquire()
    theirs.release()
    assert theirs.acquire()
    lock.release()
    with pytest.raises(ValueError, match="lost"):
        lock.acquire(False)
    assert theirs.locked()
    theirs.release()


def test_a_condition_made_over_a_held_one_gives_it_up_and_gets_it_back(lock: shared.Lock, theirs: shared.Lock) -> None:
    lock.acquire()
    mine = shared.Condition(f"{lock.name}-c", lock)
    other = shared.Condition(f"{lock.name}-c", theirs)

    def notify() -> None:
        with other:
            other.notify()

    thread = threading.Thread(target=notify)
    thread.start()
    assert mine.wait(DEADLINE)
    thread.join()
    assert lock.locked()
    lock.release()
    for _ in range(PAIRS):
        with mine:
            pass
    assert not is_lent(lock)
    mine.drop()


def test_a_dropped_one_is_not_there_any_more(client: Client, other: Client) -> None:
    lock = shared.Lock("gone", client=client)
    borrow(lock)
    shared.Lock("gone", client=other).drop()
    lock.release()
    with pytest.raises(StokerError, match="no shared object"):
        lock.acquire()
    anew = shared.Lock("gone", client=client)
    assert anew.acquire(False)
    anew.drop()


def test_so_many_are_lent_and_the_others_work_as_well_and_slots_come_back(client: Client, other: Client) -> None:
    locks = [shared.Lock(f"many-{number}", client=client) for number in range(SLOTS + 5)]
    for lock in locks:
        for _ in range(5):
            with lock:
                pass
    lent = [lock for lock in locks if is_lent(lock)]
    assert len(lent) == SLOTS
    for lock in lent:
        with shared.Lock(lock.name, client=other):
            assert not is_lent(lock)
    for lock in locks[SLOTS:]:
        borrow(lock)
    assert client.connection.loans is not None
    assert len(client.connection.loans.by_lock) < SLOTS
    for lock in locks:
        lock.drop()


def test_a_closed_client_holds_nothing_and_takes_nothing(daemon: RunningDaemon, other: Client) -> None:
    with Client(daemon.endpoint) as client:
        lock = shared.Lock("closed", client=client)
        borrow(lock)
    assert shared.Lock("closed", client=other).acquire(timeout=DEADLINE)
    with pytest.raises(StokerError, match="closed"):
        lock.acquire()


def pages(pid: int) -> list[str]:
    """The memory of lent locks that a process has open or mapped."""
    held = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has been closed meanwhile
            held.append(str(descriptor.readlink()))
    mapped = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in (*held, *mapped) if "stoker-locks" in line]


def test_the_memory_goes_with_the_session(daemon: RunningDaemon, client: Client) -> None:
    before, ours = len(pages(daemon.pid)), len(pages(os.getpid()))
    with Client(daemon.endpoint) as another:
        locks = [shared.Lock(f"memory-{number}", client=another) for number in range(3)]
        for lock in locks:
            borrow(lock)
        assert len(pages(daemon.pid)) > before
        assert len(pages(os.getpid())) > ours
    del lock, locks, another
    gc.collect()
    wait_until(lambda: len(pages(daemon.pid)) == before)
    assert len(pages(os.getpid())) == ours
    for number in range(3):
        shared.Lock(f"memory-{number}", client=client).drop()


# --- exactness --------------------------------------------------------------------------------------------------------

INCREMENTS = """
lock = shared.Lock(sys.argv[1])
memory = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 4096)
words = memoryview(memory).cast("Q")
loans, inside = set(), 0
def work(count, seed):
    chance = random.Random(seed)
    left = count
    while left:
        for _ in range(min(left, chance.choice((1, 3, 20, 60)))):
            left -= 1
            with lock:
                assert words[1] == 0, "two at a time"
                words[1] = os.getpid()
                value = words[0]
                if chance.random() < 0.01:
                    time.sleep(0.001)
                words[0] = value + 1
                assert words[1] == os.getpid(), "two at a time"
                words[1] = 0
                known = lock._connection.loans
                loan = known.by_lock.get(lock._id) if known else None
                if loan is not None:
                    loans.add(loan.number)
        time.sleep(chance.random() * float(sys.argv[4]))
print("ready", flush=True)
sys.stdin.readline()
threads = [
    threading.Thread(target=work, args=(int(sys.argv[3]), os.getpid() * 100 + number))
    for number in range(int(sys.argv[5]))
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(loans))
"""


@pytest.mark.parametrize(
    ("processes", "threads", "count", "pause"), [(4, 1, 1000, 0.02), (4, 1, 1000, 0.0), (3, 3, 300, 0.002)]
)
def test_increments_under_it_are_exact_however_it_goes_back_and_forth(
    run: Run, client: Client, tmp_path: Path, processes: int, threads: int, count: int, pause: float
) -> None:
    path = tmp_path / "words"
    path.write_bytes(bytes(4096))
    lock = shared.Lock(client=client)
    shared.Lock("exact", client=client)
    programs = [run(INCREMENTS, "exact", str(path), str(count), str(pause), str(threads)) for _ in range(processes)]
    for program in programs:
        assert program.line() == "ready"
    for program in programs:
        program.go_on()
    loans = sum(int(program.end()) for program in programs)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096) as memory, memoryview(memory).cast("Q") as words:
        assert words[0] == processes * threads * count
    if pause > 0.01:  # long enough for the others to have it for themselves
        assert loans >= processes
    assert lock.acquire(False)
    shared.Lock("exact", client=client).drop()


# --- who dies, stops or forks -----------------------------------------------------------------------------------------

AT = """
signum, step, access = int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
lock = shared.Lock(sys.argv[1])
loan = borrow(lock)
class Words:
    def __init__(self, words):
        self.words, self.count = words, None
    def come(self):
        if self.count is not None:
            if self.count == access:
                self.count = None
                os.kill(os.getpid(), signum)
            else:
                self.count += 1
    def __getitem__(self, at):
        self.come()
        return self.words[at]
    def __setitem__(self, at, value):
        self.come()
        self.words[at] = value
words = loan._words = Words(loan._words)
if step == "acquire":
    lock.release()
words.count = 0
lock.acquire() if step == "acquire" else lock.release()
print("acquired" if lock.token else "released", flush=True)
sys.stdin.readline()
if lock.token:
    lock.release()
print("done", flush=True)
"""
TAKE = 'lock.acquire() if step == "acquire" else lock.release()'
POINTS = [("acquire", 0), ("acquire", 1), ("acquire", 2), ("release", 0), ("release", 1)]
HELD = {("acquire", 2), ("release", 0)}
"""Where the slot says that the lock is held."""


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_borrower_that_is_killed_between_two_stores_keeps_nobody_out(
    run: Run, client: Client, point: tuple[str, int]
) -> None:
    name = f"killed-{point[0]}-{point[1]}"
    lock = shared.Lock(name, client=client)
    program = run(AT, name, str(int(signal.SIGKILL)), point[0], str(point[1]))
    assert program.process.wait(DEADLINE) == -signal.SIGKILL
    assert lock.acquire(timeout=DEADLINE)
    lock.release()
    lock.drop()


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_borrower_that_is_stopped_between_two_stores_goes_on_as_the_slot_said(
    run: Run, client: Client, point: tuple[str, int]
) -> None:
    name = f"stopped-{point[0]}-{point[1]}"
    lock = shared.Lock(name, client=client)
    program = run(AT, name, str(int(signal.SIGSTOP)), point[0], str(point[1]))
    assert program.stopped()
    held = point in HELD
    assert lock.acquire(False) is not held
    os.kill(program.process.pid, signal.SIGCONT)
    if point[0] == "release":
        assert program.line() == "released"
        if held:
            assert lock.acquire(timeout=DEADLINE)
    elif held:
        assert program.line() == "acquired"
        assert not lock.acquire(False)
    else:
        wait_until(lambda: lock._ask("lock.show")["waiting"] == 1)
        lock.release()
        assert program.line() == "acquired"
        assert not lock.acquire(False)
    program.go_on()
    if point[0] == "acquire":
        assert lock.acquire(timeout=DEADLINE)
    assert program.line() == "done"
    lock.release()
    assert lock.acquire(False)
    lock.drop()


def test_a_killed_holder_is_told_of_as_ever(run: Run, client: Client) -> None:
    lock = shared.Lock("told", client=client)
    program = run("loan = borrow(lock := shared.Lock('told')); print(lock.token, flush=True); time.sleep(100)")
    token = int(program.line())
    assert is_lent(lock)
    seen = client.events().seq
    program.process.kill()
    assert lock.acquire(timeout=DEADLINE)
    assert lock.token is not None
    assert lock.token > token
    told = [event["change"] for _, topic, event in client.events(after=seen).events if topic == "object.changed"]
    assert "released: its holder ended" in told
    lock.drop()


def test_ctrl_c_while_it_is_taken_leaves_it_with_nobody(run: Run, client: Client) -> None:
    name = "interrupted"
    lock = shared.Lock(name, client=client)
    for access in range(3):
        code = AT.replace(TAKE, f"try: {TAKE}\nexcept KeyboardInterrupt: pass")
        program = run(code, name, str(int(signal.SIGINT)), "acquire", str(access))
        assert program.line() == "released"
        assert lock.acquire(timeout=DEADLINE)
        lock.release()
        program.go_on()
        assert program.line() == "done"
    lock.drop()


def test_a_forked_child_has_no_loan_of_its_parents(lock: shared.Lock) -> None:
    context = multiprocessing.get_context("fork")
    told, ours = context.Pipe()

    def child() -> None:
        told.send((lock._connection.loans, lock.acquire(False)))
        lock.release()  # its parent's: as ever, any process may
        told.send(lock.acquire(False))
        lock.release()
        told.send("ended")

    lock.acquire()
    token = lock.token
    process = context.Process(target=child)
    process.start()
    assert ours.recv() == (None, False)
    assert ours.recv() is True
    assert ours.recv() == "ended"
    process.join(DEADLINE)
    assert token is not None
    assert lock.token == token
    lock.release()
    with pytest.raises(ValueError, match=r"not held|lost"):
        lock.acquire()
    borrow(lock)
    lock.release()


def test_a_forked_child_and_its_parent_exclude_each_other(lock: shared.Lock, tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_bytes(bytes(4096))

    def work() -> None:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096) as memory, memoryview(memory).cast("Q") as words:
            for _ in range(500):
                with lock:
                    words[0] += 1

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work) for _ in range(2)]
    for child in children:
        child.start()
    work()
    for child in children:
        child.join(DEADLINE)
        assert child.exitcode == 0
    assert int.from_bytes(path.read_bytes()[:8], sys.byteorder) == 1500


RESTLESS = """
lock = shared.Lock(sys.argv[1])
words = memoryview(mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 4096)).cast("Q")
def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] not in "ZX"
chance = random.Random(os.getpid())
print("ready", flush=True)
while not words[2]:
    for _ in range(chance.choice((1, 5, 100))):
        with lock:
            if words[1] and is_alive(words[1]):
                words[2] = 1  # two at a time
            words[1] = os.getpid()
            assert lock.token > words[3], "a token that is not larger"
            words[3] = lock.token
            words[0] += 1
            words[1] = 0
    time.sleep(chance.random() * 0.005)
"""


def test_those_who_are_killed_and_stopped_at_any_moment_never_leave_it_to_two(
    run: Run, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "words"
    path.write_bytes(bytes(4096))
    lock = shared.Lock("restless", client=client)
    chance = random.Random(1)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096) as memory, memoryview(memory).cast("Q") as words:
        programs = [run(RESTLESS, "restless", str(path)) for _ in range(3)]
        for program in programs:
            assert program.line() == "ready"
        for _ in range(150):
            program = chance.choice(programs)
            seen = words[0]
            wait_until(lambda seen=seen: words[0] > seen + chance.randrange(50) or words[2])
            if chance.random() < 0.1:
                program.process.kill()
                programs.remove(program)
                programs.append(run(RESTLESS, "restless", str(path)))
                assert programs[-1].line() == "ready"
            else:
                program.process.send_signal(signal.SIGSTOP)
                if lock.acquire(timeout=chance.random() * 0.01):
                    lock.release()
                program.process.send_signal(signal.SIGCONT)
            assert not words[2], "two at a time"
            assert all(program.process.poll() is None for program in programs)
        for program in programs:
            program.process.kill()
            program.process.wait()
        assert lock.acquire(timeout=DEADLINE)
        assert lock.token is not None
        assert lock.token > words[3]
    lock.drop()


# --- the daemon's end -------------------------------------------------------------------------------------------------


def test_a_loan_ends_with_a_daemon_that_is_killed_and_the_next_one_knows_nothing_of_it(
    start_daemon: StartDaemon, short_path: Path
) -> None:
    first = start_daemon(directory=short_path / "d")
    with Client(first.endpoint, reconnect=0) as client:
        lock, held = shared.Lock("l", client=client), shared.Lock("h", client=client)
        borrow(held)
        borrow(lock)
        lock.release()
        last = held.token
        loan = loan_of(lock)
        assert loan is not None
        first.kill()
        assert loan.void  # at once, and without a look at the socket
        second = start_daemon(directory=short_path / "d")
        with Client(second.endpoint) as other:
            theirs = shared.Lock("l", client=other), shared.Lock("h", client=other)
            for each in theirs:
                assert each.acquire(False)
                assert each.token is not None
                assert last is not None
                assert each.token > last
            assert not lock.acquire(False)
            held.release()  # it has lost it, and hears of it as ever
            with pytest.raises(StokerError, match="lost"):
                held.acquire(False)
            assert theirs[1].locked()
            for each in theirs:
                each.release()
            borrow(lock)
            lock.release()


def test_a_daemon_that_shuts_down_ends_its_loans(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    with Client(daemon.endpoint, reconnect=0) as client:
        lock = shared.Lock("l", client=client)
        borrow(lock)
        lock.release()
        daemon.close()
        with pytest.raises(StokerError):
            lock.acquire()
