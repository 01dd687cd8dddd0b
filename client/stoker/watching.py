"""Waiting with a progress bar: in a notebook, in a terminal, and without one where nobody watches.

In a notebook the bar is HTML that is updated in place, with nothing to install in the browser. In a terminal it is one
line of stderr. Where stderr is neither, there is none.
"""

from __future__ import annotations

import contextlib
import html
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from stoker.errors import DeadlineExceeded, StokerError
from stoker.job import Job, KeptJob

if TYPE_CHECKING:
    from stoker.connection import Connection

T = TypeVar("T")

EVERY = 0.1
"""Seconds between two pictures: as often as an eye follows, and seldom enough for a browser."""

_WIDTH = 30


def watch(values: Iterable[T], *, total: int | None = None, label: str = "") -> Iterator[T]:
    """The same values, with a bar that counts them while they come.

    As in ``for value in watch(client.map(f, items), total=len(items))``.

    Args:
        values: whatever can be iterated over. A generator is closed when the iteration ends, however it ends; so a
            Ctrl-C cancels what :meth:`stoker.Client.map` has under way.
        total: how many there will be; None: as many as ``len`` says, if it does.
        label: what to call it.
    """
    if total is None:
        with contextlib.suppress(TypeError):
            total = len(values)  # type: ignore[arg-type]
    iterator = iter(values)
    with contextlib.ExitStack() as stack:
        if hasattr(iterator, "close"):
            stack.callback(iterator.close)
        bar = stack.enter_context(Bar(total, label))
        for value in iterator:
            bar.advance()
            yield value


def gather(jobs: Iterable[Job | KeptJob], *, timeout: float | None = None, label: str = "") -> list[Any]:
    """Wait for all of these jobs, with a bar; their values, in order.

    A Ctrl-C, in a notebook an interrupt of the kernel, cancels those that have not ended.

    Args:
        jobs: to wait for.
        timeout: seconds for all of them; None: for ever.
        label: what to call them.

    Raises:
        DeadlineExceeded: not all have ended in time; they go on.
        Exception: what the first of the failed ones, in order, raises.
    """
    wanted = list(jobs)
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        with Bar(len(wanted), label) as bar:
            _wait(wanted, deadline, bar)
    except KeyboardInterrupt:
        cancel(wanted)
        raise
    return [job.result() for job in wanted]


def cancel(jobs: Sequence[Job | KeptJob]) -> None:
    """Cancel those of these jobs that have not ended, by one request per daemon; what cannot be told is left alone."""
    connections: dict[int, tuple[Connection, list[int]]] = {}
    for job in jobs:
        connection = _connection(job)
        if isinstance(job, KeptJob) or job.settled is None:
            with contextlib.suppress(StokerError):
                connections.setdefault(id(connection), (connection, []))[1].append(job.id)
    for connection, numbers in connections.values():
        with contextlib.suppress(StokerError):
            connection.call("cancel", {"ids": numbers})


def _connection(job: Job | KeptJob) -> Connection:
    return job._connection if isinstance(job, KeptJob) else job._batch.outbox.connection  # noqa: SLF001 - the same family


class _More:
    """What to wait for: one more of these jobs."""

    def __init__(self, pending: list[Job]) -> None:
        self._pending = pending

    @property
    def settled(self) -> object:
        """True once one of them has ended."""
        return any(job.settled is not None for job in self._pending)


def _wait(jobs: Sequence[Job | KeptJob], deadline: float | None, bar: Bar) -> None:
    pending = [job for job in jobs if isinstance(job, Job)]
    while pending:
        connection = _connection(pending[0])
        here = [job for job in pending if _connection(job) is connection]
        if not connection.wait(_More(here), None if deadline is None else max(deadline - time.monotonic(), 0)):
            raise DeadlineExceeded(f"{len(pending)} of {len(jobs)} jobs have not ended in time; they go on")
        for job in here:
            if job.settled is not None:
                bar.advance(failed=job.exception() is not None)
        pending = [job for job in pending if job.settled is None]
    for kept in jobs:
        if isinstance(kept, KeptJob):
            error = kept.exception(None if deadline is None else max(deadline - time.monotonic(), 0))
            bar.advance(failed=error is not None)


class Bar:
    """Counts, and shows it.

    Args:
        total: how many there will be; None: not known.
        label: what they are.
    """

    def __init__(self, total: int | None, label: str = "") -> None:
        self.total = total
        self.label = label
        self.done = 0
        self.failed = 0
        self._began = self._shown = time.monotonic()
        self._screen = _screen()

    def __enter__(self) -> Self:
        self._screen.show(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._screen.show(self)
        self._screen.end()

    def advance(self, *, failed: bool = False) -> None:
        """One more has ended."""
        self.done += 1
        self.failed += failed
        now = time.monotonic()
        if now - self._shown >= EVERY:
            self._shown = now
            self._screen.show(self)

    @property
    def figures(self) -> str:
        """What there is to say beside the picture."""
        elapsed = time.monotonic() - self._began
        words = [f"{self.done:,}" if self.total is None else f"{self.done:,}/{self.total:,}"]
        if elapsed >= EVERY:
            words.append(f"{self.done / elapsed:,.0f}/s")
        words.append(f"{elapsed:.0f} s")
        if self.failed:
            words.append(f"{self.failed:,} failed")
        return " · ".join(words)

    def __repr__(self) -> str:
        filled = _WIDTH if not self.total else round(_WIDTH * min(self.done / self.total, 1))
        picture = "" if self.total is None else f"[{'#' * filled}{'.' * (_WIDTH - filled)}] "
        return f"{self.label}{': ' if self.label else ''}{picture}{self.figures}"

    def _repr_html_(self) -> str:
        extent = "" if self.total is None else f' value="{self.done}" max="{max(self.total, 1)}"'
        label = f"{html.escape(self.label)} " if self.label else ""
        return f'<div>{label}<progress{extent} style="width: 20em"></progress> {html.escape(self.figures)}</div>'


class _Screen(Protocol):
    def show(self, bar: Bar) -> None:
        """Draw it anew."""

    def end(self) -> None:
        """It stays as it is."""


class _Nobody:
    def show(self, bar: Bar) -> None:
        """See :class:`_Screen`."""

    def end(self) -> None:
        """See :class:`_Screen`."""


class _Terminal:
    def show(self, bar: Bar) -> None:
        """See :class:`_Screen`."""
        print(f"\r{bar!r}\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201 - that is what it is for

    def end(self) -> None:
        """See :class:`_Screen`."""
        print(file=sys.stderr)  # noqa: T201 - likewise


class _Notebook:
    """An output of the cell that is updated in place."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._handle: Any = None

    def show(self, bar: Bar) -> None:
        """See :class:`_Screen`."""
        if self._handle is None:
            self._handle = self._display(bar, display_id=True)
        else:
            self._handle.update(bar)

    def end(self) -> None:
        """See :class:`_Screen`."""


def _screen() -> _Screen:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is not None:
        from IPython.display import display

        return _Notebook(display)
    return _Terminal() if sys.stderr is not None and sys.stderr.isatty() else _Nobody()
