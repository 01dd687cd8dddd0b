"""Output of jobs and processes, followed live; and a job's value, shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from stoker.cli import outcome, render
from stoker.cli.connecting import Peer
from stoker.cli.output import Output

PATIENCE = 60.0
"""Seconds that the daemon may hold one request for output; then it is asked again."""


LOOK_EVERY = 0.2
"""Seconds between looks at how far a job has come, where somebody watches."""

NEVER_RAN = (126, 127)
"""Exit codes by which a shell tells that there is no such program, or that it can't be executed."""


class Tail:
    """What one job or process writes, from its first byte.

    Args:
        peer: the daemon.
        target: a job's id, or the name of a supervised process.
    """

    def __init__(self, peer: Peer, target: int | str) -> None:
        self._peer = peer
        self._target = target
        self._out = self._err = 0
        self.dropped = 0

    @property
    def written(self) -> bool:
        """Whether it has written anything so far."""
        return bool(self._out or self._err)

    def pieces(self, *, follow: bool, lines: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """What it wrote to stdout and stderr, as it comes; with ``follow`` until it ends.

        Args:
            follow: go on until it ends.
            lines: of what there is already, only so many of the last lines of each stream.
        """
        while True:
            params: dict[str, Any] = {"id": self._target, "out": self._out, "err": self._err}
            if follow:
                params["wait"] = PATIENCE
            reply, frames = self._peer.call("logs", params)
            out, err = (bytes(frames[number]) if len(frames) > number else b"" for number in (0, 1))
            self._out, self._err, self.dropped = reply["next_out"], reply["next_err"], reply["dropped"]
            if out or err:
                yield (out, err) if lines is None else (_last(out, lines), _last(err, lines))
                lines = None
            if reply["ended"] or not (out or err or follow):
                return

    def copy(self, *, follow: bool, lines: int | None = None) -> None:
        """Write it to our own stdout and stderr; see :meth:`pieces`."""
        for out, err in self.pieces(follow=follow, lines=lines):
            if out:
                sys.stdout.buffer.write(out)
                sys.stdout.flush()
            if err:
                sys.stderr.buffer.write(err)
                sys.stderr.flush()

    def collect(self, *, follow: bool, lines: int | None = None) -> dict[str, Any]:
        """It as text where it is text, else as bytes; see :meth:`pieces`."""
        pieces = list(self.pieces(follow=follow, lines=lines))
        return {
            "stdout": _text(b"".join(out for out, _ in pieces)),
            "stderr": _text(b"".join(err for _, err in pieces)),
        }


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _last(data: bytes, lines: int) -> bytes:
    return b"".join(data.splitlines(keepends=True)[-lines:]) if lines else b""


def show_json(tail: Tail, out: Output, *, follow: bool, lines: int | None = None) -> None:
    """One map for all of it; with ``follow`` one line of JSON for each piece."""
    if not follow:
        out.show({**tail.collect(follow=False, lines=lines), "dropped": tail.dropped})
        return
    for stdout, stderr in tail.pieces(follow=True, lines=lines):
        out.show({"stdout": _text(stdout), "stderr": _text(stderr)})


def finish_command(peer: Peer, job: int, out: Output) -> int:
    """Follow a command to its end; its output is ours, and so is its exit code.

    Args:
        peer: the daemon.
        job: the command's id.
        out: where to; under ``--json`` the output is part of one map.
    """
    tail = Tail(peer, job)
    told: dict[str, Any] = {}
    if out.json:
        told = tail.collect(follow=True)
    else:
        tail.copy(follow=True)
    info = peer.call("wait", {"ids": [job]})[0]["jobs"][0]
    if tail.dropped:
        out.warn(f"{tail.dropped} bytes of its output were not kept")
    out.show({**info, **told})
    if not _speaks_for_itself(info, silent=not tail.written):
        out.complain(outcome.failure(info))
    return outcome.exit_code(info)


def _speaks_for_itself(info: dict[str, Any], *, silent: bool) -> bool:
    """Whether a command's output and code are all that there is to say: not if a signal ended it or it never ran."""
    code = info.get("exit_code")
    if info["state"] == "done":
        return True
    return info["state"] == "failed" and code is not None and code >= 0 and not (silent and code in NEVER_RAN)


def result(peer: Peer, job: int, timeout: float | None = None) -> tuple[dict[str, Any], Sequence[Any]]:
    """The job with its value; where somebody watches, a bar meanwhile if the job says how far it has come.

    Args:
        peer: the daemon.
        job: which.
        timeout: seconds to wait; None: for ever.

    Raises:
        StokerError: as of the request.
    """
    params: dict[str, Any] = {"id": job} if timeout is None else {"id": job, "timeout": timeout}
    if not sys.stderr.isatty():
        return peer.call("result", params)
    watch_progress(peer, [job], timeout)
    return peer.call("result", params | ({} if timeout is None else {"timeout": 0}))


def watch_progress(peer: Peer, jobs: Sequence[int], timeout: float | None) -> None:
    """Wait until these jobs have ended or the time is over, and draw how far they have come."""
    end = None if timeout is None else time.monotonic() + timeout
    drawn = False
    try:
        while True:
            left = LOOK_EVERY if end is None else min(LOOK_EVERY, max(0.0, end - time.monotonic()))
            reply, _ = peer.call("wait", {"ids": list(jobs), "timeout": left})
            if all(map(outcome.has_ended, reply["jobs"])) or (end is not None and time.monotonic() >= end):
                return
            if line := outcome.progress_line(reply["jobs"], render.terminal_width() - 1):
                sys.stderr.write(f"\r{line}\x1b[K")
                sys.stderr.flush()
                drawn = True
    finally:
        if drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def show_value(job: dict[str, Any], frames: Sequence[Any], out: Output) -> None:
    """A job's value on stdout; or, where it has none, why.

    Args:
        job: the job, with ``value`` or ``payload`` where it ended well.
        frames: the reply's payload frames.
        out: where to.
    """
    value = _value(job, frames)
    if out.json:
        out.show({**job, "value": value} if job["state"] == "done" else job)
    elif job["state"] == "done":
        print(render.result(value), flush=True)
    if job["state"] != "done":
        out.complain(outcome.failure(job))


def _value(job: dict[str, Any], frames: Sequence[Any]) -> Any:
    """The value; one that was pickled, by a job that this user submitted from Python, is unpickled."""
    index = job.get("payload")
    if index is None:
        return job.get("value")
    import pickle

    try:
        return pickle.loads(frames[index])  # noqa: S301 - the user's own job's value, as Client.result() gives it
    except Exception as why:
        return f"<a pickled value of {len(frames[index])} bytes that cannot be read here: {why}>"
