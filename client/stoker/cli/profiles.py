"""What ``--profile`` stands for: the text itself or, as ``@FILE``, what is in a file; and the traces that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stoker import traces
from stoker.cli.values import UsageError


def text(argument: str) -> str:
    """The text of a profile.

    Raises:
        UsageError: the file cannot be read.
    """
    if not argument.startswith("@"):
        return argument
    try:
        return Path(argument[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as why:
        raise UsageError(
            f"the profile in {argument[1:]} cannot be read: {getattr(why, 'strerror', None) or why}",
            hint="give the profile itself, or @FILE",
        ) from None


def params(argument: str) -> dict[str, Any]:
    """The wire parameters of a profile: it, and the points of its traces.

    Raises:
        BadProfile: the profile, or a trace, is not right.
        UsageError: the file cannot be read.
    """
    profile = text(argument)
    found = traces.read(profile)
    return {"profile": profile, "traces": found} if found else {"profile": profile}
