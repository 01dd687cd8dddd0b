"""What a peer may do: three roles, each of which includes those below it."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """A role; compare them with ``<``.

    ``OBSERVE`` sees what there is and how it fares, and never what it holds: no values, no output, no items. ``SUBMIT``
    works with it. ``ADMIN`` changes the daemon itself.
    """

    OBSERVE = 1
    SUBMIT = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """Its name as people write it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Role:
        """The role of this name.

        Raises:
            ValueError: there is none.
        """
        for role in cls:
            if role.word == word:
                return role
        raise ValueError(f"{word!r} is no role: use {', '.join(role.word for role in cls)}")
