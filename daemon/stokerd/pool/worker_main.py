"""The worker: one process that runs the jobs of one pool, one at a time, in one thread.

It reads bulk messages from its channel, runs the jobs in order, and answers in bulk. Each job goes through four steps,
each visible to the daemon in the shared page: claim it (``current``), run it, put its result in the outbox, mark it
``done``. Runs under the environment's interpreter: standard library and siblings only.
"""

from __future__ import annotations

import contextlib
import gc
import json
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from stokerd.forkserver.handles import Handles
from stokerd.pool import calls, commands, messages, page, parcels, progress
from stokerd.pool import claims as claim
from stokerd.pool.freshness import Sources
from stokerd.pool.outbox import Outbox
from stokerd.pool.threads import Threads

FLUSH_NS = 1_000_000
"""A result waits for company at most this long while more jobs are run."""
BUFFER = 256 * 1024
STDOUT, STDERR = 1, 2
TELL_NS = 50_000_000
"""Progress is told at most this often; how much is done stands in the page at all times."""
MAX_NOTE = 256
"""Characters of a note on progress."""
BIG_KIB = 16 * 1024
"""A job that used so much more memory than the one before has the high-water mark set back after it."""


_STARTED, _CLAIMED, _TAKEN, _DONE = page.STARTED, page.CLAIMED, page.TAKEN, page.DONE
"""What is touched with every job."""


class Worker:
    """The state of this process."""

    def __init__(
        self, channel: socket.socket, memory: mmap.mmap, result_bytes: int, *, begins: bool, claims: str
    ) -> None:
        self._channel = channel
        self._begins = begins
        self._claims = None
        if claims:
            with contextlib.suppress(OSError):  # then nobody will know what it has begun with
                self._claims = claim.write_to(claims)
        self._words = page.words(memory)
        self._result_bytes = min(result_bytes, messages.LENGTH)
        self._sending = threading.Lock()
        self._outbox = Outbox(channel, memory, self._sending)
        self._sources = Sources()
        self._threads = Threads(os.environ)
        self._stale = False
        self._spoilt = False
        """A cancel has interrupted an import: no other job may meet what is left of it."""
        self._told_at = 0
        self._resident = 0
        self._functions = calls.Functions()
        self._parcels: parcels.Parcels | None = None
        self._buffer = bytearray(BUFFER)
        self._have = 0
        # Asleep in poll and not in recv: who sleeps in recv is woken as well when the daemon takes what was sent last.
        poll = select.poll()
        poll.register(channel.fileno(), select.POLLIN)
        self._readable = poll.poll
        self._running = 0
        """The seq of the job whose code is on the stack; 0 for none: what a signal may interrupt."""
        # Descriptors of its own: a job may close or redirect its stdout.
        self._stdout, self._stderr = os.dup(STDOUT), os.dup(STDERR)
        self._out = os.lseek(self._stdout, 0, os.SEEK_END)
        self._err = os.lseek(self._stderr, 0, os.SEEK_END)

    # --- signals: only the job they are meant for, and only while it runs

    def install_signals(self) -> None:
        """SIGINT raises KeyboardInterrupt in the job that is to be cancelled; SIGTERM ends it, or else this process."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        signal.signal(signal.SIGTERM, self._on_terminate)
        commands.announce = self._announce
        commands.used = self._used
        commands.outputs = (self._stdout, self._stderr)
        progress.tell = self._progress

    def _is_meant(self) -> bool:
        meant = self._running
        return meant != 0 and self._words[page.CANCEL] == meant

    def _on_interrupt(self, _number: int, frame: FrameType | None) -> None:
        if self._is_meant():
            self._break_off(KeyboardInterrupt, frame)

    def _on_terminate(self, _number: int, frame: FrameType | None) -> None:
        if self._is_meant():
            self._break_off(calls.JobTerminated, frame)
        elif self._words[page.CANCEL] == 0:
            sys.exit(128 + signal.SIGTERM)

    def _break_off(self, kind: type[BaseException], frame: FrameType | None) -> None:
        # Half an import stays behind: submodules without their package, extensions that can't be loaded twice.
        self._spoilt = self._spoilt or _is_importing(frame)
        commands.shelter.admit(kind)

    def _announce(self, pid: int) -> None:
        self._words[page.COMMAND] = pid

    def _used(self, usage: resource.struct_rusage) -> None:
        self._outbox.commands = usage

    def _progress(self, done: float, total: float | None, note: str) -> None:
        """Of the job that runs, by whichever of its threads."""
        seq = self._running
        if not seq:
            return
        words = self._words
        words[page.PROGRESS_DONE] = _bits(done)
        words[page.PROGRESS_TOTAL] = _bits(-1.0 if total is None else total)
        words[page.PROGRESS] = seq
        now = time.monotonic_ns()
        if now - self._told_at < TELL_NS and done != total:
            return
        self._told_at = now
        body = json.dumps([done, total, note[:MAX_NOTE]]).encode()
        self._tell(messages.pack(messages.PROGRESS, size=len(body), seq=seq) + body)

    def _say(self, message: bytes) -> None:
        """Send: never into a message of a thread that a job has left behind."""
        with self._sending:
            self._channel.sendall(message)

    def _tell(self, message: bytes) -> None:
        """Send while a job runs: whole, or not at all, whatever signal comes for the job."""
        if threading.current_thread() is not threading.main_thread():
            self._say(message)
            return
        commands.shelter.close()
        try:
            self._say(message)
        finally:
            commands.shelter.open()

    # --- the loop

    def serve(self) -> None:
        """Run what comes until the daemon closes the channel."""
        if not self._begins:
            self._channel.sendall(messages.pack(messages.READY, seq=os.getpid()))
        head = messages.HEADER.size
        while self._fill(head):
            header = messages.Header._make(messages.HEADER.unpack_from(self._buffer))
            if not self._fill(head + header.size):
                return
            whole = memoryview(self._buffer)
            body = whole[head : head + header.size]
            try:
                self._take(header, body)
            finally:
                body.release()
                whole.release()
            self._consume(head + header.size)

    def _fill(self, size: int) -> bool:
        """Have at least ``size`` bytes in the buffer; False when the daemon is gone."""
        if len(self._buffer) < size:
            self._resize(size)
        while self._have < size:
            self._readable()
            with memoryview(self._buffer) as view:
                if self._parcels is None:
                    got = self._channel.recv_into(view[self._have :])
                else:
                    got = messages.receive(self._channel, view[self._have :], self._parcels.passed)
            if not got:
                return False
            self._have += got
        return True

    def _consume(self, size: int) -> None:
        rest = self._have - size
        if rest:
            self._buffer[:rest] = self._buffer[size : self._have]
        self._have = rest
        if len(self._buffer) > 16 * BUFFER and rest <= BUFFER:
            self._resize(BUFFER)

    def _resize(self, size: int) -> None:
        # A new one: a job may have kept a view of the old one, in a traceback for instance, and that forbids resizing.
        fresh = bytearray(size)
        fresh[: self._have] = self._buffer[: self._have]
        self._buffer = fresh

    def _take(self, header: messages.Header, body: memoryview) -> None:
        template = bytes(body[: header.template])
        if header.op == messages.FUNCTION:
            self._functions.learn(template, bytes(body[header.template :]))
        elif header.op == messages.BEGIN:
            self._begin(header, template, body[header.template :])
        elif header.op == messages.SHARE:
            self._share()
        elif header.op in (messages.SEGMENT, messages.FORGET):
            if self._parcels is not None:
                self._parcels.take(header)
        elif header.op == messages.RUN and not self._is_stale():
            self._threads.follow(header.usage)
            self._run(header, template, body[header.template :])

    def _share(self) -> None:
        """Take part in shared memory: from here on, descriptors may come."""
        words = self._words
        self._parcels = parcels.Parcels(self._tell, lambda: words[page.ROOM])
        self._channel.sendall(messages.pack(messages.SHARE))

    def _begin(self, header: messages.Header, template: bytes, payload: memoryview) -> None:
        """Call what every worker of this pool begins with; where that fails, say why and end."""
        self._threads.follow(1)
        try:
            calls.run(header.form, self._functions.find(template), payload)
        except BaseException as why:  # SystemExit and KeyboardInterrupt are failures of it as well
            told = calls.pack_error(messages.NAMED, why)[: messages.MAX_TOLD]
            self._channel.sendall(messages.pack(messages.REFUSED, size=len(told)) + told)
            os._exit(1)
        self._channel.sendall(messages.pack(messages.READY, seq=os.getpid()))

    def _is_stale(self) -> bool:
        """Whether what would run now is not what its author has written, or has written meanwhile; says so once."""
        if not self._stale and (self._spoilt or self._sources.changed()):
            self._stale = True
            self._say(messages.pack(messages.STALE))
        return self._stale

    def _run(self, header: messages.Header, template: bytes, body: memoryview) -> None:
        lengths = memoryview(bytes(body[: 4 * header.count])).cast("I")
        at = 4 * header.count
        words, claims, outbox, clock = self._words, self._claims, self._outbox, time.monotonic_ns
        form, sources = header.form, self._sources
        run_one = self._run_one if form & messages.PLAIN_FORM == form else self._run_shared
        window = clock()
        for seq, length in enumerate(lengths, header.seq):
            words[_STARTED] = started = clock()
            words[_CLAIMED] = seq
            if claims is not None:
                claims[0] = seq
            if seq < words[_TAKEN]:
                self._give_back(seq)
            else:
                if form == messages.COMMAND:
                    commands.job = header.extra + seq - header.seq
                data, error = run_one(seq, header, template, body[at : at + length])
                now = clock()
                sources.note_imports()  # before anybody can know the result, and change what was imported
                self._tell_output(seq)
                if isinstance(data, bytes):
                    outbox.add(seq, data, now - started, error=error)
                else:
                    outbox.add_laid(seq, data, now - started)
                words[_DONE] = seq
                if now - window > FLUSH_NS:
                    outbox.flush()
                    window = now
                if self._spoilt:
                    break
            at += length
        outbox.flush()
        self._set_back_peak()
        if self._spoilt:
            self._is_stale()

    def _set_back_peak(self) -> None:
        """The high-water mark of memory only rises: set it back after a job that raised it, or the next is blamed."""
        peak = self._outbox.peak  # as of the last flush, just now
        if peak > self._resident + BIG_KIB:
            with contextlib.suppress(OSError), open("/proc/self/clear_refs", "wb", buffering=0) as refs:  # noqa: PTH123
                refs.write(b"5")  # see proc(5): resets the peak resident set size
            self._resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def _give_back(self, seq: int) -> None:
        self._words[page.DONE] = seq
        self._outbox.flush()
        self._say(messages.pack(messages.RETURNED, seq=seq, count=1))

    def _run_one(
        self, seq: int, header: messages.Header, template: bytes, payload: memoryview
    ) -> tuple[bytes | parcels.Laid, bool]:
        """The job's packed value, or its packed error and True."""
        form = header.form
        try:
            try:
                self._running = seq  # an import, too, can be interrupted
                function = None if form == messages.COMMAND else self._functions.find(template)
                value = calls.run(form, function, payload)
                self._running = 0
                return calls.pack_value(form, value, self._result_bytes), False
            except BaseException as why:  # SystemExit and KeyboardInterrupt are the job's, not ours
                self._running = 0
                return calls.pack_error(form, why), True
        except (KeyboardInterrupt, calls.JobTerminated) as why:
            # A second signal of the ladder, between the job's own end and the line above.
            self._running = 0
            return calls.pack_error(form, why), True

    def _run_shared(
        self, seq: int, header: messages.Header, template: bytes, payload: memoryview
    ) -> tuple[bytes | parcels.Laid, bool]:
        """As :meth:`_run_one`, for a job whose arguments lie in shared memory or whose value may."""
        form, mine = header.form & messages.PLAIN_FORM, self._parcels
        assert mine is not None  # noqa: S101 - it was told to share before
        read: Callable[[memoryview], Any] = calls.unpickle
        try:
            try:
                if header.form & messages.PARCEL:
                    mine.begin(header.resident)
                    read = mine.load
                self._running = seq
                value = calls.run(form, self._functions.find(template), payload, read)
                self._running = 0
                lays = mine if header.form & messages.LAYS else None
                return calls.pack_large(form, value, self._result_bytes, lays), False
            except BaseException as why:  # as above
                self._running = 0
                return calls.pack_error(form, why), True
        except (KeyboardInterrupt, calls.JobTerminated) as why:
            self._running = 0
            return calls.pack_error(form, why), True
        finally:
            mine.end()

    def _tell_output(self, seq: int) -> None:
        """Say where this job's output ends, if it wrote anything: to the byte, whoever wrote it."""
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except Exception:  # a job may have closed one, or replaced it by whatever it likes
            with contextlib.suppress(Exception):
                sys.stderr.flush()
        out = _seek(self._stdout, 0, os.SEEK_END)
        err = _seek(self._stderr, 0, os.SEEK_END)
        if out != self._out or err != self._err:
            self._out, self._err = out, err
            self._outbox.flush()
            head = messages.pack(messages.OUTPUT, size=messages.OFFSET.size, seq=seq, extra=out)
            self._say(head + messages.OFFSET.pack(err))


_seek = os.lseek  # also where a job has put something else in its place


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _bits(number: float) -> int:
    bits: int = struct.unpack("<Q", struct.pack("<d", number))[0]
    return bits


def main(args: dict[str, Any], handles: Handles) -> None:
    """The target of the fork: serve until the channel is closed."""
    channel, memory = handles.channel, handles.page
    assert channel is not None  # noqa: S101 - the pool asks for both
    assert memory is not None  # noqa: S101
    worker = Worker(channel, memory, args["result_bytes"], begins=args["begins"], claims=args["claims"])
    worker.install_signals()
    gc.collect()
    gc.freeze()  # what was there before the first job is never garbage
    try:
        worker.serve()
    except (BrokenPipeError, ConnectionResetError):
        return
