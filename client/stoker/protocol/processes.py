"""How a supervised process is kept: the keys that a request, the configuration and the command line share, and what no
single type can tell of them.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, NamedTuple, TypeAlias, TypedDict

import msgspec
from msgspec import Meta

from stoker.errors import InvalidParams
from stoker.protocol.models import Name

Restart: TypeAlias = Literal["always", "on-failure", "never"]
StopSignal: TypeAlias = Literal["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGKILL"]
Wait = Annotated[float, Meta(ge=0, le=86_400, extra={"unit": "seconds"})]
Grace = Annotated[float, Meta(ge=0, le=3600, extra={"unit": "seconds"})]
ExitCode = Annotated[int, Meta(ge=1, le=255)]
Niceness = Annotated[int, Meta(ge=-20, le=19)]
Core = Annotated[int, Meta(ge=0, le=65_535)]
Instances = Annotated[int, Meta(ge=1, le=1024)]
Argv = Annotated[tuple[str, ...], Meta(max_length=4096)]
Names = Annotated[tuple[Name, ...], Meta(max_length=1024)]
Bytes = Annotated[int, Meta(ge=4096, le=1 << 40, extra={"unit": "bytes"})]
Rlimits = Annotated[
    dict[str, Annotated[int, Meta(ge=0, le=1 << 62)] | Literal["unlimited"]],
    Meta(description='a table of numbers or "unlimited", such as { nofile = 4096 }'),
]

RLIMITS = (
    *("as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio"),
    *("rttime", "sigpending", "stack"),
)
"""The resources of setrlimit(2), by the names that ``resource`` of the standard library has for them."""

INSTANCE = "{instance}"
"""Stands for the number of an instance, from 1 on, in ``argv`` and ``ready``."""

_KINDS_OF_READINESS = "notify, tcp:PORT, tcp:HOST:PORT or unix:PATH"


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """How a process is kept.

    Args:
        restart: what to do when it ends.
        backoff: seconds before the first new start; every short run doubles them.
        backoff_most: seconds that are waited at most.
        settled: seconds after which a run is no short one, so that the wait begins anew.
        flap_ends: ends within ``flap_seconds`` after which it is given up; 0: never.
        flap_seconds: see ``flap_ends``.
        fatal_codes: exit codes after which it is never started again.
        ready: when it is up: empty, when it has been executed; ``notify``, when it says so on NOTIFY_SOCKET, see
            sd_notify(3); ``tcp:PORT``, ``tcp:HOST:PORT`` or ``unix:PATH``, when something listens there.
        ready_command: program and arguments: it is up when this ends with 0.
        ready_timeout: seconds from its execution within which it has to be up.
        stop_signal: how it is asked to end; SIGINT is followed by SIGTERM half-way through the grace.
        grace: seconds from the stop signal to SIGKILL.
        user: whom it runs as, by name or number; empty: the daemon's user.
        group: its group, by name or number; empty: the user's own.
        rlimits: resource limits by their names in lower case, both the soft and the hard one.
        nice: niceness.
        cpus: cores that it may run on; empty: all.
        keep_bytes: of what it writes, bytes that are kept in memory, per stream.
        log_bytes: of a log file, after which the next one is begun.
        log_files: log files per stream in the state directory, the present one included; 0: none.
        after: processes that are started before it, and stopped after it.
        requires: the same, and they have to be up: its start starts them, and their stop stops it.
        instances: how many of it run.
    """

    restart: Restart = "on-failure"
    backoff: Wait = 0.25
    backoff_most: Wait = 30.0
    settled: Wait = 10.0
    flap_ends: Annotated[int, Meta(ge=0, le=1000)] = 10
    flap_seconds: Wait = 300.0
    fatal_codes: Annotated[tuple[ExitCode, ...], Meta(max_length=255)] = ()
    ready: Annotated[str, Meta(max_length=200)] = ""
    ready_command: Argv = ()
    ready_timeout: Annotated[float, Meta(gt=0, le=86_400, extra={"unit": "seconds"})] = 30.0
    stop_signal: StopSignal = "SIGTERM"
    grace: Grace = 10.0
    user: Annotated[str, Meta(max_length=128)] = ""
    group: Annotated[str, Meta(max_length=128)] = ""
    rlimits: Rlimits = {}
    nice: Niceness = 0
    cpus: Annotated[tuple[Core, ...], Meta(max_length=4096)] = ()
    keep_bytes: Bytes = 1 << 20
    log_bytes: Bytes = 10 << 20
    log_files: Annotated[int, Meta(ge=0, le=1000)] = 3
    after: Names = ()
    requires: Names = ()
    instances: Instances = 1


class KeepingOptions(TypedDict, total=False):
    """The same as keyword arguments."""

    restart: Restart
    backoff: float
    backoff_most: float
    settled: float
    flap_ends: int
    flap_seconds: float
    fatal_codes: tuple[int, ...]
    ready: str
    ready_command: tuple[str, ...]
    ready_timeout: float
    stop_signal: StopSignal
    grace: float
    user: str
    group: str
    rlimits: dict[str, int | Literal["unlimited"]]
    nice: int
    cpus: tuple[int, ...]
    keep_bytes: int
    log_bytes: int
    log_files: int
    after: tuple[str, ...]
    requires: tuple[str, ...]
    instances: int


KEYS: tuple[str, ...] = Keeping.__struct_fields__


def keeping(source: object) -> Keeping:
    """Of a request or a table that has these keys among others, these."""
    return Keeping(**{key: getattr(source, key) for key in KEYS})


class Address(NamedTuple):
    """Where a process listens when it is up.

    Args:
        host: an IP address; empty: a Unix socket.
        port: of it.
        path: of the Unix socket.
    """

    host: str
    port: int
    path: str


def address(ready: str) -> Address:
    """What ``tcp:…`` or ``unix:…`` means.

    Raises:
        InvalidParams: it is neither.
    """
    kind, _, rest = ready.partition(":")
    if kind == "unix" and rest.startswith("/") and "\0" not in rest and len(rest.encode()) < 108:
        return Address("", 0, rest)
    host, _, port = rest.rpartition(":")
    number = int(port) if port.isascii() and port.isdecimal() else 0
    host = {"": "127.0.0.1", "localhost": "127.0.0.1"}.get(host, host.removeprefix("[").removesuffix("]"))
    if kind == "tcp" and 0 < number < 65_536 and _is_address(host):
        return Address(host, number, "")
    raise InvalidParams(
        f"ready: {ready!r:.200} is not {_KINDS_OF_READINESS}",
        hint="HOST is an IP address or localhost, PATH an absolute one",
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def problems(keep: Keeping) -> list[tuple[str, str, str]]:
    """What is wrong with these settings: (key, message, hint) of each."""
    found = []
    if keep.ready and keep.ready_command:
        found.append(("ready_command", "two kinds of readiness are given", "leave out ready or ready_command"))
    elif keep.ready and keep.ready != "notify":
        try:
            address(keep.ready.replace(INSTANCE, "1"))
        except InvalidParams as why:
            found.append(("ready", why.message.removeprefix("ready: "), why.hint))
    if keep.ready_command and not keep.ready_command[0]:
        found.append(("ready_command", "the program's name is empty", "it begins with the program"))
    for name in keep.rlimits.keys() - set(RLIMITS):
        close = difflib.get_close_matches(name.lower().removeprefix("rlimit_"), RLIMITS, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(RLIMITS)}"
        found.append(("rlimits", f"there is no resource limit {name!r:.60}", hint))
    if keep.backoff > keep.backoff_most:
        found.append(("backoff", "the first wait is longer than the longest", "lower it, or raise backoff_most"))
    return found


def check(keep: Keeping) -> None:
    """Refuse settings that contradict themselves.

    Raises:
        InvalidParams: the first problem.
    """
    for key, message, hint in problems(keep):
        raise InvalidParams(f"{key}: {message}", hint=hint)


def dependencies(keep: Keeping) -> tuple[str, ...]:
    """Whom it waits for, each once."""
    return tuple(dict.fromkeys((*keep.requires, *keep.after)))


def circle(graph: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """A way along dependencies that ends where it began, such as ``(a, b, a)``; empty where there is none.

    Args:
        graph: whom each waits for; names that are no key of it wait for nobody.
    """
    clear: set[str] = set()
    for start in graph:
        way, ahead = [start], [iter(graph[start])]
        while ahead:
            name = next(ahead[-1], None)
            if name is None:
                clear.add(way.pop())
                ahead.pop()
            elif name in way:
                return (*way[way.index(name) :], name)
            elif name not in clear and name in graph:
                way.append(name)
                ahead.append(iter(graph[name]))
    return ()


def in_order(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """The names, each after those that it waits for. The graph has no circle.

    Args:
        graph: as for :func:`circle`.
    """
    from graphlib import TopologicalSorter

    return [name for name in TopologicalSorter(graph).static_order() if name in graph]
