"""A profile as a client hands it over: its text, and the points of the traces that it names, read here.

The daemon may run as another user, in another directory, on another machine; so whoever asks for a load reads the
files, and the points travel beside the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stoker.errors import BadProfile
from stoker.protocol import trace as traces
from stoker.protocol.profile import Trace
from stoker.protocol.profile_text import parse

MOST_BYTES = 64 << 20
"""Of one file."""

Points = list[tuple[float, float]]


def read(profile: str, directory: Path | None = None) -> list[Points]:
    """The points of every trace that a profile names, in order.

    Args:
        profile: its text.
        directory: where relative names of files begin; None: the working directory.

    Raises:
        BadProfile: the profile, or a file, is not right; or a file cannot be read.
    """
    return read_all(parse(profile).traces, directory)


def read_all(wanted: Sequence[Trace], directory: Path | None = None) -> list[Points]:
    """The points of these traces; see :func:`read`."""
    return list(
        traces.together(traces.points(_text((directory or Path()) / trace.file, trace), trace) for trace in wanted)
    )


def _text(path: Path, trace: Trace) -> str:
    try:
        if path.exists() and not path.is_file():
            raise BadProfile(f"the trace {trace.file} is no file", hint="write it into a file first")
        if path.stat().st_size > MOST_BYTES:
            raise BadProfile(f"the trace {trace.file} is larger than {MOST_BYTES >> 20} MiB", hint="thin it out")
        return path.read_text(encoding="utf-8")
    except OSError as why:
        raise BadProfile(
            f"the trace {trace.file} cannot be read: {why.strerror or why}", hint="`stoker record FILE` makes one"
        ) from None
    except UnicodeDecodeError as why:
        raise BadProfile(
            f"the trace {trace.file} is no text: {why.reason} at byte {why.start}", hint="a trace is CSV or JSON lines"
        ) from None
