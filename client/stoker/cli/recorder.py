"""Writes down what this machine does, as a trace that ``trace FILE`` in a profile replays elsewhere.

What is recorded is all that ran: user and system time, nice or not, interrupts included, burners too. What a hypervisor
took (steal) counts as not busy. A row is the mean from its ``t`` to the next row's, so a replay in steps has the same
CPU seconds, in percent of a machine of another size.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple, TextIO

from stoker.cli.values import UsageError, spell
from stoker.errors import StokerError

STAT = Path("/proc/stat")


class Times(NamedTuple):
    """What a core, or all of them, did since boot, in ticks.

    Args:
        busy: ran something.
        whole: was there at all.
    """

    busy: int
    whole: int


class Recording(NamedTuple):
    """What came of it; loads in percent of the machine."""

    rows: int
    seconds: float
    mean: float
    peak: float


class CannotRecord(StokerError):
    """The load of this machine cannot be read, or the trace cannot be written."""

    code = "cannot-record"


def parse(text: str) -> list[Times]:
    """What ``/proc/stat`` says: of all cores together first, then of each (see proc_stat(5)).

    ``guest`` and ``guest_nice`` are not added: ``user`` and ``nice`` have them already.
    """
    found = []
    for line in text.splitlines():
        words = line.split()
        if words and words[0].startswith("cpu"):
            user, nice, system, idle, iowait, irq, softirq, steal = (*map(int, words[1:9]), *[0] * 8)[:8]
            busy = user + nice + system + irq + softirq
            found.append(Times(busy, busy + idle + iowait + steal))
    return found


def percent(before: Times, after: Times) -> float:
    """The load between two looks; 0 where no tick has passed."""
    whole = after.whole - before.whole
    return min(max(100 * (after.busy - before.busy) / whole, 0.0), 100.0) if whole > 0 else 0.0


class Recorder:
    """One recording.

    Args:
        every: seconds from row to row.
        per_core: a column for each core as well.
        stat: where the machine's times are read.
    """

    def __init__(self, every: float, *, per_core: bool = False, stat: Path = STAT) -> None:
        self._every, self._per_core, self._stat = every, per_core, stat
        self._begin = 0.0
        self._loads: list[tuple[float, float]] = []
        self.cores = len(self._look()) - 1

    def record(self, out: TextIO, seconds: float) -> Recording:
        """Write rows until the time is over or a signal asks for the end; a row that has begun then is left out.

        Raises:
            CannotRecord: the file cannot be written any more.
        """
        try:
            with _ending_by_signal():
                self._rows(out, seconds)
        except KeyboardInterrupt:
            pass
        except OSError as why:
            raise CannotRecord(
                f"the trace cannot be written: {why.strerror or why}", hint=f"its {len(self._loads)} rows are complete"
            ) from None
        whole = math.fsum(length for length, _ in self._loads)
        mean = math.fsum(length * load for length, load in self._loads) / whole if whole else 0.0
        peak = max((load for _, load in self._loads), default=0.0)
        return Recording(len(self._loads), round(whole, 3), round(mean, 3), round(peak, 3))

    def _rows(self, out: TextIO, seconds: float) -> None:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        out.write(f"# load of {self.cores} cores since {when}: percent busy, the mean from t to the next t\n")
        names = [f"cpu{core}" for core in range(self.cores)] if self._per_core else []
        out.write(",".join(["t", "cpu", *names]) + "\n")
        out.flush()
        before, self._begin = self._look(), time.monotonic()
        last = self._begin
        for count in range(1, 1 + (sys.maxsize if math.isinf(seconds) else max(round(seconds / self._every), 1))):
            time.sleep(max(self._begin + count * self._every - time.monotonic(), 0.0))
            after, now = self._look(), time.monotonic()
            self._write(out, last, now, before, after)
            before, last = after, now

    def _write(self, out: TextIO, begin: float, end: float, before: Sequence[Times], after: Sequence[Times]) -> None:
        """One row, at once and whole: a signal may come at any moment."""
        loads = [percent(*pair) for pair in zip(before, after, strict=False)]
        shown = loads if self._per_core else loads[:1]
        row = ",".join([f"{begin - self._begin:.3f}", *(f"{load:.2f}" for load in shown)]) + "\n"
        with _held():
            out.write(row)
            out.flush()
            self._loads.append((end - begin, loads[0]))

    def _look(self) -> list[Times]:
        try:
            found = parse(self._stat.read_text())
        except (OSError, ValueError) as why:
            raise CannotRecord(
                f"the load of this machine cannot be read from {self._stat}: {why}", hint="record on Linux, with /proc"
            ) from None
        if len(found) < 2:
            raise CannotRecord(f"{self._stat} does not tell what the cores do", hint="record on Linux, with /proc")
        return found


@contextlib.contextmanager
def _ending_by_signal() -> Iterator[None]:
    """SIGTERM and SIGHUP end it as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal module's face
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _held() -> Iterator[None]:
    """Signals wait until this is over."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def opened(file: str, *, replace: bool) -> Iterator[TextIO]:
    """The file to write to; ``-`` is stdout.

    Raises:
        UsageError: it is there already, or cannot be made.
    """
    if file == "-":
        yield sys.stdout
        return
    try:
        out = Path(file).open("w" if replace else "x", encoding="utf-8")  # noqa: SIM115 - closed below
    except FileExistsError:
        raise UsageError(f"{file} is there already", hint="name another, or --replace it") from None
    except OSError as why:
        raise UsageError(f"{file} cannot be written: {why.strerror or why}", hint="does its directory exist?") from None
    with out:
        yield out


def told(found: Recording, file: str) -> str:
    """What came of it, for people."""
    rows = f"{found.rows} row{'s' * (found.rows != 1)}"
    return f"recorded {rows} in {spell(found.seconds)} to {file}: mean {found.mean:.1f} %, peak {found.peak:.1f} %"
