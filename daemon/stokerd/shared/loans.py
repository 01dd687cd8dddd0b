"""What the takers of a queue have and have not acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from stokerd.shared.base import Item
from stokerd.shared.waiters import Actor, Gone


class Loan(NamedTuple):
    """Items that somebody took."""

    actor: Actor
    ticket: int
    items: Sequence[Item]


class Loans:
    """Loans by number; numbers grow.

    Args:
        paid: called with items that were acknowledged.
        returned: called with items that come back.
    """

    def __init__(self, *, paid: Callable[[Sequence[Item]], None], returned: Callable[[Sequence[Item]], None]) -> None:
        self._paid = paid
        self._returned = returned
        self._open: dict[int, Loan] = {}
        self._last = 0

    def __len__(self) -> int:
        """How many items are on loan."""
        return sum(len(loan.items) for loan in self._open.values())

    def lend(self, actor: Actor, ticket: int, items: Sequence[Item]) -> int:
        """Give items to somebody; returns the loan's number."""
        self._last += 1
        self._open[self._last] = Loan(actor, ticket, items)
        return self._last

    def close(self, numbers: Iterable[int], *, give_back: bool) -> int:
        """Acknowledge loans, or take their items back, the newest first so that they keep their order.

        Returns:
            How many of them were open.
        """
        closed = [self._open.pop(number) for number in sorted(set(numbers), reverse=True) if number in self._open]
        for loan in closed:
            (self._returned if give_back else self._paid)(loan.items)
        return len(closed)

    def divide(self, number: int, taken: int, *, give_back: bool) -> int:
        """Acknowledge the first ``taken`` items of a loan; the others stay on loan, or come back.

        Returns:
            1 if it was open, else 0.
        """
        loan = self._open.pop(number, None)
        if loan is None:
            return 0
        self._paid(loan.items[:taken])
        if rest := loan.items[taken:]:
            if give_back:
                self._returned(rest)
            else:
                self._open[number] = loan._replace(items=rest)
        return 1

    def of(self, session: str, numbers: Sequence[int] = ()) -> list[int]:
        """Those of these loans that a session has; empty: all that it has."""
        wanted = numbers or list(self._open)
        return [number for number in wanted if number in self._open and self._open[number].actor.session == session]

    def of_gone(self, gone: Gone) -> list[int]:
        """The loans of somebody who has ended."""
        return [number for number, loan in self._open.items() if gone.took(loan.actor)]

    def of_ticket(self, session: str, ticket: int) -> list[int]:
        """The loan that answered the request with this ticket."""
        return [
            number for number, loan in self._open.items() if loan.ticket == ticket and loan.actor.session == session
        ]

    def forget(self) -> None:
        """The queue is no more."""
        self._open.clear()
