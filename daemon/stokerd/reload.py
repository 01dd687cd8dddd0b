"""Reading the configuration again: what a file would change, applying that and nothing else, and what has been changed
since by hand.

Everything is validated before anything is applied. What did not change is not touched: same process ids, same figures,
whatever ``set``, ``start`` and ``stop`` have made of it meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, final

from stoker.errors import Busy, NotFound, StokerError
from stoker.protocol.events import ConfigReloaded
from stoker.protocol.requests import ConfigChange, ConfigDiffReply, ReloadReply
from stoker.protocol.states import ProcessState
from stokerd import config as configuration
from stokerd import configured
from stokerd.config import Config, Key
from stokerd.pool.pools import CANCEL_GRACE, DEFAULT
from stokerd.promise import Promise, gather, then
from stokerd.supervisor import Supervisor

_BY_SET = frozenset({"load", "workers", "no_reserve"})
"""Keys of a burner that it takes on while it burns."""
_IN_POOLS = frozenset({"queue_jobs", "queue_bytes", "result_bytes", "session_jobs"})
"""Keys of ``[limits]`` that are every pool's."""


@final
class Reload:
    """Holds what the daemon was started with against the file.

    Args:
        parts: all of them; their ``config`` is the one in effect.
        idle: is told of a new ``idle_exit``.
        favour: takes on a new niceness of the daemon.
        relog: takes on a new level of the log.
        stay_awake: is told for how many seconds the loop may stay awake between messages.
    """

    def __init__(
        self,
        parts: Supervisor,
        idle: Callable[[float], object],
        favour: Callable[[int], object],
        relog: Callable[[str], object],
        stay_awake: Callable[[float], object],
    ) -> None:
        self._parts, self._idle, self._favour, self._relog = parts, idle, favour, relog
        self._stay_awake = stay_awake
        self._first = parts.config
        self._under_way = False

    def check(self) -> None:
        """Whether there can be a reload now.

        Raises:
            Busy: another one is under way.
        """
        if self._under_way:
            raise Busy("the configuration is being reloaded already", hint="ask again when that is done")

    def run(self) -> Promise[ReloadReply]:
        """Apply what the file has changed; settles when it is done, what failed included.

        Raises:
            ConfigError: it is not valid; nothing was applied.
            Busy: another one is under way.
        """
        self.check()
        old, new = self._parts.config, configuration.load_again(self._parts.config, os.environ)
        changed = configuration.changes(old, new)
        answer: Promise[ReloadReply] = Promise()
        if not changed:
            answer.resolve(ReloadReply(changed=(), needs_restart=()))
            return answer
        self._under_way = True
        self._parts.config = new
        applying = _Application(self._parts, old, new, changed)
        self._apply_to_daemon(changed, new)

        def finish(_: Promise[Any]) -> None:
            self._under_way = False
            self._parts.bus.emit(ConfigReloaded(changed=tuple(map(str, changed))))
            answer.resolve(applying.reply())

        applying.run().when_settled(finish)
        return answer

    def _apply_to_daemon(self, changed: list[Key], new: Config) -> None:
        parts, daemon = self._parts, new.daemon
        for key in changed:
            match str(key):
                case "daemon.log_level":
                    self._relog(daemon.log_level)
                case "daemon.idle_exit":
                    self._idle(daemon.idle_exit)
                case "daemon.nice":
                    self._favour(daemon.nice)
                case "daemon.busy_poll_ms":
                    self._stay_awake(daemon.busy_poll_ms / 1000)
                case "limits.sessions":
                    parts.sessions.limit = new.limits.sessions
                case "burners.default_seconds" | "burners.max_processes":
                    parts.burners.limit(new.burners.default_seconds, new.burners.max_processes)
                case "forkservers.max_idle" | "forkservers.idle_seconds":
                    parts.forker.keep_idle(new.forkservers.max_idle, new.forkservers.idle_seconds)
                case _:
                    continue

    # --- what it would do

    def difference(self) -> ConfigDiffReply:
        """What the file would change, what waits for a restart, and what was changed by hand.

        Raises:
            ConfigError: the file is not valid.
        """
        current = self._parts.config
        new = configuration.load_again(current, os.environ)
        return ConfigDiffReply(
            path=None if current.source is None else str(current.source),
            file=tuple(
                ConfigChange(
                    key=str(key),
                    running=configuration.value(current, key),
                    file=configuration.value(new, key),
                    effect=_effect(key, new),
                )
                for key in configuration.changes(current, new)
            ),
            pending=tuple(str(key) for key in configuration.changes(self._first, current) if not key.live),
            drift=tuple(_drift(self._parts)),
        )


def _effect(key: Key, new: Config) -> str:
    """What comes of one changed key, in words."""
    table, name, _ = key
    if not key.live:
        return "when the daemon is started again"
    if not key.key and table != "tag":
        return f"{table} {name} is {'started' if name in getattr(new, table) else 'stopped'}"
    if table == "burner" and key.key not in _BY_SET:
        return f"burner {name} is started again"
    if table == "process" and key.key not in configuration.KEPT_LIVE:
        return f"process {name} is started again, if it runs"
    return "at once"


class _Application:
    """One reload being carried out."""

    def __init__(self, parts: Supervisor, old: Config, new: Config, changed: list[Key]) -> None:
        self._parts, self._old, self._new, self._changed = parts, old, new, changed
        self._keys: dict[tuple[str, str], set[str]] = {}
        for key in changed:
            self._keys.setdefault((key.table, key.name), set()).add(key.key)
        self._done: dict[str, list[str]] = {"started": [], "stopped": [], "restarted": [], "adjusted": []}
        self._failed: dict[str, str] = {}

    def reply(self) -> ReloadReply:
        """What was done."""
        return ReloadReply(
            changed=tuple(map(str, self._changed)),
            needs_restart=tuple(str(key) for key in self._changed if not key.live),
            failed=self._failed,
            **{verb: tuple(sorted(names)) for verb, names in self._done.items()},
        )

    def run(self) -> Promise[Any]:
        """What is to go first, then what is new, then what is to be otherwise."""
        self._tags()
        gone = [self._step("stopped", *each) for each in self._removals()]
        return then(gather(gone), lambda: gather([self._step(*each) for each in self._steps()]))

    def _steps(self) -> list[tuple[str, str, Callable[[], Promise[Any] | None]]]:
        """Found before any of it is done: what is started now has not to be adjusted too."""
        return [*self._additions(), *self._changes()]

    def _removals(self) -> Iterator[tuple[str, Callable[[], Promise[Any]]]]:
        parts, old, new = self._parts, self._old, self._new
        burners = [name for name in old.burner if name not in new.burner and name in parts.burners]
        for name in burners:
            yield f"burner {name}", partial(parts.burners.stop, [name])
        processes = [name for name in old.process if name not in new.process and name in parts.processes]
        for name in processes:
            yield f"process {name}", partial(parts.processes.stop, [name], None, forget=True)
        for name in old.pool:
            if name not in new.pool and name != DEFAULT and name in parts.pools:
                yield f"pool {name}", partial(parts.pools.remove, [name], CANCEL_GRACE)

    def _additions(self) -> Iterator[tuple[str, str, Callable[[], Promise[Any] | None]]]:
        parts, old, new = self._parts, self._old, self._new
        settings = configured.pool_settings(new)
        for name in new.pool:
            if name not in parts.pools and (name not in old.pool or ("pool", name) in self._keys):
                yield "started", f"pool {name}", partial(self._create, name, settings[name])
        for name in new.burner:
            if name not in old.burner:
                yield "started", f"burner {name}", partial(configured.start_burner, parts, name)
        for name in configured.processes_in_order(new):
            if name not in old.process or (("process", name) in self._keys and name not in parts.processes):
                yield "started", f"process {name}", partial(configured.start_process, parts, name)

    def _create(self, name: str, settings: Any) -> Promise[Any]:
        configured.check_free(name, self._parts.burners, self._parts.processes)
        return self._parts.pools.create(name, settings).staffed()

    def _changes(self) -> Iterator[tuple[str, str, Callable[[], Promise[Any] | None]]]:
        parts, old, new = self._parts, self._old, self._new
        limits = self._keys.get(("limits", ""), set())
        for name, its in configured.pool_settings(new).items():
            keys = self._keys.get(("pool", name), set())
            if name in parts.pools and (keys or limits & _IN_POOLS):
                resize = bool(keys & {"workers", ""})  # the whole table is new: there was one of that name already
                yield "adjusted", f"pool {name}", partial(self._adjust_pool, name, its, resize=resize)
        for (table, name), keys in self._keys.items():
            if table == "burner" and name in old.burner and name in new.burner:
                live = keys <= _BY_SET and name in parts.burners and new.burner[name].workers > 0
                change = self._adjust_burner if live else configured.start_burner
                arguments = (name, keys) if live else (parts, name)
                yield "adjusted" if live else "restarted", f"burner {name}", partial(change, *arguments)
            elif table == "process" and name in old.process and name in new.process and name in parts.processes:
                yield "adjusted", f"process {name}", partial(self._change_process, name, keys)

    def _adjust_pool(self, name: str, settings: Any, *, resize: bool) -> Promise[Any]:
        self._parts.pools.adopt(name, settings, resize=resize)
        return self._parts.pools.get(name).staffed()

    def _adjust_burner(self, name: str, keys: set[str]) -> Promise[Any]:
        burner = self._new.burner[name]
        return self._parts.burners.set(name, **{key: getattr(burner, key) for key in keys})

    def _change_process(self, name: str, keys: set[str]) -> Promise[Any]:
        processes = self._parts.processes
        changing = processes.change(configured.process_settings(self._parts, name))

        def note(done: Promise[bool]) -> None:
            if done.error is None and done.value():
                self._done["adjusted"].remove(f"process {name}")
                self._done["restarted"].append(f"process {name}")

        whole: Promise[Any] = changing
        if "autostart" in keys and self._new.process[name].autostart:
            whole = then(changing, lambda: processes.begin(name))
        self._done["adjusted"].append(f"process {name}")
        changing.when_settled(note)
        return whole

    def _tags(self) -> None:
        for table, name in self._keys:
            if table == "tag":
                tag = self._new.tag.get(name)
                self._parts.pools.tags.set(name, None if tag is None else tag.most)
                self._done["adjusted"].append(f"tag {name}")

    def _step(self, verb: str, what: str, act: Callable[[], Promise[Any] | None]) -> Promise[Any]:
        """One thing, whose failure does not keep the others from being done."""
        whole: Promise[Any] = Promise()

        def settle(done: Promise[Any]) -> None:
            if done.error is not None:
                self._fail(what, done.error)
            elif not any(what in names for names in self._done.values()):
                self._done[verb].append(what)
            whole.resolve(None)

        try:
            acting = act()
        except StokerError as why:
            self._fail(what, why)
            acting = None
        if acting is None:
            whole.resolve(None)
        else:
            acting.when_settled(settle)
        return whole

    def _fail(self, what: str, why: StokerError) -> None:
        for names in self._done.values():
            with contextlib.suppress(ValueError):
                names.remove(what)
        self._failed[what] = why.message


def _drift(parts: Supervisor) -> Iterator[ConfigChange]:
    """What was made of the configuration by hand since."""
    config = parts.config
    owned = {name for names in parts.owned.values() for name in names}
    yield from _drift_of_pools(parts, owned)
    burning = {info.name: info for info in parts.burners.info()}
    for name, burner in config.burner.items():
        info = burning.get(name)
        if info is None:
            yield _by_hand(f"burner.{name}", "running", "stopped, or ended by its time limit")
            continue
        if not burner.profile and info.asked != burner.load:
            yield _by_hand(f"burner.{name}.load", burner.load, info.asked)
        if burner.workers and info.size != burner.workers:
            yield _by_hand(f"burner.{name}.workers", burner.workers, info.size)
        if info.state == "paused":
            yield _by_hand(f"burner.{name}", "running", "paused")
    yield from (_by_hand(f"burner.{name}", None, "started") for name in burning.keys() - config.burner - owned)
    yield from _drift_of_processes(parts)
    tags = parts.pools.tags.limits()
    for name in sorted(tags.keys() | config.tag):
        most = config.tag[name].most if name in config.tag else None
        if tags.get(name) != most:
            yield _by_hand(f"tag.{name}.most", most, tags.get(name))


def _drift_of_pools(parts: Supervisor, owned: set[str]) -> Iterator[ConfigChange]:
    pools = {info.name: info for info in parts.pools.info()}
    for name, settings in configured.pool_settings(parts.config).items():
        info = pools.get(name)
        if info is None:
            yield _by_hand(f"pool.{name}", "there", "stopped")
            continue
        if info.size != settings.workers:
            yield _by_hand(f"pool.{name}.workers", settings.workers, info.size)
        if info.draining or info.paused:
            yield _by_hand(f"pool.{name}", "running", "draining" if info.draining else "paused")
    others = pools.keys() - parts.config.pool - owned - {DEFAULT}
    yield from (_by_hand(f"pool.{name}", None, "started") for name in sorted(others))


def _drift_of_processes(parts: Supervisor) -> Iterator[ConfigChange]:
    states: dict[str, dict[str, ProcessState]] = {}
    for info in parts.processes.info():
        states.setdefault(info.group, {})[info.name] = info.state
    for name, settings in parts.processes.settings().items():
        if settings.owner is not None:
            continue
        if not settings.configured:
            yield _by_hand(f"process.{name}", None, "started")
            continue
        process = parts.config.process[name]
        if settings.keep.instances != process.instances:
            yield _by_hand(f"process.{name}.instances", process.instances, settings.keep.instances)
        other = {each: state for each, state in states[name].items() if (state in _NOT_UP) is process.autostart}
        expected = "up" if process.autostart else "down"
        if len(other) == len(states[name]) and len(set(other.values())) == 1:
            yield _by_hand(f"process.{name}", expected, str(next(iter(other.values()))))
        else:
            yield from (_by_hand(f"process.{each}", expected, str(state)) for each, state in other.items())


_NOT_UP = frozenset({ProcessState.DOWN, ProcessState.FLAPPING, ProcessState.FATAL})


def _by_hand(key: str, file: Any, running: Any) -> ConfigChange:
    return ConfigChange(key=key, file=file, running=running, effect="")


def start_known(parts: Supervisor, name: str) -> Promise[Any]:
    """Start a burner of the configuration that does not run.

    Raises:
        NotFound: nothing is called so.
    """
    if name in parts.config.burner:
        return configured.start_burner(parts, name)
    raise NotFound(
        f"there is no process or configured burner {name!r:.140}",
        hint="`stoker status` shows what there is; `stoker start process NAME -- PROGRAM` starts a new one",
        data={"name": name[:140]},
    )
