"""Profiles of configured burners: read with the file, and the traces that they name, so that an error has its line."""

from __future__ import annotations

from pathlib import Path

from stoker.errors import BadProfile
from stoker.protocol import trace as traces
from stoker.protocol.profile import Trace
from stoker.protocol.profile_text import parse

MOST_BYTES = 64 << 20
"""Of one trace."""

Points = tuple[tuple[float, float], ...]


def read(profile: str, directory: Path) -> tuple[Points, ...]:
    """The points of every trace that a profile names, in order.

    Args:
        profile: its text.
        directory: where relative names of files begin: that of the configuration.

    Raises:
        BadProfile: the profile or a trace is not right, or a file cannot be read.
    """
    found = (traces.points(_text(directory / trace.file, trace), trace) for trace in parse(profile).traces)
    return tuple(map(tuple, traces.together(found)))


def _text(path: Path, trace: Trace) -> str:
    try:
        if path.exists() and not path.is_file():
            raise BadProfile(f"the trace {trace.file} is no file", hint="name a CSV or JSON-lines file")
        if path.stat().st_size > MOST_BYTES:
            raise BadProfile(f"the trace {trace.file} is larger than {MOST_BYTES >> 20} MiB", hint="thin it out")
        return path.read_text(encoding="utf-8")
    except OSError as why:
        raise BadProfile(
            f"the trace {trace.file} cannot be read: {why.strerror or why}",
            hint="a relative name begins where the configuration lies; the daemon's user must be allowed to read it",
        ) from None
    except UnicodeDecodeError as why:
        raise BadProfile(
            f"the trace {trace.file} is no text: {why.reason} at byte {why.start}", hint="a trace is CSV or JSON lines"
        ) from None
