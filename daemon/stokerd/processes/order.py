"""In which order processes start and stop: those that others wait for first, and last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, final

from stoker.errors import StartFailed, StokerError
from stoker.protocol.models import ProcessInfo
from stoker.protocol.processes import in_order
from stoker.protocol.states import ProcessState
from stokerd.processes.group import Group
from stokerd.processes.process import Process
from stokerd.promise import Promise, gather, then


@final
class Order:
    """Goes by what each group waits for.

    Args:
        groups: all there are; the registry's own.
    """

    def __init__(self, groups: Mapping[str, Group]) -> None:
        self._groups = groups

    def start(self, group: Group, members: list[Process]) -> Promise[list[ProcessInfo]]:
        """Start these instances of a group when what it waits for is up; settles when they are.

        What it requires and is down is started. What it only comes after is waited for where somebody tries to start
        it, whatever comes of that.

        Raises:
            StokerError: it can't be forked.
        """
        required = [self._require(self._groups[name]) for name in group.settings.keep.requires if name in self._groups]
        awaited = [
            gather([member.verdict() for member in self._groups[name].members.values()])
            for name in group.settings.keep.after
            if name in self._groups
        ]
        wanted = gather(required)
        whole = then(gather(awaited), lambda: wanted)
        if whole.settled and whole.error is None:
            return gather([member.start() for member in members])
        reason = f"waits for {', '.join(group.dependencies)}"
        starting = gather([member.hold(reason) for member in members])
        whole.when_settled(lambda done: _go_on(group, members, done))
        return starting

    def _require(self, group: Group) -> Promise[Any]:
        """Have all of a group up; settles when they are, or nobody tries any more."""
        down = [member for member in group.members.values() if member.over]
        if down:
            try:
                self.start(group, down)
            except StokerError as why:
                failed: Promise[Any] = Promise()
                failed.reject(why)
                return failed
        return gather([member.verdict() for member in group.members.values()])

    def requirers(self, names: set[str]) -> list[Group]:
        """Groups that require these, or others that do, and are not over."""
        found: dict[str, Group] = {}
        reached = set(names)
        while more := [
            group
            for name, group in self._groups.items()
            if name not in reached and reached.intersection(group.settings.keep.requires)
        ]:
            reached |= {group.name for group in more}
            found |= {group.name: group for group in more if not group.over}
        return list(found.values())

    def sorted(self, members: list[Process]) -> list[Process]:
        """The same, each after those that it waits for."""
        names = in_order({name: group.dependencies for name, group in self._groups.items()})
        places = {name: place for place, name in enumerate(names)}
        return sorted(members, key=lambda member: places.get(member.settings.name, 0))

    def stop(self, members: list[Process], stop: Callable[[Process], Promise[str]]) -> Promise[list[str]]:
        """Stop these, each after those that wait for it; settles with their names when all are reaped.

        Args:
            members: which.
            stop: called with each when it is its turn. Until then it is not started again, should it end by itself.
        """
        by_group: dict[str, list[Process]] = {}
        for member in members:
            member.unwant()
            by_group.setdefault(member.settings.name, []).append(member)
        ended: dict[str, Promise[Any]] = {}
        waits = {name: group.dependencies for name, group in self._groups.items()}
        for name in reversed(in_order(waits)):
            if name in by_group:
                before = [ended[other] for other in ended if name in waits[other]]
                ended[name] = then(gather(before), partial(_all, stop, by_group[name]))
        whole: Promise[list[str]] = Promise()
        names = [member.name for member in members]
        gather(list(ended.values())).when_settled(lambda done: whole.settle_with(lambda: (done.value(), names)[1]))
        return whole


def _all(stop: Callable[[Process], Promise[str]], members: list[Process]) -> Promise[list[str]]:
    return gather([stop(member) for member in members])


def _go_on(group: Group, members: list[Process], whole: Promise[Any]) -> None:
    """What they waited for is there, or will not be."""
    for member in members:
        if member.state is not ProcessState.WAITING:  # stopped, or started by somebody else, meanwhile
            continue
        if whole.error is not None:
            why = f"process {group.name!r} requires {', '.join(group.settings.keep.requires)}: {whole.error.message}"
            member.fail(StartFailed(why, hint=whole.error.hint))
            continue
        try:
            member.start()
        except StokerError as why:
            member.fail(StartFailed(why.message, hint=why.hint))
