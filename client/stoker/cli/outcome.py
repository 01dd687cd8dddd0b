"""How jobs look, and which exit code a job's end means. Takes the daemon's maps as they came."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import Any

from stoker.cli import render
from stoker.cli.values import spell
from stoker.errors import JobCancelled, JobError, StokerError, from_wire

Map = dict[str, Any]

ENDED = frozenset({"done", "failed", "cancelled", "timed-out", "worker-died", "quarantined", "lost-with-daemon"})
"""The same words as :data:`stoker.protocol.states.ENDED_JOB_STATES`, which the short verbs do not load."""

HEAD = (">ID", "STATE", "NAME", "POOL", "SUBMITTED", ">TOOK", ">PID", "")


def has_ended(job: Map) -> bool:
    """Whether the job, or all of the batch, has ended."""
    if job.get("counts"):
        return all(state in ENDED for state, number in job["counts"].items() if number)
    return job["state"] in ENDED


def exit_code(job: Map) -> int:
    """The job's own code: a command's, 128 + N where signal N ended it; else that of its error; 0 if all is well."""
    if job["state"] == "done":
        return 0
    error = failure(job)
    own = job.get("exit_code")
    if own and job["state"] == "failed":
        return int(own) if own > 0 else 128 - int(own)
    return error.exit_code


def failure(job: Map) -> StokerError:
    """Why the job has no value, in words for people."""
    if info := job.get("error"):
        known = from_wire(info)
        told = _with_class(known.message, info.get("type"))
        hint = known.hint or (f"`stoker job {job['id']}` shows the worker's traceback" if info.get("traceback") else "")
        return type(known)(f"job {job['id']} ({job['name']}): {told}", hint=hint, data=known.data)
    if job["state"] == "cancelled":
        return JobCancelled(f"job {job['id']} ({job['name']}) was cancelled")
    if job.get("exit_code"):
        return JobError(f"job {job['id']} ({job['name']}) ended with {ending(job['exit_code'])}")
    return JobError(f"job {job['id']} ({job['name']}) is {job['state']}")


def _with_class(message: str, kind: object) -> str:
    """What an exception says, its class before it. A command's failure says of itself what it was."""
    name = str(kind or "").rsplit(".", 1)[-1]
    return message if name in ("", "CommandFailed") or message.startswith(name) else f"{name}: {message}"


def ending(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def table(jobs: Iterable[Map], *, colour: bool) -> str:
    """Jobs as a table; an empty string where there are none."""
    rows = [_row(job, colour=colour) for job in jobs]
    return render.table(HEAD, rows, colour=colour) if rows else ""


def _row(job: Map, *, colour: bool) -> tuple[object, ...]:
    number = job.get("count", 1)
    took = spell(job["ended"] - job["started"]) if job.get("ended") and job.get("started") else "-"
    return (
        job["id"] if number == 1 else f"{job['id']}-{job['id'] + number - 1}",
        render.state(job["state"], colour=colour),
        render.shorten(render.clean(job["name"]), 40),
        job["pool"],
        render.clock(job.get("submitted")),
        took,
        job.get("pid") or "-",
        _remark(job, colour=colour),
    )


def _remark(job: Map, *, colour: bool) -> str:
    if counts := job.get("counts"):
        return ", ".join(f"{number} {render.state(state, colour=colour)}" for state, number in counts.items() if number)
    if job.get("error"):
        return render.shorten(render.clean(failure(job).message.partition(": ")[2]), 60)
    return ending(job["exit_code"]) if job.get("exit_code") else ""


def _attempts(job: Map) -> str | None:
    if not job.get("attempt"):
        return None
    return f"{job['attempt']} of {job['retries'] + 1}" if job.get("retries") else str(job["attempt"])


def _attempt(before: Map, *, colour: bool) -> str:
    """One attempt that was not the last, in one line."""
    took = spell(before["ended"] - before["started"]) if before.get("ended") and before.get("started") else "-"
    message = render.shorten(render.clean(_with_class(str(before.get("message", "")), before.get("type"))), 80)
    return (
        f"attempt {before['attempt']}: {render.state(before['state'], colour=colour)} after {took}  {message}".rstrip()
    )


def progress_of(job: Map) -> str | None:
    """How far a job has come, in words; None where it has not said."""
    told = job.get("progress")
    if not told:
        return None
    done, total = told["done"], told.get("total")
    share = f"{done:g} of {total:g} ({100 * done / total:.0f} %)" if total else f"{done:g}"
    return f"{share}  {render.clean(told['note'])}" if told.get("note") else share


def progress_line(jobs: Iterable[Map], width: int) -> str:
    """A bar for the jobs that say how far they have come; empty where none does.

    Args:
        jobs: as the daemon tells of them.
        width: columns.
    """
    told = [job for job in jobs if job.get("progress") and not has_ended(job)]
    if not told:
        return ""
    first = told[0]
    words = f" {progress_of(first)}" + (f"  (job {first['id']}; {len(told)} are running)" if len(told) > 1 else "")
    total = first["progress"].get("total")
    if not total:
        return render.shorten(words.strip(), width)
    room = max(8, min(40, width - len(words) - 2))
    full = min(room, round(room * first["progress"]["done"] / total))
    return render.shorten(f"[{'#' * full}{'.' * (room - full)}]{words}", width)


def details(job: Map, *, colour: bool) -> str:
    """Everything about one job, one fact a line."""
    error = job.get("error") or {}
    facts: list[tuple[str, object]] = [
        ("job", job["id"]),
        ("name", render.clean(job["name"])),
        ("state", render.state(job["state"], colour=colour)),
        ("pool", job["pool"]),
        ("form", job.get("form")),
        ("batch of", job["count"] if job.get("count", 1) > 1 else None),
        ("priority", job.get("priority") or None),
        ("slots", job["slots"] if job.get("slots", 1) > 1 else None),
        ("tags", ", ".join(job.get("tags", ())) or None),
        ("key", job.get("key")),
        ("durable", "yes" if job.get("durable") else None),
        ("timeout", spell(job["timeout"]) if job.get("timeout") else None),
        ("on crash", job.get("on_crash")),
        ("attempt", _attempts(job)),
        ("due", render.clock(job["due"]) if job.get("due") else None),
        ("after", ", ".join(map(str, job.get("after", ()))) or None),
        ("progress", progress_of(job)),
        ("worker", job.get("worker")),
        ("pid", job.get("pid")),
        ("submitted", render.clock(job.get("submitted"))),
        ("started", render.clock(job["started"]) if job.get("started") else None),
        ("ended", render.clock(job["ended"]) if job.get("ended") else None),
        ("cpu", f"{job['cpu_seconds']:.3f}s" if job.get("cpu_seconds") else None),
        ("peak memory", render.size(job["peak_rss"]) if job.get("peak_rss") else None),
        ("exit code", job.get("exit_code")),
        ("error", f"{error['code']}: {error['message']}" if error else None),
        ("hint", error.get("hint") or None),
    ]
    lines = [f"{name:<11} {fact}" for name, fact in facts if fact is not None]
    lines += [f"{'before':<11} {_attempt(before, colour=colour)}" for before in job.get("attempts", ())]
    if traceback := error.get("traceback"):
        lines += ["", str(traceback).rstrip()]
    return "\n".join(lines)
