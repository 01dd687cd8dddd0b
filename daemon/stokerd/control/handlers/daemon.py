"""The daemon itself: hello, ping, status, events, configuration, end."""

from __future__ import annotations

import difflib
import os
from typing import Any

import msgspec

from stoker.errors import NotFound
from stoker.protocol.codec import PROTOCOL
from stoker.protocol.models import DaemonStatus, Limits, ProcessInfo
from stoker.protocol.requests import (
    Bye,
    ByeReply,
    ConfigDiff,
    ConfigDiffReply,
    ConfigReply,
    ConfigShow,
    Events,
    EventsReply,
    Hello,
    HelloReply,
    Keys,
    KeysReply,
    Ping,
    Pong,
    Reload,
    ReloadReply,
    Shutdown,
    ShutdownReply,
    Status,
)
from stoker.protocol.typed import to_map
from stokerd import config
from stokerd.control.caller import Caller
from stokerd.control.handlers import shown
from stokerd.control.jobspec import checked
from stokerd.pool.tags import of_session
from stokerd.promise import Promise
from stokerd.supervisor import Supervisor


def hello(parts: Supervisor, caller: Caller, request: Hello) -> HelloReply:
    """Open a session."""
    if request.environment is not None:
        request = msgspec.structs.replace(request, environment=checked(request.environment))
    parts.sessions.open(caller.session, request)
    if request.most is not None:
        parts.pools.tags.set(of_session(caller.session.id), request.most)
    info = parts.life.info()
    limits = parts.config.limits
    return HelloReply(
        version=info.version,
        protocol=PROTOCOL,
        boot_id=info.boot_id,
        session=caller.session.id,
        pid=info.pid,
        # whoever comes from afar knows the host by a name of its own: the port beside the one that it has found
        events="" if caller.session.key else info.events,
        role=caller.session.role.word,
        limits=Limits(
            message_bytes=limits.message_bytes,
            head_bytes=limits.head_bytes,
            frames=limits.frames,
            queue_jobs=limits.queue_jobs,
            queue_bytes=limits.queue_bytes,
            result_bytes=limits.result_bytes,
            sessions=limits.sessions,
            jobs_per_request=limits.jobs_per_request,
        ),
        supervised=parts.life.supervised,
    )


def bye(parts: Supervisor, caller: Caller, _request: Bye) -> ByeReply:
    """End the session; its peer stays connected, and may go on without one."""
    peer = parts.sessions.peer_of(caller.session)
    if peer is not None:
        parts.sessions.close(peer, "it said bye")
    return ByeReply()


def ping(parts: Supervisor, _caller: Caller, _request: Ping) -> Pong:
    """The loop is alive."""
    return Pong(time=parts.clock.time(), pid=os.getpid(), version=parts.life.info().version)


def status(parts: Supervisor, caller: Caller, request: Status) -> DaemonStatus:
    """Everything at one moment, or what is asked for by name."""
    everything = DaemonStatus(
        daemon=parts.life.info(),
        pools=tuple(parts.pools.info()),
        burners=tuple(shown.burner(caller, info) for info in parts.burners.info()),
        processes=tuple(shown.process(caller, info) for info in parts.processes.info()),
        objects=tuple(parts.shared.info()),
        jobs=parts.pools.counts(),
        seq=parts.bus.seq,
    )
    return _only(everything, frozenset(request.names)) if request.names else everything


def _only(whole: DaemonStatus, names: frozenset[str]) -> DaemonStatus:
    known = {part.name for parts in (whole.pools, whole.burners, whole.processes) for part in parts}
    known |= {found.name for found in whole.objects if found.name}
    known |= {name for found in whole.processes for name in _names_of(found)}
    if missing := sorted(names - known):
        close = difflib.get_close_matches(missing[0][:128], known, n=1)
        raise NotFound(
            f"nothing is called {missing[0]!r:.140}",
            hint=f'did you mean "{close[0]}"?' if close else "`stoker status` shows everything",
            data={"names": [name[:140] for name in missing[:100]]},
        )
    return DaemonStatus(
        daemon=whole.daemon,
        pools=tuple(part for part in whole.pools if part.name in names),
        burners=tuple(part for part in whole.burners if part.name in names),
        processes=tuple(part for part in whole.processes if names & _names_of(part)),
        objects=tuple(part for part in whole.objects if part.name in names),
        jobs=whole.jobs,
        seq=whole.seq,
    )


def _names_of(process: ProcessInfo) -> set[str]:
    """Its own, that of all its instances, and the one with its number."""
    return {process.name, process.group, f"{process.group}:{process.instance}"}


def events(parts: Supervisor, _caller: Caller, request: Events) -> EventsReply:
    """Recent events."""
    found, gap = parts.journal.since(request.after, request.limit, request.topic)
    return EventsReply(
        events=[(seq, event.topic, _with_time(time, to_map(event))) for seq, time, event in found],
        seq=parts.bus.seq,
        gap=gap,
    )


def _with_time(time: float, event: dict[str, Any]) -> dict[str, Any]:
    return {"time": time, **event}


def show_config(parts: Supervisor, _caller: Caller, _request: ConfigShow) -> ConfigReply:
    """The configuration in effect."""
    source = parts.config.source
    return ConfigReply(path=str(source) if source is not None else None, config=config.as_map(parts.config))


def diff_config(parts: Supervisor, _caller: Caller, _request: ConfigDiff) -> ConfigDiffReply:
    """What the file would change, and what was changed by hand."""
    return parts.life.config_diff()


def reload(parts: Supervisor, _caller: Caller, _request: Reload) -> Promise[ReloadReply]:
    """Read the configuration again; answered when it is applied."""
    return parts.life.reload()


def keys(parts: Supervisor, _caller: Caller, _request: Keys) -> KeysReply:
    """Read the authorized keys again."""
    return parts.life.keys()


def shutdown(parts: Supervisor, _caller: Caller, request: Shutdown) -> ShutdownReply:
    """Begin to end."""
    parts.life.shut_down(request.grace)
    return ShutdownReply(pid=os.getpid())


HANDLERS: dict[type, Any] = {
    Hello: hello,
    Bye: bye,
    Ping: ping,
    Status: status,
    Events: events,
    ConfigShow: show_config,
    ConfigDiff: diff_config,
    Reload: reload,
    Keys: keys,
    Shutdown: shutdown,
}
