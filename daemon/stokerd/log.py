"""The daemon's log: coloured lines on a terminal, JSON elsewhere, with the journal's priorities under systemd.

The only importer of structlog. A part takes a logger with :func:`get_logger` and binds the ids of what it is about.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, TextIO

from stokerd.systemd import under_systemd


class _Later(ModuleType):
    """A module that is imported when something in it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _in_place_of(modules: dict[str, ModuleType | None]) -> Iterator[None]:
    """Have imports find these meanwhile, or nothing, where they are not loaded already."""
    mine = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(mine)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in mine:
            del sys.modules[name]


# structlog has loggers for asyncio, which are not used here: 2 MB, and a good part of the start. It imports rich where
# there is one, for tracebacks that are not used either: 5 MB.
with _in_place_of({"asyncio": _Later("asyncio"), "rich": None}):
    import structlog
    from structlog.typing import FilteringBoundLogger, Processor, WrappedLogger

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}
"""structlog's level -> syslog's, which the journal reads from ``<N>`` at the start of a line."""


def get_logger(**ids: Any) -> FilteringBoundLogger:
    """A logger with ids bound to every line, for instance ``get_logger(burner="heat")``."""
    logger: FilteringBoundLogger = structlog.get_logger(**ids)
    return logger


def set_up(level: str, log_format: str, environ: Mapping[str, str], stream: TextIO | None = None) -> None:
    """Decide what is logged and how; call it again to change the level.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        log_format: ``json``, ``console``, or ``auto`` for whichever fits the stream.
        environ: ``JOURNAL_STREAM`` and ``NO_COLOR`` are looked at.
        stream: where to; None: stderr.
    """
    out = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    processors: list[Processor] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level]
    if console:
        colours = out.isatty() and not environ.get("NO_COLOR")
        processors += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback),
        ]
    else:
        processors += [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ]
    if stream is None and under_systemd(environ):
        processors.append(_put_priority)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_Lines(out),
        cache_logger_on_first_use=False,
    )


class _Lines:
    """Makes loggers that write one line per call.

    A log that cannot be written (a full disk, a reader that went away) is no reason to stop what the daemon runs.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, *_: Any) -> _Lines:
        return self

    def msg(self, line: str) -> None:
        """Write a line."""
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except (OSError, ValueError):
            return

    log = debug = info = warning = warn = error = exception = critical = fatal = failure = err = msg


def _put_priority(_: WrappedLogger, method: str, line: Any) -> str:
    """``<N>`` before every line, as the journal reads it line by line."""
    prefix = f"<{_PRIORITY.get(method, 6)}>"
    return "\n".join(prefix + each for each in str(line).splitlines())
