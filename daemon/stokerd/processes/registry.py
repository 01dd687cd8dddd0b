"""All supervised processes, by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

from stoker.errors import InvalidParams, NameTaken, NoSuchProcess, ShuttingDown, StokerError
from stoker.protocol.models import ProcessInfo
from stoker.protocol.processes import Keeping, check, circle
from stokerd.bus import Bus
from stokerd.child import Forker
from stokerd.clock import Clock
from stokerd.output import Output
from stokerd.processes.group import Group, member_name
from stokerd.processes.logfiles import LogFiles
from stokerd.processes.order import Order
from stokerd.processes.process import House, Process
from stokerd.processes.settings import Settings
from stokerd.promise import Promise, gather, then

ORPHAN_GRACE = 1.0
"""Seconds that the processes of a session that is over get to end by themselves before they are stopped."""
LOG_PATIENCE = 1.0
"""Seconds that the end waits for what has still to be written to log files."""
_OF_AN_INSTANCE = re.compile(r":\d+$")


@final
class Processes:
    """Starts and stops them.

    Args:
        clock: time and readiness.
        bus: told of every change.
        forker: who forks.
        log_folder: where log files are; None: there are none.
    """

    def __init__(self, clock: Clock, bus: Bus, forker: Forker, log_folder: Path | None = None) -> None:
        self._clock = clock
        self._logs = None if log_folder is None else LogFiles(log_folder)
        self._house = House(clock, bus, forker, self._logs)
        self._groups: dict[str, Group] = {}
        self._members: dict[str, Process] = {}
        self._order = Order(self._groups)
        self._closing = False

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: str) -> bool:
        return bool(self._find(name))

    # --- starting

    def start(
        self, name: str, argv: Sequence[str], cwd: str, env: Mapping[str, str], **options: Any
    ) -> Promise[ProcessInfo]:
        """Start a program; see :meth:`run`.

        Args:
            name: its name.
            argv: program and arguments; no shell.
            cwd: absolute path of its working directory.
            env: variables laid over the daemon's environment.
            options: of :class:`stoker.protocol.processes.Keeping`.
        """
        keep = Keeping(**options)
        return self.run(Settings(name=name, argv=tuple(argv), cwd=cwd, env=dict(env), keep=keep))

    def run(self, settings: Settings) -> Promise[ProcessInfo]:
        """Start a process, a program or a Python target; settles when all of its instances are up, with the first one.

        One that is over, as nobody wants it up any more, is replaced. One that has an owner ends with it, and is
        forgotten when it has ended. Unless it is configured, a start that fails leaves nothing behind.

        Raises:
            NameTaken: there is one of this name.
            InvalidParams: the settings contradict themselves, or name a dependency that there is not.
            ShuttingDown: :meth:`close` was called.
            Unavailable: the system refuses descriptors or memory.
        """
        group = self.define(settings)
        started: Promise[ProcessInfo] = Promise()
        try:
            starting = self._order.start(group, list(group.members.values()))
        except StokerError:
            if not settings.configured:
                self._discard(group)
            raise

        def settle(done: Promise[list[ProcessInfo]]) -> None:
            if done.error is None:
                started.resolve(done.value()[0])
            elif settings.configured:
                started.reject(done.error)
            else:
                why = done.error
                rest = [member.stop(None, forget=True) for member in list(group.members.values())]
                gather(rest).when_settled(lambda _: started.reject(why))

        starting.when_settled(settle)
        return started

    def define(self, settings: Settings) -> Group:
        """Have a process known by its settings, which is down; see :meth:`run`."""
        name = settings.name
        self._check_open(name)
        if settings.owner is None:
            self._check(settings)
        self._make_room(settings)
        group = Group(self._house, settings, self._forget)
        self._add_missing(group)
        self._groups[name] = group
        return group

    def begin(self, name: str) -> Promise[ProcessInfo]:
        """Start one that is known, all of its instances or one of them; settles when it is up, at once where it is.

        Raises:
            NoSuchProcess: it does not exist.
            ShuttingDown: :meth:`close` was called.
            Unavailable: the system refuses descriptors or memory.
        """
        self._check_open(name)
        members = self._get(name)
        starting = self._order.start(self._groups[members[0].settings.name], members)
        first: Promise[ProcessInfo] = Promise()
        starting.when_settled(lambda done: first.settle_with(lambda: done.value()[0]))
        return first

    def restart(self, names: Sequence[str], grace: float | None = None) -> Promise[list[ProcessInfo]]:
        """Stop and start processes, one instance after the other, in the order of their dependencies; settles when all
        are up, or with the first that is not: those after it are left as they are.

        Args:
            names: of processes or instances.
            grace: seconds from the stop signal to SIGKILL; None: each one's own.

        Raises:
            NoSuchProcess: one of them does not exist; nothing was done.
        """
        members = self._order.sorted(self._chosen(names))
        return _one_by_one([partial(self._restart, member, grace) for member in members])

    def _restart(self, member: Process, grace: float | None) -> Promise[ProcessInfo]:
        self._check_open(member.name)
        return member.restart(grace) if member.runs else self.begin(member.name)

    # --- changing

    def scale(self, name: str, instances: int) -> Promise[list[ProcessInfo]]:
        """Have so many instances; settles when the new ones are up and the surplus ones, the last first, are reaped.

        Raises:
            NoSuchProcess: it does not exist.
            InvalidParams: it is an instance, or belongs to a session.
            NameTaken: something has the name of a new instance.
        """
        self._check_open(name)
        group = self._groups.get(name)
        if group is None:
            (member, *_) = self._get(name)
            raise InvalidParams(
                f"{name!r} is one instance of {member.settings.name!r}", hint=f"set {member.settings.name} instead"
            )
        if group.settings.owner is not None:
            raise InvalidParams(f"process {name!r} belongs to a session, which has one of it")
        return self._resize(group, instances)

    def change(self, settings: Settings) -> Promise[bool]:
        """Have a configured process be as these say: started again where that takes a start; what is down stays so.
        Settles when it is, with whether it was started again.

        Raises:
            NoSuchProcess: it does not exist.
            NameTaken: something has the name of a new instance.
        """
        self._check_open(settings.name)
        self._get(settings.name)
        group = self._groups[settings.name]
        most = settings.keep.instances
        self._check_names(group, most)
        anew = not group.settings.runs_like(settings)
        running = [member for number, member in group.members.items() if member.wanted and number <= most]
        group.adopt(settings)
        changes: list[Promise[Any]] = [self._resize(group, most)]
        if anew:
            changes.append(_one_by_one([partial(member.restart, None) for member in running]))
        whole: Promise[bool] = Promise()
        gather(changes).when_settled(lambda done: whole.settle_with(lambda: (done.value(), anew and bool(running))[1]))
        return whole

    def _resize(self, group: Group, instances: int) -> Promise[list[ProcessInfo]]:
        self._check_names(group, instances)
        wanted = any(member.wanted for member in group.members.values())
        group.scale(instances)
        new = self._add_missing(group)
        endings = [member.stop(None, forget=True) for member in group.surplus()]
        starting = self._order.start(group, new) if wanted else gather([])
        return then(gather(endings), lambda: starting)

    # --- stopping

    def stop(self, names: Sequence[str], grace: float | None = None, *, forget: bool = False) -> Promise[list[str]]:
        """End processes, and before them those that require them, in the order of their dependencies; settles with the
        names of all when all are reaped. What is not configured is forgotten.

        Args:
            names: which.
            grace: seconds from the stop signal to SIGKILL; None: each one's own.
            forget: forget what is configured too, and leave those alone that require it: they are told otherwise.

        Raises:
            NoSuchProcess: one of them does not exist; nothing was stopped.
        """
        chosen = self._chosen(names)
        named = set() if forget else {name for name in names if name in self._groups}
        for group in self._order.requirers(named):
            chosen += [member for member in group.members.values() if member not in chosen]
        return self._order.stop(chosen, lambda member: member.stop(grace, forget=forget))

    def close(self, grace: float) -> Promise[list[str]]:
        """End all; no new ones. Settles when all are reaped.

        Args:
            grace: seconds from the stop signal to SIGKILL, where a process's own are more; of all together, where some
                wait for others.
        """
        self._closing = True
        until = self._clock.monotonic() + grace

        def stop(member: Process) -> Promise[str]:
            left = max(0.0, until - self._clock.monotonic())
            return member.stop(min(left, member.settings.keep.grace), forget=True)

        ended = self._order.stop(list(self._members.values()), stop)
        ended.when_settled(lambda _: self._logs.close(LOG_PATIENCE) if self._logs is not None else None)
        return ended

    def session_closed(self, session: str) -> None:
        """End what belongs to a session that is over.

        Not at once: a process that watches its parent may end in its own way, and say last words to others.
        """
        owned = [process for process in self._members.values() if process.settings.owner == session]
        for process in owned:
            process.unfollow()
            self._clock.later(ORPHAN_GRACE, self._end_orphan, process)

    def _end_orphan(self, process: Process) -> None:
        if self._members.get(process.name) is process and process.wanted:
            process.stop(None)

    # --- asking

    def signal(self, name: str, signum: int, *, group: bool) -> bool:
        """Send a signal to a process, all of its instances, or to their whole groups; False where none is up.

        Raises:
            NoSuchProcess: it does not exist.
        """
        sent = [member.signal(signum, group=group) for member in self._get(name)]
        return any(sent)

    def follow(self, name: str, tap: Callable[[bytes, bytes], object], on_end: Callable[[ProcessInfo], object]) -> None:
        """See :meth:`Process.follow`.

        Raises:
            NoSuchProcess: it does not exist.
        """
        self._get(name)[0].follow(tap, on_end)

    def info(self) -> list[ProcessInfo]:
        """Snapshots, in order of start."""
        return [process.info() for process in self._members.values()]

    def infos(self, name: str) -> list[ProcessInfo]:
        """Snapshots of all instances of one, or of the one that has this name.

        Raises:
            NoSuchProcess: it does not exist.
        """
        return [member.info() for member in self._get(name)]

    def settings(self) -> dict[str, Settings]:
        """What each process is by, as it is now."""
        return {name: group.settings for name, group in self._groups.items()}

    def writer(self, name: str) -> Process:
        """The process whose output is asked for by this name, the first instance where it has several; it goes on
        telling what it wrote after it was forgotten.

        Raises:
            NoSuchProcess: it does not exist.
        """
        return self._get(name)[0]

    def output(self, name: str) -> tuple[Output, bool]:
        """What a process wrote, see :meth:`writer`, over all of its runs, and whether there will be no more.

        Raises:
            NoSuchProcess: it does not exist.
        """
        return self.writer(name).output()

    def when_news(self, name: str, listener: Callable[[], None]) -> None:
        """Call once, when a process has written something or will not write any more.

        Raises:
            NoSuchProcess: it does not exist.
        """
        self.writer(name).when_news(listener)

    # --- names

    def _find(self, name: str) -> list[Process]:
        if name in self._groups:
            return list(self._groups[name].members.values())
        if name in self._members:
            return [self._members[name]]
        first = self._members.get(name.removesuffix(":1"))
        return [first] if first is not None and name.endswith(":1") else []

    def _get(self, name: str) -> list[Process]:
        if found := self._find(name):
            return found
        close = difflib.get_close_matches(name, self._members, n=1)
        hint = f'did you mean "{close[0]}"?' if close else "`stoker status` shows what there is"
        raise NoSuchProcess(f"there is no process {name!r:.140}", hint=hint, data={"name": name[:140]})

    def _chosen(self, names: Iterable[str]) -> list[Process]:
        return list(dict.fromkeys(member for name in names for member in self._get(name)))

    def _check_open(self, name: str) -> None:
        if self._closing:
            raise ShuttingDown(f"cannot start {name!r}: the daemon is stopping")

    def _check(self, settings: Settings) -> None:
        """Raises InvalidParams."""
        check(settings.keep)
        if _OF_AN_INSTANCE.search(settings.name):
            raise InvalidParams(
                f"{settings.name!r} is a name of an instance", hint="leave out what follows the colon, or the colon"
            )
        graph = {name: group.dependencies for name, group in self._groups.items()}
        graph[settings.name] = (*settings.keep.requires, *settings.keep.after)
        for name in graph[settings.name]:
            if name not in graph:
                close = difflib.get_close_matches(name, self._groups, n=1)
                hint = f'did you mean "{close[0]}"?' if close else "start it first"
                raise InvalidParams(
                    f"there is no process {name!r:.140} that {settings.name!r} could wait for", hint=hint
                )
        if way := circle(graph):
            raise InvalidParams(
                f"these wait for each other: {' → '.join(way)}", hint="leave out one of after, requires"
            )

    def _make_room(self, settings: Settings) -> None:
        """Forget the one of this name that is over. Raises NameTaken."""
        name = settings.name
        taken = self._groups.get(name)
        if taken is None and name not in self._members:
            return
        if taken is None or not taken.over:
            raise NameTaken(
                f"there is a process {name!r} already, and it is {self._find(name)[0].state}",
                hint=f"`stoker stop {name}` first, or take another name",
            )
        if taken.settings.configured and not settings.configured:
            raise NameTaken(
                f"there is a process {name!r} in the configuration, and it is {self._find(name)[0].state}",
                hint=f"`stoker start {name}` starts it as it is configured; or take another name",
            )
        self._discard(taken)

    def _add_missing(self, group: Group) -> list[Process]:
        self._check_names(group, group.settings.keep.instances)
        new = [group.add(number) for number in group.missing()]
        self._members |= {member.name: member for member in new}
        return new

    def _check_names(self, group: Group, instances: int) -> None:
        """Whether so many instances can have their names. Raises NameTaken."""
        for number in range(1, instances + 1):
            name = member_name(group.name, number)
            if number not in group.members and name in self._members:
                raise NameTaken(f"there is a process {name!r} already", hint=f"`stoker stop {name}` first")

    def _discard(self, group: Group) -> None:
        for member in list(group.members.values()):
            self._forget(member)
        if self._groups.get(group.name) is group:
            del self._groups[group.name]

    def _forget(self, process: Process) -> None:
        if self._members.get(process.name) is not process:
            return
        del self._members[process.name]
        group = self._groups.get(process.settings.name)
        if group is not None and group.members.get(process.number) is process:
            del group.members[process.number]
            if not group.members:
                del self._groups[group.name]


def _one_by_one(steps: list[Callable[[], Promise[ProcessInfo]]]) -> Promise[list[ProcessInfo]]:
    """Each when the one before it has succeeded; settles with all their values, or with the first error."""
    whole: Promise[list[ProcessInfo]] = Promise()
    values: list[ProcessInfo] = []

    def go_on() -> None:
        if len(values) == len(steps):
            whole.resolve(values)
            return
        try:
            steps[len(values)]().when_settled(done)
        except StokerError as why:
            whole.reject(why)

    def done(step: Promise[ProcessInfo]) -> None:
        if step.error is not None:
            whole.reject(step.error)
        else:
            values.append(step.value())
            go_on()

    go_on()
    return whole
