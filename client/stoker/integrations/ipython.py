"""IPython and Jupyter: how Stoker's objects look in a notebook, and what an interrupt of the kernel ends.

Loaded by itself when Stoker is first used under IPython; ``%load_ext stoker.integrations.ipython`` does the same.

*Interrupt.* A cell that is interrupted (Ctrl-C, or the button) while it waits for jobs or for an executor's Futures has
those cancelled. Which they are is read off the traceback: whatever a frame of it was waiting in. Jobs that nobody
waited for go on.
"""

from __future__ import annotations

import contextlib
import html
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from types import FrameType, TracebackType
from typing import Any

import msgspec

from stoker.errors import StokerError
from stoker.job import Job, KeptJob
from stoker.protocol.models import DaemonStatus, JobInfo

_WAITING = ("_outcome", "outcome", "result", "exception")
"""The methods in which a job is waited for."""


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext`` calls. Twice is fine.

    Args:
        shell: an ``InteractiveShell``.
    """
    pictures = shell.display_formatter.formatters["text/html"]
    for kind in (Job, KeptJob):
        pictures.for_type(kind, job_html)
    pictures.for_type(DaemonStatus, status_html)
    pictures.for_type(JobInfo, info_html)
    with contextlib.suppress(ValueError):
        shell.events.unregister("post_run_cell", _cell_ended)
    shell.events.register("post_run_cell", _cell_ended)


def unload_ipython_extension(shell: Any) -> None:
    """What ``%unload_ext`` calls."""
    pictures = shell.display_formatter.formatters["text/html"]
    for kind in (Job, KeptJob, DaemonStatus, JobInfo):
        pictures.pop(kind, None)
    with contextlib.suppress(ValueError):
        shell.events.unregister("post_run_cell", _cell_ended)


# --- interrupts -------------------------------------------------------------------------------------------------------


def _cell_ended(result: Any) -> None:
    """A cell has run; ``result`` is IPython's ``ExecutionResult``."""
    error = result.error_in_exec
    if isinstance(error, KeyboardInterrupt):
        cancel_awaited(error.__traceback__)


def cancel_awaited(trace: TracebackType | None) -> None:
    """Cancel the jobs that the frames of this traceback were waiting for."""
    from stoker.watching import cancel

    awaited = list(dict.fromkeys(_awaited(trace)))
    cancel([each for each in awaited if isinstance(each, Job | KeptJob)])
    if "stoker.executor" in sys.modules:
        for executor in list(sys.modules["stoker.executor"].alive):
            futures = [each for each in executor.unfinished() if each in awaited or each._condition in awaited]  # noqa: SLF001 - see _awaited_in
            with contextlib.suppress(StokerError):
                executor.kill_all(futures)


def _awaited(trace: TracebackType | None) -> Iterator[Any]:
    while trace is not None:
        yield from _awaited_in(trace.tb_frame)
        trace = trace.tb_next


def _awaited_in(frame: FrameType) -> Iterator[Any]:
    mine = frame.f_locals.get("self")
    if isinstance(mine, Job | KeptJob) and frame.f_code.co_name in _WAITING:
        yield mine
    if isinstance(mine, threading.Condition):  # Future.result forgets its self on the way out; this is the Future's own
        yield mine
    if frame.f_globals.get("__name__") == "concurrent.futures._base" and frame.f_code.co_name in (
        "wait",
        "as_completed",
    ):
        yield from (each for each in frame.f_locals.get("fs", ()) if isinstance(each, Future))


# --- pictures ---------------------------------------------------------------------------------------------------------


def job_html(job: Job | KeptJob) -> str:
    """A job in one line: its number, its name, and how it is going; asks nobody."""
    if isinstance(job, KeptJob):
        return f"<div><b>job {job.id}</b> {html.escape(job.name)}</div>"
    words = repr(job).strip("<>").split()
    return (
        f"<div><b>job {html.escape(words[1])}</b> {html.escape(' '.join(words[2:-1]))}: {html.escape(words[-1])}</div>"
    )


def info_html(info: JobInfo) -> str:
    """A job's record as a table of what is known."""
    return _table(
        [{name: value for name, value in msgspec.structs.asdict(info).items() if value not in (None, "", ())}]
    )


def status_html(status: DaemonStatus) -> str:
    """A daemon's state: what runs in it, a table for each kind."""
    daemon = status.daemon
    parts = [
        f"<div><b>stokerd {html.escape(daemon.version)}</b> at {html.escape(daemon.endpoint)}, pid {daemon.pid}</div>"
    ]
    for title, entries in (("pools", status.pools), ("burners", status.burners), ("processes", status.processes)):
        if entries:
            rows = [msgspec.structs.asdict(entry) for entry in entries]
            parts.append(f"<div><b>{title}</b>{_table(rows)}</div>")
    if status.jobs:
        parts.append(f"<div><b>jobs</b>{_table([dict(status.jobs)])}</div>")
    return "".join(parts)


def _table(rows: list[dict[str, Any]]) -> str:
    columns = [name for name, value in rows[0].items() if not isinstance(value, Mapping)]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(row.get(name)))}</td>" for name in columns) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, tuple | list):  # workers, mostly: how many
        return str(len(value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
