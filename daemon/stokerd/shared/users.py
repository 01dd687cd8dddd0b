"""Which session uses which objects, and what its holders have on loan."""

from __future__ import annotations

from collections.abc import Callable

from stokerd.shared.base import SharedObject
from stokerd.shared.waiters import Actor, Gone


class Users:
    """Sessions by object and objects by session."""

    def __init__(self) -> None:
        self._used: dict[str, dict[SharedObject, None]] = {}
        self._borrowed: dict[Actor, list[Callable[[], None]]] = {}

    def attach(self, found: SharedObject, session: str) -> None:
        """A session uses an object. One that is empty is nobody's."""
        if session and session not in found.sessions:
            found.sessions.add(session)
            self._used.setdefault(session, {})[found] = None

    def detach(self, found: SharedObject, session: str) -> None:
        """It does not any more."""
        found.sessions.discard(session)
        used = self._used.get(session, {})
        used.pop(found, None)
        if not used:
            self._used.pop(session, None)

    def used_by(self, session: str) -> list[SharedObject]:
        """What a session uses, in the order in which it came to."""
        return list(self._used.get(session, ()))

    def borrow(self, actor: Actor, settle: Callable[[], None]) -> None:
        """An actor has something on loan until it asks for anything else; then ``settle`` is called."""
        self._borrowed.setdefault(actor, []).append(settle)

    def settle(self, actor: Actor) -> None:
        """An actor asks for something: it has received what it was given before."""
        for settle in self._borrowed.pop(actor, ()):
            settle()

    def end(self, gone: Gone) -> None:
        """Somebody has ended: nothing that it has on loan is settled by what it asks for."""
        for actor in [actor for actor in self._borrowed if gone.took(actor)]:
            del self._borrowed[actor]
