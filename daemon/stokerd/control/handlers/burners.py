"""``start`` of a burner; ``set`` and ``stop`` go by name, see :mod:`stokerd.control.handlers.names`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stoker.errors import InvalidParams, NameTaken
from stoker.protocol.loads import PARAMETERS
from stoker.protocol.models import BurnerInfo
from stoker.protocol.requests import Figures, FiguresReply, StartBurner, StartReply
from stokerd.control.caller import Caller
from stokerd.promise import Promise

if TYPE_CHECKING:
    from stokerd.supervisor import Supervisor


OF_THE_CLIENT = frozenset({"call", "matrix"})
"""Kinds that need what the client has installed: they run in its environment, all others in the daemon's."""


def start_burner(parts: Supervisor, caller: Caller, request: StartBurner) -> Promise[StartReply]:
    """Start a burner; answered when its load has been observed."""
    if request.name in parts.pools or request.name in parts.processes:
        raise NameTaken(
            f"{request.name!r} is the name of a pool or process already",
            hint="names are shared by pools, burners and processes",
        )
    if request.owned and caller.session.anonymous:
        raise InvalidParams("start: owned is for sessions, and this peer has none", hint="say hello first")
    starting = parts.burners.start(
        request.name,
        request.workers,
        request.load,
        profile=request.profile,
        traces=request.traces,
        of=request.of,
        mode=request.mode,
        no_reserve=request.no_reserve,
        guards=request.guards,
        yield_to_jobs=request.yield_to_jobs,
        seconds=request.seconds,
        cpus=request.cpus,
        nice=request.nice,
        generator=request.generator,
        params={name: value for name in PARAMETERS if (value := getattr(request, name)) is not None},
        environment=caller.session.environment if request.generator in OF_THE_CLIENT else None,
        replace=request.replace,
    )
    if request.owned:
        parts.owned.setdefault(caller.session.id, set()).add(request.name)
    answer: Promise[StartReply] = Promise(starting.abandon)
    starting.when_settled(lambda started: answer.settle_with(lambda: _reply(started.value())))
    return answer


def _reply(info: BurnerInfo) -> StartReply:
    pids = tuple(worker.pid for worker in info.workers if worker.pid is not None)
    return StartReply(kind="burner", name=info.name, pids=pids, notes=notes(info))


def notes(info: BurnerInfo) -> tuple[str, ...]:
    """What whoever started or changed a burner should know: why it does not burn what was asked for."""
    return tuple(reason.text for reason in info.reasons)


def figures(parts: Supervisor, _caller: Caller, request: Figures) -> FiguresReply:
    """The last seconds of burners."""
    return FiguresReply(burners=parts.burners.figures(request.names))


HANDLERS: dict[type, Callable[..., Any]] = {StartBurner: start_burner, Figures: figures}
