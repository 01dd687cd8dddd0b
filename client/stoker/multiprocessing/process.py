"""``Process``: the standard library's, but for where it runs.

It is a subclass of :class:`multiprocessing.process.BaseProcess`, as those of the start methods "fork" and "spawn" are,
and brings its own way to start and to be waited for. All else, names, exit codes, ``daemon``, ``active_children``, the
traceback on stderr, what happens at exit, is the standard library's own code of whichever Python this is.

The child is forked by the daemon, in the environment of this program, and is a supervised process there: ``stoker
status`` shows it and ``stoker stop`` ends it. It belongs to this program and ends with it, whatever this dies of.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.context import set_spawning_popen
from multiprocessing.process import BaseProcess, active_children
from types import FrameType
from typing import Any, final

from stoker.connection import Connection  # first: exit handlers run in reverse, and it closes what ours needs
from stoker.default import default_client
from stoker.environment import of_library
from stoker.errors import CannotPack, NoSuchProcess, StokerError
from stoker.functions import by_name
from stoker.multiprocessing.birth import Birth
from stoker.multiprocessing.connection import Ticket, collecting, void
from stoker.multiprocessing.packing import pack
from stoker.multiprocessing.relay import Relay
from stoker.protocol.codec import Frame
from stoker.session import Exchange

LOST = 255
"""The exit code of a process whose end nobody can tell of, because the daemon is gone; as with "forkserver"."""

_numbers = itertools.count(1)


class _Started:
    """What :meth:`~stoker.connection.Connection.wait` waits for until the process runs, or can't."""

    settled = False


@final
class _Story:
    """What the daemon tells of one process: the completion of its ``start``.

    Args:
        connection: over which it is told.
        relay: takes what the process writes.
    """

    def __init__(self, connection: Connection, relay: Relay) -> None:
        self.connection, self.relay = connection, relay
        self.started = _Started()
        self.settled = False
        self.pid = 0
        self.code: int | None = None
        self.error: StokerError | None = None
        self.tickets: list[Ticket] = []
        """Ends of pipes on their way to the process."""
        self._parts = 0
        self._attended = False
        self._bell: tuple[int, int] | None = None

    def attend(self) -> None:
        """Have it received though nobody waits for it. Called with the connection's lock held."""
        self._attended = True
        self.connection.pump.attend()

    def part(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """It runs, or has written something. Told again where a Ctrl-C came between; each part counts once."""
        if "pids" in result:
            self.pid = result["pids"][0]
            self.started.settled = True
        elif result.get("number", 0) > self._parts:
            self._parts = result["number"]
            self.relay.add(bytes(payload[0]), bytes(payload[1]))

    def finish(self, result: dict[str, Any], _payload: Sequence[Frame]) -> None:
        """It has ended."""
        code = result.get("exit_code")
        self._end(LOST if code is None else int(code))

    def fail(self, error: StokerError) -> None:
        """It could not be started; or the daemon is gone, and it is too."""
        self.error = error
        self._end(LOST)

    def _end(self, code: int) -> None:
        self.code = code
        self.settled = self.started.settled = True
        if self.tickets:
            self.connection.pump.call_soon(void, self.connection, self.tickets)
            self.tickets = []
        if self._attended:
            self._attended = False
            self.connection.pump.release()
        if self._bell is not None:
            reading, writing = self._bell
            if writing >= 0:
                self._bell = reading, -1
                os.close(writing)

    def descriptor(self) -> int:
        """One that can be read once the process has ended: the end of a pipe whose other end is closed then."""
        with self.connection.lock:
            if self._bell is None:
                reading, writing = os.pipe()
                self._bell = reading, writing
                if self.settled:
                    self._end(self.code or 0)
            return self._bell[0]

    def close(self) -> None:
        """Give the descriptor back. It has ended."""
        with self.connection.lock:
            if self._bell is not None:
                for fd in self._bell:
                    if fd >= 0:
                        os.close(fd)
                self._bell = None


@final
class Popen:
    """A started process, in the terms of the standard library's ``Process``.

    Args:
        process: what to start.

    Raises:
        CannotPack: something in it can't travel.
        StokerError: the daemon can't be reached, or can't start it.
    """

    method = "stoker"
    sentinel = -1
    """Not this: see :attr:`Process.sentinel`."""

    def __init__(self, process: BaseProcess) -> None:
        client = default_client()
        self._connection = client.connection
        self.name = _wire_name(process.name, self._connection)
        self._owner = os.getpid()
        self._story = _Story(self._connection, Relay())
        self._start(process, self._pack(process))
        interrupts.watch()

    def _pack(self, process: BaseProcess) -> bytes:
        target = vars(process).get("_target")
        by_name(type(process))  # has modules that the child could not import noted, to travel by value
        by_name(getattr(target, "__func__", target))
        set_spawning_popen(self)  # type: ignore[arg-type]  # keys may be pickled for a child, and for nobody else
        try:
            with collecting() as tickets:
                packed = pack(process)
        finally:
            set_spawning_popen(None)
        self._story.tickets = tickets
        here = of_library()
        birth = Birth(
            process=packed,
            endpoint=self._connection.url,
            local=self._connection.url.startswith("ipc:"),
            parent=self._owner,
            cwd=here["cwd"],
            path=tuple(sys.path),
            argv=tuple(sys.argv),
            environ=dict(os.environ),
        )
        return pack(birth)

    def duplicate_for_child(self, fd: int) -> int:
        """What the standard library's own connections and locks ask for when they are pickled.

        Raises:
            CannotPack: always; the child is nobody's child here.
        """
        raise CannotPack(
            f"descriptor {fd} cannot travel to a process in the daemon",
            hint="use the queues, pipes and locks of stoker.multiprocessing throughout",
        )

    def _start(self, process: BaseProcess, birth: bytes) -> None:
        target = vars(process).get("_target") or type(process)
        label = f"{getattr(target, '__module__', '?')}.{getattr(target, '__qualname__', type(target).__qualname__)}"
        params = {
            "kind": "process",
            "name": self.name,
            "pickle": {"payload": 0, "name": label[-256:]},
            "cwd": "/",
            "restart": "never",
            "stop_signal": "SIGINT",
            "grace": 4.0,
            "attached": True,
        }
        story = self._story
        with self._connection.lock:
            self._connection.send("start", params, (birth,), story)
            story.attend()
        try:
            self._connection.wait(story.started)
        except BaseException:  # Ctrl-C: nobody will ever have this process
            self._connection.send("stop", {"names": [self.name], "grace": 0.0}, (), Exchange())
            raise
        if story.error is not None:
            raise story.error

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._story.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, as far as is known: negative for a signal; None: it runs."""
        return self._story.code

    def poll(self, flag: int = os.WNOHANG) -> int | None:  # noqa: ARG002 - the standard library's signature
        """How it ended; None: it runs."""
        if self._story.code is None and os.getpid() == self._owner:
            with contextlib.suppress(StokerError):
                self._connection.progress()
        if self._story.code is not None:
            self._story.relay.flush()
        return self._story.code

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, for at most ``timeout`` seconds; its exit code, or None: it runs still."""
        if self._story.code is None:
            interrupts.watch()
            self._connection.wait(self._story, None if timeout is None else max(timeout, 0.0))
        code = self.poll()
        if code is not None:
            interrupts.rest()
        return code

    def descriptor(self) -> int:
        """See :attr:`Process.sentinel`."""
        return self._story.descriptor()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def interrupt(self) -> None:
        """Send SIGINT."""
        self.send_signal(signal.SIGINT)

    def send_signal(self, signum: int, *, group: bool = False) -> None:
        """Send a signal, to it or to its whole process group; nothing happens where it has ended."""
        if self._story.code is None:
            params = {"name": self.name, "signal": signal.Signals(signum).name, "group": group}
            with contextlib.suppress(NoSuchProcess):
                self._connection.call("signal", params)

    def stop(self, grace: float) -> int | None:
        """SIGINT, half-way through ``grace`` SIGTERM, and at its end SIGKILL; returns when it has ended."""
        if self._story.code is None:
            with contextlib.suppress(NoSuchProcess):
                self._connection.call("stop", {"names": [self.name], "grace": grace}, timeout=grace + 60.0)
        return self.wait()

    def close(self) -> None:
        """Give back what it holds."""
        self._story.close()


class Process(BaseProcess):
    """A process of this program that runs in the daemon; see :class:`multiprocessing.Process`.

    Target and arguments travel by value, so functions of ``__main__``, of a notebook, nested ones and lambdas are all
    fine; queues, locks, values and the like of this package stay where they are and are shared. Nothing else of this
    program's state is seen by the child, as with the start method "spawn".

    Args:
        group: None.
        target: what it calls; None: see :meth:`run`.
        name: for people; need not be unique.
        args: the target's positional arguments.
        kwargs: its keyword arguments.
        daemon: True: it is terminated when this program ends, rather than waited for; None: as the current process.
    """

    _start_method = None

    @staticmethod
    def _Popen(process: BaseProcess) -> Popen:  # noqa: N802 - the standard library's hook
        return Popen(process)

    @property
    def sentinel(self) -> int:
        """A descriptor that can be read once the process has ended, for :mod:`select` and ``connection.wait``.

        Raises:
            ValueError: it was not started, or is closed.
        """
        if super().sentinel is None:
            raise ValueError("process not started")
        popen: Popen = vars(self)["_popen"]
        return popen.descriptor()

    def interrupt(self) -> None:
        """Send SIGINT: KeyboardInterrupt is raised in it, and its ``finally`` blocks run."""
        self._started().interrupt()

    def stop(self, grace: float = 4.0) -> int | None:
        """End it the gentle way: KeyboardInterrupt is raised in it, so that its ``finally`` blocks run. If that does
        not end it, SIGTERM is sent after half of ``grace``, and SIGKILL after all of it. Returns when it has ended.

        Args:
            grace: seconds.

        Returns:
            Its exit code.
        """
        return self._started().stop(grace)

    def _started(self) -> Popen:
        self._check_closed()  # type: ignore[attr-defined]
        popen: Popen | None = vars(self)["_popen"]
        if popen is None:
            raise ValueError("process not started")
        return popen


@final
class _Interrupts:
    """Ctrl-C, handed on to the children.

    A terminal sends SIGINT to all processes of the program in its foreground, and so does a notebook. Children in the
    daemon are not among them, so it is passed on to them, as long as there are any and this program does nothing of its
    own on SIGINT.
    """

    def watch(self) -> None:
        """Be the handler of SIGINT, where that is Python's own."""
        if threading.current_thread() is threading.main_thread() and (
            signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self.handle)

    def rest(self) -> None:
        """Give it back to Python when there is nobody to pass it on to: others look for its handler, asyncio does."""
        if signal.getsignal(signal.SIGINT) == self.handle and not _ours():
            with contextlib.suppress(ValueError):  # not in the main thread: next time
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Pass it on, then do what Python does. In a thread: the connection may be in use below this very frame."""
        with contextlib.suppress(RuntimeError):  # the interpreter is ending
            threading.Thread(target=self._pass_on, name="stoker-interrupt", daemon=True).start()
        signal.default_int_handler(signum, frame)

    def _pass_on(self) -> None:
        for process in _ours():
            with contextlib.suppress(StokerError, ValueError):
                process._started().send_signal(signal.SIGINT, group=True)  # noqa: SLF001 - the same module


interrupts = _Interrupts()


def _ours() -> list[Process]:
    return [process for process in active_children() if isinstance(process, Process)]


def _wire_name(name: str, connection: Connection) -> str:
    """A name that nothing else in the daemon has: what the user called it, the session, a number."""
    clean = re.sub(r"[^A-Za-z0-9_.:-]+", "-", name).strip("-.:")[:64] or "process"
    return f"{clean}@{connection.greeting.get('session', os.getpid())}.{next(_numbers)}"


def _finish_all() -> None:
    """At exit, before the connection is closed: as the standard library does, and it will find nothing left to do."""
    if multiprocessing.current_process().pid != os.getpid():
        return
    for process in _ours():
        if process.daemon:
            with contextlib.suppress(StokerError):
                process.terminate()
    for process in _ours():
        process.join()


atexit.register(_finish_all)
