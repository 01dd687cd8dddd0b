"""``start`` of a process; ``stop`` and ``logs`` go by name, see :mod:`stokerd.control.handlers.names`."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker.errors import InvalidParams, NameTaken
from stoker.protocol import codec, typed
from stoker.protocol.models import Environment, ProcessInfo
from stoker.protocol.processes import keeping
from stoker.protocol.requests import (
    CallSpec,
    ProcessPart,
    Restart,
    RestartReply,
    Signal,
    SignalReply,
    StartKnown,
    StartProcess,
    StartReply,
)
from stokerd.control.caller import Caller, Part, Stream
from stokerd.control.jobspec import check_count, check_size
from stokerd.processes.settings import Settings, Task
from stokerd.promise import Promise

if TYPE_CHECKING:
    from stokerd.supervisor import Supervisor


def start_process(parts: Supervisor, caller: Caller, request: StartProcess) -> Promise[Any]:
    """Start a supervised process; answered when its program has been executed, or its call begun."""
    if request.name in parts.pools or request.name in parts.burners:
        raise NameTaken(
            f"{request.name!r} is the name of a pool or burner already",
            hint="names are shared by pools, burners and processes",
        )
    _check(request)
    check_count("processes", len(parts.processes) + request.instances - 1, parts.config.limits.processes)
    environment = caller.session.environment or parts.forker.default
    owner = _owner(caller, request)
    settings = Settings(
        name=request.name,
        argv=request.argv,
        task=_task(caller, request, environment),
        owner=owner,
        cwd=request.cwd or environment.cwd,
        env=request.env,
        keep=keeping(request),
    )
    starting = parts.processes.run(settings)
    answer: Promise[Any] = Promise()
    reply = _attached(parts) if owner is not None else partial(_reply, parts)
    starting.when_settled(lambda started: answer.settle_with(lambda: reply(started.value())))
    return answer


def start_known(parts: Supervisor, _caller: Caller, request: StartKnown) -> Promise[StartReply]:
    """Start what is down and known, a process or a burner of the configuration; answered when it is up."""
    if request.name in parts.processes:
        return _started(parts, parts.processes.begin(request.name))
    return parts.life.start_configured(request.name)


def _started(parts: Supervisor, starting: Promise[ProcessInfo]) -> Promise[StartReply]:
    answer: Promise[StartReply] = Promise()
    starting.when_settled(lambda started: answer.settle_with(lambda: _reply(parts, started.value())))
    return answer


def restart(parts: Supervisor, _caller: Caller, request: Restart) -> Promise[RestartReply]:
    """Stop processes and start them again; answered when they are up."""
    for name in request.names:
        if name in parts.pools or name in parts.burners:
            raise InvalidParams(f"restart: {name!r} is not a process", hint="stop it, and start it as it should be")
    answer: Promise[RestartReply] = Promise()

    def reply(infos: list[ProcessInfo]) -> RestartReply:
        names = tuple(info.name for info in infos)
        return RestartReply(restarted=names, pids=tuple(info.pid for info in infos if info.pid is not None))

    restarted = parts.processes.restart(request.names, request.grace)
    restarted.when_settled(lambda done: answer.settle_with(lambda: reply(done.value())))
    return answer


def _owner(caller: Caller, request: StartProcess) -> str | None:
    if not request.attached:
        return None
    if caller.session.anonymous:
        raise InvalidParams("start: attached is for sessions, and this peer has none", hint="say hello first")
    if request.restart != "never":
        raise InvalidParams("start: an attached process is not started again", hint='say "restart": "never"')
    for key in ("after", "requires"):
        if getattr(request, key):
            raise InvalidParams(f"start: an attached process waits for nobody; leave out {key}")
    if request.instances != 1:
        raise InvalidParams("start: an attached process is one", hint="leave out instances")
    return caller.session.id


def _task(caller: Caller, request: StartProcess, environment: Environment) -> Task | None:
    if request.call is not None:
        return task_of(request.call.function, request.call.args, request.call.kwargs, environment)
    if request.pickle is not None:
        if request.pickle.payload >= len(caller.payload):
            raise InvalidParams(
                f"start: there is no payload frame {request.pickle.payload}",
                hint="the pickle travels as a payload frame behind the head",
            )
        data = bytes(caller.payload[request.pickle.payload])
        return Task(form="pickle", data=data, label=request.pickle.name, environment=environment)
    return None


def task_of(function: str, args: list[Any], kwargs: dict[str, Any], environment: Environment) -> Task:
    """A Python function by name, as a process has it."""
    data = codec.pack({"function": function, "args": args, "kwargs": kwargs})
    return Task(form="call", data=data, label=function, environment=environment)


def _attached(parts: Supervisor) -> Callable[[ProcessInfo], Stream]:
    """Answers with the start, then what it writes, then its end."""

    def stream(info: ProcessInfo) -> Stream:
        def start(send: Part) -> None:
            def end(last: ProcessInfo) -> None:
                send(typed.to_map(ProcessPart(ended=True, exit_code=last.exit_code, reason=last.reason)), (), False)

            send(typed.to_map(_reply(parts, info)), (), True)
            numbers = itertools.count(1)
            parts.processes.follow(info.name, lambda out, err: send({"number": next(numbers)}, (out, err), True), end)

        return Stream(start)

    return stream


def send_signal(parts: Supervisor, _caller: Caller, request: Signal) -> SignalReply:
    """Send a signal to a process."""
    number = signal.Signals[request.signal]
    return SignalReply(sent=parts.processes.signal(request.name, number, group=request.group))


def _check(request: StartProcess) -> None:
    given = [name for name in ("argv", "call", "pickle") if getattr(request, name)]
    if len(given) != 1:
        raise InvalidParams(
            f"start: {' and '.join(given) or 'nothing'} is given", hint="give exactly one of argv, call and pickle"
        )
    if request.call is not None:
        _check_call(request.call)
    if request.argv and not request.argv[0]:
        raise InvalidParams("start: the program's name is empty", hint="argv begins with the program")
    if request.cwd is not None and not Path(request.cwd).is_absolute():
        raise InvalidParams(f"start: cwd {request.cwd!r:.200} is not an absolute path")
    texts_of = {"argv": request.argv, "cwd": (request.cwd or "",), "env": _flat(request.env)}
    for what, texts in (*texts_of.items(), ("ready_command", request.ready_command)):
        if any("\0" in text for text in texts):
            raise InvalidParams(f"start: {what} holds a null character, which no program can be given")
    check_size("start", (*request.argv, *_flat(request.env)))
    if any(not name or "=" in name for name in request.env):
        raise InvalidParams("start: a variable's name is empty or holds '='")


def _check_call(call: CallSpec) -> None:
    module, colon, name = call.function.partition(":")
    if not (module and colon and name):
        raise InvalidParams(
            f"start: {call.function!r:.200} is not package.module:function", hint="for instance http.server:test"
        )
    if call.many is not None:
        raise InvalidParams("start: many is for jobs; a process is one call")


def _flat(env: dict[str, str]) -> tuple[str, ...]:
    return (*env.keys(), *env.values())


def _reply(parts: Supervisor, info: ProcessInfo) -> StartReply:
    """For one instance, or for all where it is the first of them."""
    infos = [info]
    if info.name in parts.processes and info.name == info.group:
        infos = [info, *(other for other in parts.processes.infos(info.name) if other.name != info.name)]
    return StartReply(kind="process", name=info.name, pids=tuple(each.pid for each in infos if each.pid is not None))


HANDLERS: dict[type, Callable[..., Any]] = {
    StartProcess: start_process,
    StartKnown: start_known,
    Restart: restart,
    Signal: send_signal,
}
