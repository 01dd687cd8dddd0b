"""The configuration: one TOML file, validated whole before anything is applied.

:mod:`stokerd.config_tables` is its schema, :mod:`stokerd.config_file` tells what is wrong with a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from stoker.errors import BadEndpoint
from stoker.protocol import endpoint
from stokerd.config_file import ConfigFile, Problem, convert
from stokerd.config_tables import (
    BurnerConfig,
    BurnersConfig,
    DaemonConfig,
    ForkserversConfig,
    LimitsConfig,
    PoolConfig,
    ProcessConfig,
    Tables,
)

__all__ = [
    "BurnerConfig",
    "BurnersConfig",
    "Config",
    "DaemonConfig",
    "ForkserversConfig",
    "LimitsConfig",
    "PoolConfig",
    "ProcessConfig",
    "as_map",
    "difference",
    "load",
    "load_again",
]


class Config(Tables, frozen=True, kw_only=True):
    """The configuration in effect.

    Args:
        source: the file that it was read from; None: there is none, all is default.
        overrides: keys of ``[daemon]`` that the command line set; they outlast a reload.
    """

    source: Path | None = None
    overrides: dict[str, Any] = msgspec.field(default_factory=dict)


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
    file.raise_for(list(_contradictions(file, tables)))
    kept = dict(overrides or {})
    config = Config(
        **{name: getattr(tables, name) for name in tables.__struct_fields__},
        source=source.absolute() if source else None,
        overrides=kept,
    )
    daemon = _resolved(msgspec.structs.replace(config.daemon, **kept), environ, overridden="socket" in kept)
    return msgspec.structs.replace(config, daemon=daemon, pool={"default": PoolConfig()} | config.pool)


def load_again(config: Config, environ: Mapping[str, str]) -> Config:
    """The same file with the same overrides, as it is now; see :func:`load`."""
    return load(config.source, environ, config.overrides)


def _source(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("STOKER_CONFIG"):
        return Path(named)
    directory = environ.get("CONFIGURATION_DIRECTORY", "").split(":")[0]
    usual = Path(directory) / "config.toml" if directory else Path(endpoint.user_config(environ))
    return usual if os.path.lexists(usual) else None


def _resolved(daemon: DaemonConfig, environ: Mapping[str, str], *, overridden: bool) -> DaemonConfig:
    """Paths that were left open: systemd names the service's directories, else they are the user's own."""
    named = daemon.socket if overridden else environ.get("STOKER_SOCKET") or daemon.socket
    if not named and (runtime := environ.get("RUNTIME_DIRECTORY", "").split(":")[0]):
        named = f"{runtime}/control.sock"
    where = endpoint.parse(named) if named else endpoint.default(environ, os.geteuid())
    state = daemon.state_dir or environ.get("STATE_DIRECTORY", "").split(":")[0]
    return msgspec.structs.replace(
        daemon, socket=where.url, state_dir=os.path.abspath(state or endpoint.user_state_dir(environ))
    )


def _contradictions(file: ConfigFile, tables: Tables) -> Iterator[Problem]:
    """What no single type can tell."""
    if tables.daemon.socket:
        try:
            endpoint.parse(tables.daemon.socket)
        except BadEndpoint as why:
            yield file.problem(("daemon", "socket"), why.message, why.hint)
    for path in (("daemon", "state_dir"), *(("process", name, "cwd") for name in tables.process)):
        value = tables.daemon.state_dir if path[0] == "daemon" else tables.process[path[1]].cwd
        if value and not value.startswith("/"):
            yield file.problem(path, f"{value!r} is not an absolute path", "start it with /")
    if tables.limits.head_bytes > tables.limits.message_bytes:
        yield file.problem(
            ("limits", "head_bytes"), "a head larger than its message", "lower it, or raise message_bytes"
        )
    owner = dict.fromkeys({"default", *tables.pool}, "pool")
    for kind, names in (("burner", tables.burner), ("process", tables.process)):
        for name in names:
            if (first := owner.setdefault(name, kind)) != kind:
                yield file.problem((kind, name), f"the name {name!r} belongs to a {first} already", "choose another")


LIVE = ("daemon.shutdown_grace", "pool.*.workers")
"""Keys that a reload applies at once."""


def difference(old: Config, new: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which keys changed, and which of them take effect only after a restart; dotted, sorted."""
    before, after = _flat(old), _flat(new)
    changed = sorted(key for key in before | after if before.get(key) != after.get(key))
    return tuple(changed), tuple(key for key in changed if not _is_live(key))


def _is_live(key: str) -> bool:
    table, _, rest = key.partition(".")
    return key in LIVE or f"{table}.*.{rest.rpartition('.')[2]}" in LIVE


def _flat(config: Config) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for table, content in _plain(config).items():
        named = table in ("pool", "burner", "process")
        for name, entry in content.items() if named else ((None, content),):
            flat |= {".".join(filter(None, (table, name, key))): value for key, value in entry.items()}
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
