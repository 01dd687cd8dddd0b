"""What is asked by name, whichever part has it: start a pool, set, stop, logs."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any

from msgspec import UNSET, UnsetType

from stoker.errors import InvalidParams, NameTaken, NotFound, StokerError
from stoker.protocol.models import BurnerInfo
from stoker.protocol.requests import Logs, LogsReply, Set, SetReply, StartPool, StartReply, Stop, StopReply
from stokerd.burners.steering import Steer
from stokerd.clock import Timer
from stokerd.control.caller import Answer, Caller
from stokerd.control.handlers.burners import notes
from stokerd.control.jobspec import beginning_of, check_count
from stokerd.output import Output
from stokerd.pool.pools import DEFAULT
from stokerd.pool.settings import PoolSettings
from stokerd.processes.process import Process
from stokerd.promise import Promise, gather
from stokerd.supervisor import Supervisor

LOOK_EVERY = 0.05
"""Seconds between looks at a job's output that somebody follows: a file has no way to tell that it grew."""
TOGETHER = 0.02
"""Seconds after the first news of a process for which more is waited, so that not every line is an answer."""
OF_BURNERS = ("load", "profile", "ramp_to", "over", "skip", "extend", "seconds", "no_reserve")
SETTABLE = ("workers", "paused", *OF_BURNERS)
POOL_GRACE = 10.0
"""Seconds that the jobs of a pool that is removed get to end."""


def start_pool(parts: Supervisor, caller: Caller, request: StartPool) -> Promise[StartReply]:
    """Make a pool; answered when its workers are up."""
    _check_free(parts, request.name)
    check_count("pools", len(parts.pools.names()), parts.config.limits.pools)
    pool = parts.pools.create(request.name, _pool_settings(parts, caller, request))
    if request.owned:
        parts.owned.setdefault(caller.session.id, set()).add(request.name)
    answer: Promise[StartReply] = Promise()

    def staffed(done: Promise[list[int]]) -> None:
        if done.error is not None and request.name in parts.pools:  # a start that failed leaves nothing behind
            why = done.error
            parts.pools.remove([request.name], 0.0).when_settled(lambda _: answer.reject(why))
        else:
            answer.settle_with(lambda: StartReply(kind="pool", name=request.name, pids=tuple(done.value())))

    pool.staffed().when_settled(staffed)
    return answer


def _pool_settings(parts: Supervisor, caller: Caller, request: StartPool) -> PoolSettings:
    settings = replace(parts.pools.settings(request.workers), beginning=None)  # what `default` begins with is its own
    given = {name: value for name in ("max_jobs", "memory_bytes") if (value := getattr(request, name)) is not None}
    if request.initializer is not None:
        given["beginning"] = beginning_of(parts, caller, request.initializer)
    if request.initializer is not None or request.owned:
        given["environment"] = caller.session.environment  # whose functions they are
    return replace(settings, **given)


def _check_free(parts: Supervisor, name: str) -> None:
    if name in parts.burners or name in parts.processes:
        raise NameTaken(
            f"{name!r} is the name of a burner or process already",
            hint="names are shared by pools, burners and processes",
        )


def set_(parts: Supervisor, _caller: Caller, request: Set) -> SetReply | Promise[SetReply]:
    """Change what runs."""
    if all(getattr(request, name) is UNSET for name in SETTABLE):
        raise InvalidParams("set: nothing to change", hint=f"give at least one of {', '.join(SETTABLE)}")
    if request.name in parts.burners:
        return _set_burner(parts, request)
    if request.name in parts.pools:
        return _set_pool(parts, request)
    if request.name in parts.processes:
        return _set_process(parts, request)
    raise _unknown(parts, request.name)


def _given(value: Any) -> Any:
    return None if isinstance(value, UnsetType) else value


def _set_burner(parts: Supervisor, request: Set) -> Promise[SetReply]:
    answer: Promise[SetReply] = Promise()
    changed = parts.burners.set(
        request.name,
        load=_given(request.load),
        workers=_given(request.workers),
        seconds=_given(request.seconds),
        paused=_given(request.paused),
        no_reserve=_given(request.no_reserve),
        steer=Steer(
            profile=_given(request.profile),
            traces=request.traces,
            ramp_to=_given(request.ramp_to),
            over=_given(request.over),
            skip=_given(request.skip) or False,
            extend=_given(request.extend),
        ),
    )

    def reply(info: BurnerInfo) -> SetReply:
        return SetReply(kind="burner", name=info.name, notes=notes(info))

    changed.when_settled(lambda done: answer.settle_with(lambda: reply(done.value())))
    return answer


def _set_pool(parts: Supervisor, request: Set) -> Promise[SetReply]:
    for name in OF_BURNERS:
        if getattr(request, name) is not UNSET:
            raise InvalidParams(
                f"set: {request.name!r} is a pool, which has no {name}", hint=f"for burners are {', '.join(OF_BURNERS)}"
            )
    pool = parts.pools.get(request.name)
    if not isinstance(request.workers, UnsetType):
        pool.resize(request.workers)
    if not isinstance(request.paused, UnsetType):
        pool.pause(paused=request.paused)
    answer: Promise[SetReply] = Promise()

    def staffed(done: Promise[list[int]]) -> None:
        if done.error is not None:
            answer.reject(done.error)
        else:
            answer.resolve(SetReply(kind="pool", name=request.name))

    pool.staffed().when_settled(staffed)
    return answer


def _set_process(parts: Supervisor, request: Set) -> Promise[SetReply]:
    for name in SETTABLE:
        if name != "workers" and getattr(request, name) is not UNSET:
            raise InvalidParams(
                f"set: {request.name!r} is a process, of which {name} can't be set",
                hint="workers is its number of instances; the rest is what it is started with",
            )
    if not isinstance(request.workers, int) or request.workers < 1:
        raise InvalidParams("set: a process has at least 1 instance", hint=f"`stoker stop {request.name}` stops it")
    answer: Promise[SetReply] = Promise()
    scaled = parts.processes.scale(request.name, request.workers)
    scaled.when_settled(
        lambda done: answer.settle_with(lambda: (done.value(), SetReply(kind="process", name=request.name))[1])
    )
    return answer


def _names(parts: Supervisor) -> list[str]:
    return [
        *parts.pools.names(),
        *(info.name for info in parts.burners.info()),
        *(info.group for info in parts.processes.info()),
    ]


def _unknown(parts: Supervisor, name: str) -> NotFound:
    close = difflib.get_close_matches(name[:128], _names(parts), n=1)
    return NotFound(
        f"there is no pool, burner or process {name!r:.140}",
        hint=f'did you mean "{close[0]}"?' if close else "`stoker status` shows what there is",
        data={"name": name[:140]},
    )


def stop(parts: Supervisor, _caller: Caller, request: Stop) -> Promise[StopReply]:
    """Stop what has these names, or everything."""
    names = list(dict.fromkeys(_names(parts))) if request.all else list(dict.fromkeys(request.names))
    if request.all:
        names.remove(DEFAULT)
    elif not names:
        raise InvalidParams("stop: nothing is named", hint="give names, or all")
    for name in names:
        if name not in parts.burners and name not in parts.processes and name not in parts.pools:
            raise _unknown(parts, name)
    before = _pids(parts, names)
    waits: list[Promise[Any]] = []
    ended = names[:]
    if pools := [name for name in names if name in parts.pools]:
        waits.append(parts.pools.remove(pools, POOL_GRACE if request.grace is None else request.grace))
    if burners := [name for name in names if name in parts.burners]:
        waits.append(parts.burners.stop(burners, request.grace))
    if processes := [name for name in names if name in parts.processes]:
        stopping = parts.processes.stop(processes, request.grace)
        # Its instances, and those that require it: none of them was named.
        stopping.when_settled(lambda done: ended.extend(name for name in done.value() if name not in ended))
        waits.append(stopping)
    answer: Promise[StopReply] = Promise()

    def finish() -> StopReply:
        return StopReply(stopped=tuple(ended), survivors=len(before & parts.forker.pids()))

    def settle(done: Promise[list[Any]]) -> None:
        if done.error is not None:
            answer.reject(done.error)
        else:
            answer.settle_with(finish)

    gather(waits).when_settled(settle)
    return answer


def _pids(parts: Supervisor, names: list[str]) -> set[int]:
    """The processes that are to end, as far as there are any now."""
    burning = {worker.pid for info in parts.burners.info() if info.name in names for worker in info.workers}
    working = {worker.pid for info in parts.pools.info() if info.name in names for worker in info.workers}
    running = {info.pid for info in parts.processes.info() if {info.name, info.group} & set(names)}
    return {pid for pid in burning | working | running if pid is not None}


class _Follow:
    """Answers when there is something new, when it is over, or when the time is."""

    def __init__(self, parts: Supervisor, request: Logs) -> None:
        self._clock, self._request = parts.clock, request
        self._source = _source(parts, request.id)
        self._until = self._clock.monotonic() + (request.wait or 0.0)
        self.answer: Promise[Answer] = Promise(on_abandon=self._leave)
        self._timer: Timer | None = None
        self.look()

    def look(self) -> None:
        self._leave()
        if self.answer.settled:
            return
        try:
            output, ended = self._source.output()
        except StokerError as why:
            self.answer.reject(why)
            return
        left = self._until - self._clock.monotonic()
        news = output.out.size > self._request.out or output.err.size > self._request.err
        if news or ended or left <= 0:
            self.answer.settle_with(lambda: _answer(self._request, output, ended=ended))
        elif isinstance(self._source, Process):
            self._source.when_news(self._soon)
            self._timer = self._clock.later(left, self.look)
        else:
            self._timer = self._clock.later(min(left, LOOK_EVERY), self.look)

    def _soon(self) -> None:
        """It has written something, and may be about to write more."""
        self._leave()
        self._timer = self._clock.later(TOGETHER, self.look)

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if isinstance(self._source, Process):
            self._source.forget_news(self._soon)


class _Job:
    """A job's output, as that of a process."""

    def __init__(self, parts: Supervisor, number: int) -> None:
        self._parts, self._number = parts, number

    def output(self) -> tuple[Output, bool]:
        return self._parts.pools.output(self._number)


def _source(parts: Supervisor, which: int | str) -> _Job | Process:
    """Raises NoSuchProcess."""
    return _Job(parts, which) if isinstance(which, int) else parts.processes.writer(which)


def logs(parts: Supervisor, _caller: Caller, request: Logs) -> Promise[Answer] | Answer:
    """What a job or process wrote."""
    if request.wait is None:
        output, ended = _source(parts, request.id).output()
        return _answer(request, output, ended=ended)
    return _Follow(parts, request).answer


def _answer(request: Logs, output: Output, *, ended: bool) -> Answer:
    reply = LogsReply(
        id=request.id,
        next_out=max(request.out, output.out.size),
        next_err=max(request.err, output.err.size),
        dropped=output.out.dropped + output.err.dropped,
        ended=ended,
    )
    return Answer(reply, (output.out.since(request.out), output.err.since(request.err)))


HANDLERS: dict[type, Any] = {StartPool: start_pool, Set: set_, Stop: stop, Logs: logs}
