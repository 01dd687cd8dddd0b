"""What processes burnt since the last look: from the ledgers in their pages, which are cumulative, so that nothing
between two looks is missed or counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from stokerd.burners.page import Record
from stokerd.burners.spinner import Spinner


class Odometer:
    """Core-seconds that a changing set of processes burns."""

    def __init__(self) -> None:
        self._seen: dict[Spinner, float] = {}

    def since(self, spinners: Iterable[Spinner]) -> float:
        """Burnt by these since the last call; by one that is new, since it began."""
        now = {spinner: record.cpu for spinner in spinners if (record := spinner.newest()) is not None}
        burnt = sum(max(0.0, cpu - self._seen.get(spinner, 0.0)) for spinner, cpu in now.items())
        self._seen = now
        return burnt


class Stint(NamedTuple):
    """What one process did in one second.

    Args:
        target: share of one core that was asked of it, mean.
        achieved: share that it burnt; the rest of the target is its shortfall.
        burnt: CPU seconds.
        waited: share of the second in which it was ready and had no core; None: not known.
    """

    target: float
    achieved: float
    burnt: float
    waited: float | None


class Meter:
    """Takes the stints of the processes of one burner."""

    def __init__(self) -> None:
        self._seen: dict[Spinner, tuple[Record, float | None]] = {}

    def take(self, spinner: Spinner | None, target: float, seconds: float, waited: float | None) -> Stint:
        """The stint of one process since the last call.

        Args:
            spinner: the process; None: its place is empty.
            target: share that is asked of it now.
            seconds: since the last call.
            waited: seconds for which it was ready and had no core, since it began.
        """
        record = spinner.newest() if spinner is not None else None
        if spinner is None or record is None:
            return Stint(target, 0.0, 0.0, None)
        before, waited_before = self._seen.get(spinner, (None, None))
        self._seen[spinner] = (record, waited)
        since = None if waited is None or waited_before is None or seconds <= 0 else (waited - waited_before) / seconds
        if before is None:  # it began in this second
            first = spinner.oldest() or record
            wall, wanted, burnt = record.wall - first.wall, record.wanted - first.wanted, record.cpu - first.cpu
        else:
            wall, wanted, burnt = record.wall - before.wall, record.wanted - before.wanted, record.cpu - before.cpu
        if wall <= 0:  # it has not ticked: stopped, or kept from every core
            return Stint(target, 0.0, 0.0, since)
        return Stint(wanted / wall, burnt / wall, burnt, since)

    def keep(self, spinners: Iterable[Spinner | None]) -> None:
        """Forget all processes but these."""
        present = set(spinners)
        self._seen = {spinner: seen for spinner, seen in self._seen.items() if spinner in present}
