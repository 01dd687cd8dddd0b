"""The configuration: one TOML file, validated whole before anything is applied.

:mod:`stokerd.config_tables` is its schema, :mod:`stokerd.config_file` tells what is wrong with a file.
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from stoker.errors import BadEndpoint, BadProfile, CannotPack, InvalidParams
from stoker.protocol import codec, endpoint, guards, loads, processes
from stoker.protocol.typed import nearest
from stokerd import config_profiles
from stokerd.config_file import ConfigFile, Problem, convert
from stokerd.config_tables import (
    BurnerConfig,
    BurnersConfig,
    DaemonConfig,
    ForkserversConfig,
    LimitsConfig,
    PoolConfig,
    ProcessConfig,
    SecurityConfig,
    Tables,
)

__all__ = [
    "BurnerConfig",
    "BurnersConfig",
    "Config",
    "DaemonConfig",
    "ForkserversConfig",
    "Key",
    "LimitsConfig",
    "PoolConfig",
    "ProcessConfig",
    "SecurityConfig",
    "as_map",
    "changes",
    "load",
    "load_again",
]


class Config(Tables, frozen=True, kw_only=True):
    """The configuration in effect.

    Args:
        source: the file that it was read from; None: there is none, all is default.
        overrides: keys of ``[daemon]`` that the command line set; they outlast a reload.
        traces: the points of the traces in the profile of each burner that has some.
    """

    source: Path | None = None
    overrides: dict[str, Any] = msgspec.field(default_factory=dict)
    traces: dict[str, tuple[config_profiles.Points, ...]] = msgspec.field(default_factory=dict)


def load(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Config:
    """Read and validate the configuration; ``daemon.socket`` and ``daemon.state_dir`` are filled in.

    Args:
        path: the file; None: ``STOKER_CONFIG``, else ``config.toml`` in the service's or the user's configuration
            directory if it is there, else no file and all defaults.
        environ: the environment.
        overrides: keys of ``[daemon]`` that win over the file.

    Raises:
        ConfigError: the file cannot be read or is not valid; ``data`` has path, line, key and all problems.
        BadEndpoint: ``STOKER_SOCKET`` or an override cannot be listened at.
    """
    source = path or _source(environ)
    file = ConfigFile.read(source) if source else ConfigFile(Path(), "", {})
    tables = convert(file, Tables)
    traces, problems = _profiles(file, tables)
    file.raise_for([*_contradictions(file, tables), *problems])
    kept = dict(overrides or {})
    config = Config(
        **{name: getattr(tables, name) for name in tables.__struct_fields__},
        source=source.absolute() if source else None,
        overrides=kept,
        traces=traces,
    )
    daemon = _resolved(msgspec.structs.replace(config.daemon, **kept), environ, overridden="socket" in kept)
    security = msgspec.structs.replace(config.security, keys_dir=_keys_dir(config.security.keys_dir, environ))
    pools = {"default": PoolConfig()} | config.pool
    return msgspec.structs.replace(config, daemon=daemon, security=security, pool=pools)


def load_again(config: Config, environ: Mapping[str, str]) -> Config:
    """The same file with the same overrides, as it is now; see :func:`load`."""
    return load(config.source, environ, config.overrides)


def _source(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("STOKER_CONFIG"):
        return Path(named)
    directory = environ.get("CONFIGURATION_DIRECTORY", "").split(":")[0]
    usual = Path(directory) / "config.toml" if directory else Path(endpoint.user_config(environ))
    return usual if os.path.lexists(usual) else None


def _keys_dir(given: str, environ: Mapping[str, str]) -> str:
    directory = environ.get("CONFIGURATION_DIRECTORY", "").split(":")[0]
    beside = f"{directory}/config.toml" if directory else endpoint.user_config(environ)
    return given or f"{beside.removesuffix('/config.toml')}/keys"


def _resolved(daemon: DaemonConfig, environ: Mapping[str, str], *, overridden: bool) -> DaemonConfig:
    """Paths that were left open: systemd names the service's directories, else they are the user's own."""
    named = daemon.socket if overridden else environ.get("STOKER_SOCKET") or daemon.socket
    if not named and (runtime := environ.get("RUNTIME_DIRECTORY", "").split(":")[0]):
        named = f"{runtime}/control.sock"
    where = endpoint.parse(named) if named else endpoint.default(environ, os.geteuid())
    state = daemon.state_dir or environ.get("STATE_DIRECTORY", "").split(":")[0]
    if not state and named:  # one of several of this user's daemons: each has a state of its own
        state = f"{endpoint.user_state_dir(environ)}/{hashlib.sha256(where.url.encode()).hexdigest()[:12]}"
    return msgspec.structs.replace(
        daemon, socket=where.url, state_dir=os.path.abspath(state or endpoint.user_state_dir(environ))
    )


def _profiles(file: ConfigFile, tables: Tables) -> tuple[dict[str, tuple[config_profiles.Points, ...]], list[Problem]]:
    """The traces of the burners' profiles, and what is wrong with them."""
    traces, problems = {}, []
    for name, burner in tables.burner.items():
        try:
            if burner.profile and (found := config_profiles.read(burner.profile, file.path.absolute().parent)):
                traces[name] = found
        except BadProfile as why:
            problems.append(file.problem(("burner", name, "profile"), why.message, why.hint))
        if not burner.profile and "load" not in file.content["burner"][name]:
            problems.append(
                file.problem(
                    ("burner", name), "the key 'load' is missing", "it is a number from 0 to 100; or give profile"
                )
            )
    return traces, problems


def _contradictions(file: ConfigFile, tables: Tables) -> Iterator[Problem]:
    """What no single type can tell."""
    for name, burner in tables.burner.items():
        for guard in burner.guards:
            try:
                guards.parse(guard)
            except InvalidParams as why:
                yield file.problem(("burner", name, "guards"), why.message, why.hint)
        given = [key for key in loads.PARAMETERS if getattr(burner, key)]
        if wrong := loads.why_not(burner.generator, given):
            yield file.problem(("burner", name, "generator"), *wrong)
    yield from _initializers(file, tables)
    yield from _endpoints(file, tables)
    yield from _allowed(file, tables)
    paths = {("daemon", "state_dir"): tables.daemon.state_dir, ("security", "keys_dir"): tables.security.keys_dir}
    for path, value in (paths | {("process", name, "cwd"): each.cwd for name, each in tables.process.items()}).items():
        if value and not value.startswith("/"):
            yield file.problem(path, f"{value!r} is not an absolute path", "start it with /")
    yield from _work_of_processes(file, tables)
    if tables.limits.head_bytes > tables.limits.message_bytes:
        yield file.problem(
            ("limits", "head_bytes"), "a head larger than its message", "lower it, or raise message_bytes"
        )
    owner = dict.fromkeys({"default", *tables.pool}, "pool")
    for kind, names in (("burner", tables.burner), ("process", tables.process)):
        for name in names:
            if (first := owner.setdefault(name, kind)) != kind:
                yield file.problem((kind, name), f"the name {name!r} belongs to a {first} already", "choose another")


def _initializers(file: ConfigFile, tables: Tables) -> Iterator[Problem]:
    for name, pool in tables.pool.items():
        if pool.initializer and not all(pool.initializer.partition(":")):
            hint = "for instance logging.config:dictConfig"
            message = f"{pool.initializer!r} is not package.module:function"
            yield file.problem(("pool", name, "initializer"), message, hint)
        if pool.initargs and not pool.initializer:
            yield file.problem(("pool", name, "initargs"), "there is no initializer to call with them", "name one")
        try:
            codec.pack(pool.initargs)
        except CannotPack as why:
            yield file.problem(("pool", name, "initargs"), why.message, why.hint)


def _endpoints(file: ConfigFile, tables: Tables) -> Iterator[Problem]:
    for key, value in (("socket", tables.daemon.socket), ("tcp", tables.daemon.tcp)):
        try:
            remote = value and endpoint.parse(value).path is None
        except BadEndpoint as why:
            yield file.problem(("daemon", key), why.message, why.hint)
            continue
        if value and key == "socket" and remote:
            hint = f'keep the path, and write tcp = "{value}" for remote clients with keys'
            yield file.problem(("daemon", key), "the control socket is a path, and not tcp", hint)
        elif value and key == "tcp" and not remote:
            yield file.problem(("daemon", key), f"{value!r} is not a tcp endpoint", "write tcp://HOST:PORT")


def _allowed(file: ConfigFile, tables: Tables) -> Iterator[Problem]:
    """A list that one can get around is worse than none."""
    security = tables.security
    everything = ("*",)
    if security.allow_functions == everything:
        return
    for key, open_ in (
        ("pickle", security.pickle),
        ("environments", security.environments),
        ("allow_commands", security.allow_commands == everything),
    ):
        if open_:
            way = {"pickle": "pickle = false", "environments": "environments = false"}.get(key, "allow_commands = []")
            yield file.problem(
                ("security", "allow_functions"),
                f"it keeps nobody from calling anything while `{key}` is open",
                f"write {way} as well",
            )


def _work_of_processes(file: ConfigFile, tables: Tables) -> Iterator[Problem]:
    """Each runs one thing, and is kept in a way that is possible; those that it waits for are there."""
    graph = {name: processes.dependencies(process) for name, process in tables.process.items()}
    for name, process in tables.process.items():
        for key, message, hint in processes.problems(process):
            yield file.problem(("process", name, key), message, hint)
        for key in ("requires", "after"):
            for other in getattr(process, key):
                if other not in graph:
                    hint = nearest(other, graph) or f"write [process.{other}]"
                    yield file.problem(("process", name, key), f"there is no process {other!r}", hint)
        if re.search(r":\d+$", name):
            hint = f"that would be an instance of {name.rpartition(':')[0]}; leave out the colon"
            yield file.problem(("process", name), f"{name!r} is a name of an instance", hint)
        yield from _who(file, name, process)
        if bool(process.argv) == bool(process.call):
            both = "argv and call are both given" if process.argv else "neither argv nor call is given"
            yield file.problem(("process", name), both, "a process runs a program or a Python function")
        elif process.call and not all(process.call.partition(":")):
            hint = "for instance http.server:test"
            yield file.problem(("process", name, "call"), f"{process.call!r} is not package.module:function", hint)
    if way := processes.circle(graph):
        hint = "leave out one of after and requires"
        yield file.problem(("process", way[0]), f"these wait for each other: {' → '.join(way)}", hint)


def _who(file: ConfigFile, name: str, process: ProcessConfig) -> Iterator[Problem]:
    """Users and groups that this machine has not."""
    for key, known, look in (("user", "passwd", pwd.getpwnam), ("group", "group", grp.getgrnam)):
        who = getattr(process, key)
        try:
            if who and not who.isdecimal():
                look(who)
        except KeyError:
            hint = f"`getent {known}` lists those that there are"
            yield file.problem(("process", name, key), f"there is no {key} {who!r} on this machine", hint)


NAMED = ("pool", "burner", "process", "tag")
"""Tables of tables."""
KEPT_LIVE = frozenset(
    {
        *("restart", "backoff", "backoff_most", "settled", "flap_ends", "flap_seconds", "fatal_codes"),
        *("ready_timeout", "stop_signal", "grace", "after", "requires", "instances", "autostart"),
        *("keep_bytes", "log_bytes", "log_files"),
    }
)
"""Keys of a process that it takes on while it runs."""
_LIVE = frozenset(
    {
        *("daemon.shutdown_grace", "daemon.log_level", "daemon.idle_exit", "daemon.nice"),
        "daemon.busy_poll_ms",
        *("limits.sessions", "limits.queue_jobs", "limits.queue_bytes", "limits.result_bytes", "limits.session_jobs"),
        *("limits.jobs_per_request", "burners.default_seconds", "burners.max_processes"),
        *("forkservers.max_idle", "forkservers.idle_seconds"),
    }
)
"""Keys outside of the named tables that a reload applies; whatever is not among them takes a restart of the daemon."""


class Key(NamedTuple):
    """One key of the configuration, or a whole table of a named one.

    Args:
        table: such as ``pool``.
        name: which of them; empty where tables of its kind have no names.
        key: in it; empty: the whole table is in one configuration only.
    """

    table: str
    name: str
    key: str

    def __str__(self) -> str:
        return ".".join(part for part in self if part)

    @property
    def live(self) -> bool:
        """A reload applies it; else it takes effect when the daemon is started again."""
        return self.table in NAMED or str(self) in _LIVE


def changes(old: Config, new: Config) -> list[Key]:
    """What differs, sorted."""
    before, after = _flat(_with_traces(old)), _flat(_with_traces(new))
    found = {key for key in before.keys() | after.keys() if before.get(key, _ABSENT) != after.get(key, _ABSENT)}
    both = {(key.table, key.name) for key in before} & {(key.table, key.name) for key in after}
    return sorted({key if (key.table, key.name) in both else Key(key.table, key.name, "") for key in found})


_ABSENT = object()


def _with_traces(config: Config) -> dict[str, Any]:
    """A profile has changed too where one of the files has that it reads."""
    plain = _plain(config)
    for name, burner in plain["burner"].items():
        burner["profile"] = (burner["profile"], config.traces.get(name, ()))
    return plain


def value(config: Config, key: Key) -> Any:
    """What it has for a key, as :func:`as_map` shows it; of a whole table what is not default; None: nothing."""
    table = as_map(config)[key.table]
    entry = table.get(key.name) if key.table in NAMED else table
    if entry is None or key.key:
        return None if entry is None else entry.get(key.key)
    fields = msgspec.structs.fields(getattr(config, key.table)[key.name])
    return {each.name: entry[each.name] for each in fields if entry[each.name] != _default(each)}


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _flat(plain: dict[str, Any]) -> dict[Key, Any]:
    flat: dict[Key, Any] = {}
    for table, content in plain.items():
        for name, entry in content.items() if table in NAMED else (("", content),):
            flat |= {Key(table, name, key): value for key, value in entry.items()}
    return flat


def as_map(config: Config) -> dict[str, Any]:
    """The configuration in effect as plain values; what a process's environment holds is not shown."""
    shown = _plain(config)
    for process in shown["process"].values():
        process["env"] = dict.fromkeys(process["env"], "(not shown)")
    return shown


def _plain(config: Config) -> dict[str, Any]:
    tables = {name: getattr(config, name) for name in Tables.__struct_fields__}
    plain: dict[str, Any] = msgspec.to_builtins(tables)
    return plain
