"""What those may see who only observe: that something is there and how it fares, and not what it was given or said.

Arguments, and what an exception said, may hold what nobody else may know. Whoever may submit sees them: it
could read them with ps, or have them told by a job of its own.
"""

from __future__ import annotations

from msgspec.structs import replace

from stoker.protocol.models import BurnerInfo, ErrorInfo, JobInfo, ProcessInfo
from stoker.protocol.roles import Role
from stokerd.control.caller import Caller

NOT_SHOWN = "(not shown)"


def observes(caller: Caller) -> bool:
    """Whether this is somebody who only observes."""
    return caller.session.role < Role.SUBMIT


def job(caller: Caller, info: JobInfo) -> JobInfo:
    """A job, without what it said."""
    if not observes(caller):
        return info
    error = info.error and ErrorInfo(code=info.error.code, message=NOT_SHOWN, type=info.error.type)
    attempts = tuple(replace(each, message=each.message and NOT_SHOWN) for each in info.attempts)
    return replace(info, error=error, attempts=attempts)


def process(caller: Caller, info: ProcessInfo) -> ProcessInfo:
    """A process, with its program alone."""
    if not observes(caller) or len(info.argv) < 2:
        return info
    return replace(info, argv=(info.argv[0], NOT_SHOWN))


def burner(caller: Caller, info: BurnerInfo) -> BurnerInfo:
    """A burner, without the command lines of its probes."""
    if not observes(caller):
        return info
    probes = (replace(each, text=f"probe:{NOT_SHOWN}", reason="") for each in info.guards if _is_probe(each.text))
    others = (each for each in info.guards if not _is_probe(each.text))
    return replace(info, guards=(*others, *probes))


def _is_probe(guard: str) -> bool:
    return guard.lstrip().startswith("probe")
