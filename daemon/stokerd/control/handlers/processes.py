"""``start`` of a process; ``stop`` and ``logs`` go by name, see :mod:`stokerd.control.handlers.names`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker.errors import InvalidParams, NameTaken
from stoker.protocol.models import ProcessInfo
from stoker.protocol.requests import StartProcess, StartReply
from stokerd.control.caller import Caller
from stokerd.promise import Promise

if TYPE_CHECKING:
    from stokerd.supervisor import Supervisor


def start_process(parts: Supervisor, caller: Caller, request: StartProcess) -> Promise[StartReply]:
    """Start a supervised process; answered when its program has been executed."""
    if request.name in parts.pools or request.name in parts.burners:
        raise NameTaken(
            f"{request.name!r} is the name of a pool or burner already",
            hint="names are shared by pools, burners and processes",
        )
    _check(request)
    environment = caller.session.environment or parts.forker.default
    starting = parts.processes.start(
        request.name,
        request.argv,
        request.cwd or environment.cwd,
        request.env,
        request.restart,
        request.stop_signal,
        request.grace,
    )
    answer: Promise[StartReply] = Promise()
    starting.when_settled(lambda started: answer.settle_with(lambda: _reply(started.value())))
    return answer


def _check(request: StartProcess) -> None:
    if not request.argv[0]:
        raise InvalidParams("start: the program's name is empty", hint="argv begins with the program")
    if request.cwd is not None and not Path(request.cwd).is_absolute():
        raise InvalidParams(f"start: cwd {request.cwd!r:.200} is not an absolute path")
    for what, texts in (("argv", request.argv), ("cwd", (request.cwd or "",)), ("env", _flat(request.env))):
        if any("\0" in text for text in texts):
            raise InvalidParams(f"start: {what} holds a null character, which no program can be given")
    if any(not name or "=" in name for name in request.env):
        raise InvalidParams("start: a variable's name is empty or holds '='")


def _flat(env: dict[str, str]) -> tuple[str, ...]:
    return (*env.keys(), *env.values())


def _reply(info: ProcessInfo) -> StartReply:
    return StartReply(kind="process", name=info.name, pids=() if info.pid is None else (info.pid,))


HANDLERS: dict[type, Callable[..., Any]] = {StartProcess: start_process}
