"""All instances of one process: what they are by, and which there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import final

import msgspec

from stoker.protocol.processes import dependencies
from stoker.protocol.states import ProcessState
from stokerd.processes.process import House, Process
from stokerd.processes.settings import Settings


@final
class Group:
    """A name, its settings, and its instances by number.

    The first instance has the group's own name, the others ``NAME:2``, ``NAME:3`` and so on: neither a name nor a
    process id changes when their number does.

    Args:
        house: what processes need.
        settings: of all.
        on_gone: called with a process that is to be forgotten.
    """

    def __init__(self, house: House, settings: Settings, on_gone: Callable[[Process], object]) -> None:
        self.settings = settings
        self.members: dict[int, Process] = {}
        self._house, self._on_gone = house, on_gone

    @property
    def name(self) -> str:
        """Its name."""
        return self.settings.name

    @property
    def over(self) -> bool:
        """Nobody wants any of it up, and none is."""
        return all(member.over for member in self.members.values())

    @property
    def up(self) -> bool:
        """All are up."""
        return all(member.state is ProcessState.UP for member in self.members.values())

    @property
    def dependencies(self) -> tuple[str, ...]:
        """Whom it waits for."""
        return dependencies(self.settings.keep)

    def missing(self) -> list[int]:
        """Numbers that it should have and has not."""
        return [number for number in range(1, self.settings.keep.instances + 1) if number not in self.members]

    def surplus(self) -> list[Process]:
        """Instances beyond the number that it should have, the last one first."""
        most = self.settings.keep.instances
        return [self.members[number] for number in sorted(self.members, reverse=True) if number > most]

    def add(self, number: int) -> Process:
        """Make an instance, which is down."""
        member = Process(self._house, member_name(self.name, number), self.settings, number, self._on_gone)
        self.members[number] = member
        return member

    def adopt(self, settings: Settings) -> None:
        """Be by these settings from now on."""
        self.settings = settings
        for member in self.members.values():
            member.adopt(settings)

    def scale(self, instances: int) -> None:
        """Want so many, without starting or ending any."""
        keep = msgspec.structs.replace(self.settings.keep, instances=instances)
        self.settings = replace(self.settings, keep=keep)


def member_name(group: str, number: int) -> str:
    """The name of one instance."""
    return group if number == 1 else f"{group}:{number}"
