"""The composition root: builds the parts, and knows the order of start-up and of the end. Nobody else knows all."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from stoker import __version__
from stoker.errors import ShuttingDown, StokerError
from stoker.protocol.events import DaemonDraining, DaemonReady, StoreChanged
from stoker.protocol.models import BurnerInfo, DaemonInfo, Environment
from stoker.protocol.requests import ConfigDiffReply, KeysReply, ReloadReply, StartReply
from stoker.protocol.roles import Role
from stoker.protocol.states import DaemonState
from stokerd import cgroups, configured, reload, systemd
from stokerd.burners.registry import Burners
from stokerd.bus import Bus
from stokerd.clock import Clock
from stokerd.config import Config
from stokerd.control.auth import Users
from stokerd.control.caller import Session
from stokerd.control.direct import DirectServer
from stokerd.control.dispatch import Dispatcher, Handler
from stokerd.control.handlers import burners as burner_handlers
from stokerd.control.handlers import daemon as daemon_handlers
from stokerd.control.handlers import jobs as job_handlers
from stokerd.control.handlers import names as name_handlers
from stokerd.control.handlers import objects as object_handlers
from stokerd.control.handlers import processes as process_handlers
from stokerd.control.jobspec import interpreter
from stokerd.control.listener import Listeners, open_all
from stokerd.control.permits import Permits
from stokerd.control.publisher import Publisher
from stokerd.control.remote import Remote
from stokerd.control.selfcheck import SelfCheck
from stokerd.control.server import Server
from stokerd.control.sessions import Sessions
from stokerd.control.streams import TELL_IDS_AFTER
from stokerd.depot import Depot, memory_to_share
from stokerd.eventlog import EventLog
from stokerd.forkserver.host import ForkServers
from stokerd.headroom import raise_limit
from stokerd.idle import IdleExit
from stokerd.journal import Journal
from stokerd.log import get_logger, set_up
from stokerd.loop import Loop
from stokerd.manager import ServiceManager
from stokerd.overdue import Overdue
from stokerd.pool.claims import Claims
from stokerd.pool.functions import FunctionTable
from stokerd.pool.ledger import Ledger
from stokerd.pool.pools import CANCEL_GRACE, Pools
from stokerd.pool.tags import of_session
from stokerd.processes.registry import Processes
from stokerd.promise import Promise, gather
from stokerd.shared.registry import Shared, SharedLimits
from stokerd.store.store import Store
from stokerd.supervisor import Supervisor

HANDLERS: dict[type, Handler] = {
    **daemon_handlers.HANDLERS,
    **job_handlers.HANDLERS,
    **name_handlers.HANDLERS,
    **burner_handlers.HANDLERS,
    **process_handlers.HANDLERS,
    **object_handlers.HANDLERS,
}
STORE, CLAIMS, LOGS = "jobs", "claims", "logs"
"""Folders in the state directory: the store's, the workers' word on what they have begun with, logs of processes."""
FORKSERVER_GRACE = 5.0
"""Seconds that forkservers get to end at the end."""
MAX_FRAME = 4
"""A frame of this many times ``limits.message_bytes`` ends its connection; smaller ones are answered."""


def run(config: Config, *, ready: Callable[[dict[str, Any]], None]) -> int:
    """Serve until told to end; returns the exit code.

    Args:
        config: validated, its endpoint resolved.
        ready: called once with ``pid`` and ``endpoint``, when the control socket has answered.

    Raises:
        StokerError: it could not start; nothing is left behind.
    """
    handed = systemd.listen_fds(os.environ, os.getpid())
    listeners = open_all(config.daemon, handed)
    try:
        _serve(config, listeners, ready)
    finally:
        for listener in reversed(listeners):  # the lock on the path is the control socket's
            if listener is not None:
                listener.close()
    return 0


def _serve(config: Config, listeners: Listeners, ready: Callable[[dict[str, Any]], None]) -> None:
    loop = Loop(_log_bug)
    daemon = Daemon(config, listeners, loop, ready, loop.stop, loop.vigil.set)
    # A handler only notes the signal; the loop acts. From the first moment on: an early SIGTERM is honoured too.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.on_signal(number, daemon.told_to_end)
    loop.on_signal(signal.SIGHUP, daemon.reload_on_signal)
    daemon.start()
    loop.run()
    daemon.close()
    loop.close()


def _log_bug(why: Exception) -> None:
    get_logger().error("a bug in the daemon", exc_info=why)


def own_environment() -> Environment:
    """Where the functions of a client live that does not say: this interpreter, started here."""
    cwd = str(Path.cwd())
    return Environment(executable=interpreter(sys.executable), cwd=cwd, path=(cwd, *sys.path[1:]))


class Daemon:
    """See the module; also what handlers know as ``life``."""

    def __init__(
        self,
        config: Config,
        listeners: Listeners,
        clock: Clock,
        ready: Callable[[dict[str, Any]], None],
        ended: Callable[[], object],
        stay_awake: Callable[[float], object],
    ) -> None:
        self.state = DaemonState.STARTING
        self._config, self._clock, self._ready, self._ended = config, clock, ready, ended
        self._control, self._events, direct, self._status = listeners
        self._boot_id = uuid.uuid4().hex
        self._started = clock.monotonic()
        self._manager = ServiceManager(os.environ, self._work)
        self._manager.starting()
        self._log = get_logger()
        self._favour(config.daemon.nice)
        stay_awake(config.daemon.busy_poll_ms / 1000)
        self._groups = self._divide()
        open_files = raise_limit()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        limits = config.limits
        largest = MAX_FRAME * limits.message_bytes
        self._users = Users(config.security)
        self._remote = Remote(self._context, clock, config, largest) if config.daemon.tcp else None
        self._server = Server(self._context, clock, largest_frame=largest)
        self._observed: Server | None = None
        if self._status is not None:
            self._observed = Server(self._context, clock, largest_frame=largest, place="status", role=Role.OBSERVE)
        self._direct = DirectServer(None if direct is None else direct.fd, clock, limits)
        self._publisher = Publisher(self._context, clock, self._events.adopt)
        self._store: Store | None = None
        if config.store.enabled:
            self._store = Store(
                Path(config.daemon.state_dir, STORE),
                clock=clock,
                file_bytes=config.store.file_bytes,
                reserve_bytes=config.store.reserve_bytes,
                on_health=self._store_changed,
            )
        # Whoever is started from here on finds this daemon by itself: a job that submits, a queue opened by its name.
        os.environ["STOKER_SOCKET"] = self._control.endpoint.url
        self._parts = self._build(config, open_files)
        self._dispatcher = Dispatcher(
            Permits(config.security).guarded(HANDLERS),
            self._parts,
            head_bytes=limits.head_bytes,
            frames=limits.frames,
            message_bytes=limits.message_bytes,
            waiting=limits.session_requests,
            on_bug=lambda what, trace: self._log.error("a handler failed", error=what, traceback=trace),
        )
        self._idle = IdleExit(clock, config.daemon.idle_exit, self._is_busy, self._leave_idle)
        self._selfcheck: SelfCheck | None = None
        self._reload = reload.Reload(self._parts, self._idle.set, self._favour, self._log_at, stay_awake)

    @staticmethod
    def _favour(nice: int) -> None:
        """Be ahead of what is run here: ping and status must answer while everything else is saturated."""
        with contextlib.suppress(OSError):  # not permitted: then it competes as an equal
            os.setpriority(os.PRIO_PROCESS, 0, nice)

    def _log_at(self, level: str) -> None:
        """Log what is of this level or worse from now on."""
        set_up(level, self._config.daemon.log_format, os.environ)
        self._event_log.renew()
        self._parts.bus.ask_again()

    def _divide(self) -> cgroups.Groups | None:
        """Give daemon, jobs and burners control groups of their own, where one is delegated to the service."""
        asked = self._config.cgroups
        base = None
        if asked.enabled and self._manager:
            base = cgroups.delegated(_text("/proc/self/cgroup"), _text("/proc/self/mountinfo"))
        if base is None:
            return None
        groups = cgroups.Groups(base)
        shares = {
            cgroups.DAEMON: cgroups.Share(asked.daemon_weight),
            cgroups.JOBS: cgroups.Share(asked.jobs_weight, asked.jobs_memory),
            cgroups.BURNERS: cgroups.Share(asked.burners_weight, asked.burners_memory),
        }
        try:
            groups.settle(shares)
        except OSError as why:
            self._log.warning("no control groups of their own for jobs and burners", reason=str(why))
            return None
        groups.kill()  # nothing that an earlier daemon has left runs on
        self._log.info("control groups", base=str(base), controllers=groups.controllers)
        return groups

    def _build(self, config: Config, open_files: tuple[int, int]) -> Supervisor:
        clock, limits = self._clock, config.limits
        bus = Bus(clock.time, lambda bug: self._log.error("a bug in the daemon", listener=True, exc_info=bug))
        journal = Journal(limits.events)
        self._event_log = EventLog()
        # Commit, then emit, then reply: listeners only listen, and the order among them does not matter.
        bus.listen(journal.note)
        bus.listen(self._event_log.note, self._event_log.hears)
        for publisher in (self._publisher,) if self._remote is None else (self._publisher, self._remote.publisher):
            bus.listen(publisher.publish, publisher.hears)
            publisher.on_topics = bus.ask_again
        forker = ForkServers(
            clock,
            bus,
            own_environment(),
            max_idle=config.forkservers.max_idle,
            idle_seconds=config.forkservers.idle_seconds,
            open_files=open_files,
            groups=self._groups,
        )
        sessions = Sessions(
            limit=limits.sessions,
            role_of=self._users.role_of,
            clock=clock,
            bus=bus,
            on_closed=self._session_closed,
        )
        shared = limits.shared_bytes
        depot = Depot(clock, memory_to_share() if shared == "auto" else shared)
        return Supervisor(
            config=config,
            clock=clock,
            bus=bus,
            forker=forker,
            journal=journal,
            sessions=sessions,
            functions=FunctionTable(limits.function_bytes),
            depot=depot,
            pools=Pools(
                configured.pool_settings(config),
                clock=clock,
                bus=bus,
                forker=forker,
                history_jobs=limits.history_jobs,
                history_bytes=limits.kept_result_bytes,
                kept_jobs=limits.kept_jobs,
                tag_limits={name: tag.most for name, tag in config.tag.items()},
                ledger=self._ledger(),
                depot=depot,
            ),
            burners=Burners(
                clock,
                bus,
                forker,
                config.burners.default_seconds,
                config.burners.max_processes,
                busy=lambda: self._parts.pools.busy_workers,
            ),
            processes=Processes(clock, bus, forker, self._log_folder()),
            shared=Shared(
                clock,
                bus,
                SharedLimits(
                    objects=limits.objects, object_bytes=limits.object_bytes, total_bytes=limits.objects_bytes
                ),
            ),
            owned={},
            lenders=set(),
            late=Overdue(clock, TELL_IDS_AFTER),
            life=self,
        )

    def _ledger(self) -> Ledger:
        """What is durable, opened; a daemon that can't open it does not start."""
        if self._store is None:
            return Ledger()
        self._store.open()
        return Ledger(self._store, Claims(Path(self._config.daemon.state_dir, CLAIMS)))

    def _log_folder(self) -> Path | None:
        """Of the logs of processes; a daemon that is to write nothing to its state directory has none."""
        daemon, store = self._config.daemon, self._config.store
        return Path(daemon.state_dir, LOGS) if store.enabled and daemon.state_dir else None

    def _store_changed(self, reason: str) -> None:
        """Writing what is durable has begun to fail, or works again."""
        if reason:
            self._log.error("durable jobs are refused", reason=reason)
        else:
            self._log.info("durable jobs are accepted again")
        self._parts.pools.store_changed(reason)
        self._parts.bus.emit(StoreChanged(reason=reason))

    # --- start-up

    def start(self) -> None:
        """Begin to answer; ready is said when the socket has answered a ping."""
        if left := self._parts.pools.recover():
            self._log.info("jobs that the last daemon left are taken up", jobs=left)
        self._control.adopt(self._server.socket)
        self._publisher.open()
        self._publisher.serve()
        if self._status is not None and self._observed is not None:
            self._status.adopt(self._observed.socket)
        for server in (self._server, self._observed, self._direct, self._remote):
            if server is not None:
                server.serve(self._parts.sessions, self._dispatcher, self._idle.touch)
        self._selfcheck = SelfCheck(self._context, self._clock, self._control.endpoint.url, self._answered)
        self._selfcheck.ask()
        # What exists now lives as long as the daemon: the collector need not look at it again and again. Most of
        # what comes later dies young, by its reference count; collecting seldom costs little memory.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    def _answered(self) -> None:
        if self.state is DaemonState.STARTING:
            self.state = DaemonState.READY
            self._serving()
        else:
            self._manager.alive()

    def _serving(self) -> None:
        assert self._selfcheck is not None  # noqa: S101 - it is what called
        endpoint = self._control.endpoint.url
        self._parts.bus.emit(DaemonReady(pid=os.getpid(), endpoint=endpoint))
        self._manager.ready(endpoint)
        self._ready({"pid": os.getpid(), "endpoint": endpoint})
        configured.start_all(self._parts)
        if self._manager.watchdog is not None:
            self._selfcheck.ask_every(self._manager.watchdog / 3)
        else:
            self._clock.soon(self._selfcheck.close)

    # --- what can be asked of it

    def info(self) -> DaemonInfo:
        """Its snapshot."""
        return DaemonInfo(
            pid=os.getpid(),
            endpoint=self._control.endpoint.url,
            version=__version__,
            boot_id=self._boot_id,
            uptime=self._clock.monotonic() - self._started,
            state=self.state,
            store=self._store.failing if self._store is not None else "off",
            sessions=len(self._parts.sessions),
            events=self._events.endpoint.url,
            shared_bytes=self._parts.depot.nbytes,
            segments=len(self._parts.depot),
        )

    @property
    def supervised(self) -> bool:
        """Whether a service manager started it, and brings it back when it dies."""
        return bool(self._manager)

    def _work(self) -> str:
        """What is going on, in a few words; empty: nothing."""
        parts = self._parts
        pools = parts.pools.info()
        counted = (
            (sum(info.running for info in pools), "running", "running"),
            (sum(info.queued for info in pools), "waiting", "waiting"),
            (len(parts.burners.info()), "burner", "burners"),
            (len(parts.processes.info()), "process", "processes"),
        )
        jobs = [f"{count} jobs {one}" if count > 1 else f"1 job {one}" for count, one, _ in counted[:2] if count]
        rest = [f"{count} {many if count > 1 else one}" for count, one, many in counted[2:] if count]
        return ", ".join((*jobs, *rest))

    def reload(self) -> Promise[ReloadReply]:
        """Read the configuration file again, and apply what can be changed while running; keys are read again too."""
        self._reload.check()
        if self._remote is not None:
            self._remote.refresh()
        self._manager.reloading()
        try:
            reloading = self._reload.run()
        except StokerError as why:
            self._manager.reloaded(str(why.message))
            raise
        reloading.when_settled(lambda _: self._manager.reloaded())
        return reloading

    def reload_on_signal(self) -> None:
        """SIGHUP."""

        def done(reloaded: Promise[ReloadReply]) -> None:
            for what, why in reloaded.value().failed.items():
                self._log.error("the configuration could not be applied to it", what=what, error=why)

        try:
            self.reload().when_settled(done)
        except StokerError as why:
            self._log.error("the configuration was not applied", error=str(why))

    def config_diff(self) -> ConfigDiffReply:
        """What a reload would change, and what was changed by hand."""
        return self._reload.difference()

    def start_configured(self, name: str) -> Promise[StartReply]:
        """Start a burner of the configuration that does not run."""
        answer: Promise[StartReply] = Promise()

        def reply(info: BurnerInfo) -> StartReply:
            pids = tuple(worker.pid for worker in info.workers if worker.pid is not None)
            return StartReply(kind="burner", name=info.name, pids=pids)

        reload.start_known(self._parts, name).when_settled(
            lambda started: answer.settle_with(lambda: reply(started.value()))
        )
        return answer

    def keys(self) -> KeysReply:
        """Who may connect over tcp, read again; whoever may not any more is out."""
        if self._remote is None:
            return KeysReply(directory=self._config.security.keys_dir)
        self._remote.refresh()
        return KeysReply(directory=self._config.security.keys_dir, endpoint=self._remote.url, keys=self._remote.known())

    def _is_busy(self) -> bool:
        parts = self._parts
        working = any(info.queued or info.running for info in parts.pools.info())
        return bool(len(parts.sessions) or working or parts.burners.info() or parts.processes.info())

    def _leave_idle(self) -> None:
        self._log.info(
            "idle for so long that nobody seems to need this daemon", seconds=self._parts.config.daemon.idle_exit
        )
        self.shut_down(None)

    # --- sessions

    def _session_closed(self, session: Session) -> None:
        session.gone = True
        self._dispatcher.session_closed(session)
        if session.shares:
            self._parts.depot.leave(session.id)
        self._parts.functions.session_closed(session.id)
        self._parts.shared.session_closed(session.id)
        self._parts.processes.session_closed(session.id)
        if session.id in self._parts.lenders:
            self._parts.lenders.discard(session.id)
            self._parts.pools.lend(session.pid or 0, lent=False)
        if session.on_disconnect == "cancel":
            self._parts.pools.cancel_session(session.id)
        if session.most is not None:  # what it has left behind is bounded by nothing of its own any more
            self._parts.pools.tags.set(of_session(session.id), None)
        self._stop_owned(session)

    def _stop_owned(self, session: Session) -> None:
        """Burners and pools that were to end with this session."""
        names = self._parts.owned.pop(session.id, set())
        if present := [name for name in names if name in self._parts.burners]:
            self._parts.burners.stop(present)
        if present := [name for name in names if name in self._parts.pools]:
            self._parts.pools.remove(present, CANCEL_GRACE)

    # --- the end

    def told_to_end(self) -> None:
        """SIGTERM or SIGINT; a second one does not wait any longer."""
        self.shut_down(0.0 if self.state is DaemonState.DRAINING else None)

    def shut_down(self, grace: float | None) -> None:
        """Take no new work, let jobs end within ``grace`` seconds, end everything, then leave."""
        seconds = self._parts.config.daemon.shutdown_grace if grace is None else grace
        if self.state is DaemonState.DRAINING:
            self._parts.pools.hurry(seconds)
            return
        self.state = DaemonState.DRAINING
        self._manager.stopping(seconds)
        self._parts.bus.emit(DaemonDraining(grace=seconds))
        # Load first, then what runs for others; the pool has its grace meanwhile. Answers leave all the while.
        endings: list[Promise[Any]] = [
            self._parts.burners.close(),
            self._parts.processes.close(seconds),
            self._parts.pools.close(seconds),
        ]
        gather(endings).when_settled(lambda _: self._end_forkservers())

    def _end_forkservers(self) -> None:
        self._parts.forker.close(FORKSERVER_GRACE).when_settled(lambda _: self._close_store())

    def _close_store(self) -> None:
        """Whatever has ended is on disk before the daemon leaves, if the disk takes it."""
        if self._groups is not None:
            self._groups.kill()  # what has left its process group ends too

        def closed(done: Promise[None]) -> None:
            if done.error is not None:
                self._log.error("not all that is durable could be written", reason=done.error.message)
            self._clock.soon(self._leave)

        if self._store is None:
            self._clock.soon(self._leave)
        else:
            self._store.close().when_settled(closed)

    def _leave(self) -> None:
        # Whoever still waits for something (a queue, a lock, a job that will not come) has an answer before the end.
        self._parts.shared.close()
        self._dispatcher.refuse_all(ShuttingDown("the daemon is stopping", hint="connect again when it is back"))
        self.state = DaemonState.STOPPED
        self._ended()

    def close(self) -> None:
        """Close the sockets. What has been answered leaves first."""
        if self._selfcheck is not None:
            self._selfcheck.close()
        self._parts.sessions.close_all()
        for each in (self._server, self._observed, self._direct, self._remote, self._publisher):
            if each is not None:
                each.close()
        self._context.term()


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
