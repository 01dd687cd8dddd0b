"""The schema of the configuration: one frozen struct per table of the file.

Types carry range and unit, so that an error can say what is allowed, and ``config.example.toml`` is compared with them
by a test.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from stoker.protocol.models import Percent
from stoker.protocol.processes import Keeping
from stoker.protocol.requests import BurnerMode, Guards, Nice, PoolSize

Seconds = Annotated[float, Meta(ge=0, le=31_536_000, extra={"unit": "seconds"})]
Limit = Annotated[float, Meta(gt=0, extra={"unit": "seconds, or inf"})]
Milliseconds = Annotated[float, Meta(ge=0, le=1000, extra={"unit": "milliseconds"})]
Bytes = Annotated[int, Meta(ge=1024, le=1 << 40, extra={"unit": "bytes"})]
Room = Annotated[int, Meta(ge=0, le=1 << 50, extra={"unit": "bytes"})]
Weight = Annotated[int, Meta(ge=1, le=10_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Mode = Annotated[str, Meta(pattern=r"^0?[0-7]{3}$", description='octal permissions in quotes, such as "0660"')]
ModeOrNone = Annotated[str, Meta(pattern=r"^(0?[0-7]{3})?$", description='octal permissions such as "0666", or ""')]
Patterns = tuple[Annotated[str, Meta(min_length=1, max_length=512)], ...]


class DaemonConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[daemon]``: the process itself.

    Args:
        socket: where to listen: a path, ``ipc://PATH``; empty: ``control.sock`` in the service's runtime directory, or
            the user's own endpoint.
        mode: permissions of the sockets, octal.
        group: group that owns the sockets; empty: the daemon's own.
        status_mode: permissions of the status socket, on which everybody has the role ``observe``, and of the event
            socket; empty: there is no status socket.
        tcp: where to listen for remote clients, which need a key: ``tcp://HOST:PORT``, events at the next port; empty:
            nowhere.
        state_dir: where what must outlive the daemon is kept; empty: the service's or the user's state directory.
        log_level: what is logged: this and what is worse.
        log_format: ``auto`` is ``console`` on a terminal, else ``json``.
        shutdown_grace: seconds that running jobs get to end when the daemon is told to.
        idle_exit: seconds without clients and work after which the daemon leaves; 0: never.
        nice: niceness of the daemon, as far as the system permits; it is favoured over what it runs.
        busy_poll_ms: milliseconds for which the daemon at most stays awake between messages that follow close upon each
            other; 0: not at all.
    """

    socket: str = ""
    mode: Mode = "0600"
    group: str = ""
    status_mode: ModeOrNone = ""
    tcp: str = ""
    state_dir: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    shutdown_grace: Seconds = 10.0
    idle_exit: Seconds = 0.0
    nice: Nice = -5
    busy_poll_ms: Annotated[float, Meta(ge=0, le=10, extra={"unit": "milliseconds"})] = 0.4


class SecurityConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[security]``: who may do what.

    Args:
        keys_dir: the keys for tcp; empty: ``keys`` in the service's or the user's configuration directory.
        peer_role: the role on the control socket of users other than root and the daemon's own.
        admins: users who are ``admin`` there, by name or number.
        allow_functions: which functions may be called, as patterns of ``package.module:function``.
        allow_commands: which programs may be run, as patterns of the first word of a command.
        pickle: whether pickled functions and arguments are taken.
        environments: whether clients may bring interpreter, directory, ``sys.path`` and variables of their own.
    """

    keys_dir: str = ""
    peer_role: Literal["observe", "submit", "admin"] = "submit"
    admins: Patterns = ()
    allow_functions: Patterns = ("*",)
    allow_commands: Patterns = ("*",)
    pickle: bool = True
    environments: bool = True


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[limits]``: what a peer may send, and how much is kept.

    Args:
        message_bytes: one message, all frames together.
        head_bytes: the MessagePack head of one message.
        frames: payload frames of one message.
        sessions: clients connected at a time.
        queue_jobs: jobs that wait in one pool.
        queue_bytes: their payloads together, per pool.
        result_bytes: the value of one job.
        session_jobs: unfinished jobs of one client.
        history_jobs: ended jobs that are remembered whose values are not kept for others to read.
        kept_jobs: ended jobs whose values are kept.
        kept_result_bytes: values of ended jobs that are kept, together.
        jobs_per_request: jobs in one ``submit``.
        shared_bytes: memory that is shared with local clients for large data, together; ``auto``: a quarter of what is
            available when the daemon starts; 0: none.
        events: recent events that are remembered.
        session_requests: requests of one client that wait for their answer.
        function_bytes: uploaded functions of one client, together; those used longest ago are forgotten.
        objects: shared objects.
        object_bytes: one shared object.
        objects_bytes: all shared objects together.
        pools: pools.
        processes: supervised processes.
    """

    message_bytes: Bytes = 256 << 20
    head_bytes: Bytes = 16 << 20
    frames: Count = 64
    sessions: Count = 1024
    queue_jobs: Count = 1_000_000
    queue_bytes: Bytes = 1 << 30
    result_bytes: Bytes = 256 << 20
    session_jobs: Count = 1_000_000
    history_jobs: Count = 10_000
    kept_jobs: Count = 100_000
    kept_result_bytes: Bytes = 256 << 20
    jobs_per_request: Count = 1_000_000
    shared_bytes: Literal["auto"] | Annotated[int, Meta(ge=0, le=1 << 50, extra={"unit": "bytes"})] = "auto"
    events: Count = 1000
    session_requests: Count = 100_000
    function_bytes: Bytes = 256 << 20
    objects: Count = 100_000
    object_bytes: Bytes = 256 << 20
    objects_bytes: Bytes = 1 << 30
    pools: Count = 1000
    processes: Count = 10_000


class PoolConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[pool.NAME]``: a pool; ``pool.default`` exists whether it is written or not.

    Args:
        workers: how many; ``auto``: one per core that the daemon may use.
        engine: where its jobs run.
        nice: niceness of its workers.
        output_bytes: what is kept of a job's stdout, and as much of its stderr.
        result_ttl: seconds for which the value of an ended job is kept.
        prefetch_ms: milliseconds of work that a worker holds ahead of the job that it runs.
        max_jobs: jobs that a worker runs before a fresh one takes its place; 0: any number.
        memory_bytes: resident memory that a worker may use, with what its commands use, before it is killed; 0: any.
        quarantine: workers that one job may kill before it is not tried again.
        initializer: ``package.module:function`` that each worker calls before its first job; empty: none.
        initargs: its positional arguments.
    """

    workers: Literal["auto"] | PoolSize = "auto"
    engine: Literal["local"] = "local"
    nice: Nice = 0
    output_bytes: Bytes = 1 << 20
    result_ttl: Seconds = 3600.0
    prefetch_ms: Milliseconds = 3.0
    max_jobs: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    memory_bytes: Annotated[int, Meta(ge=0, le=1 << 50, extra={"unit": "bytes"})] = 0
    quarantine: Annotated[int, Meta(ge=1, le=1000)] = 3
    initializer: str = ""
    initargs: list[Any] = msgspec.field(default_factory=list)


class BurnersConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[burners]``: bounds of all burners.

    Args:
        default_seconds: time limit of a burner that names none; ``inf``: none.
        max_processes: processes of all burners together.
    """

    default_seconds: Limit = 3600.0
    max_processes: Count = 1024


class BurnerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[burner.NAME]``: a burner that is started with the daemon.

    Args:
        workers: number of processes; 0: 1, or one per core where ``of`` is ``machine`` or ``quota``.
        load: target in percent; it or a profile must be given. Beside a profile: what that begins at.
        profile: what the load is to be over time; empty: always ``load``.
        of: of what: of one core for each process, of all cores, or of what CPU quotas leave of them; empty: ``core``,
            with ``total`` ``machine``.
        mode: ``add``: burn so much; ``total``: bring the machine to so much, whatever else runs.
        no_reserve: do without the reserve of one core or 10 % of the machine that burners leave free.
        guards: what makes it warn, burn less, pause or end, such as ``"load>8:pause"``.
        yield_to_jobs: burn less by the cores that running jobs use.
        seconds: time limit; 0: the length of the profile, else the default of ``[burners]``; ``inf``: none.
        cpus: cores to pin to, process i to ``cpus[i % len(cpus)]``; empty: not pinned.
        nice: niceness of its processes.
        generator: the kind of load: a key of :data:`stoker.protocol.loads.LOADS`, or ``stress-ng:STRESSOR``.
        bytes: of memory that each process holds, or copies through; 0: not given.
        rate: bytes per second that 100 % is, for each process; 0: not given.
        folder: absolute path; where its processes may write; empty: not given.
        quota: bytes that each process may take on the disk; 0: not given.
        io: what is done with the disk; empty: not given.
        call: what is called again and again, as ``package.module:function``; empty: not given.
    """

    workers: Annotated[int, Meta(ge=0, le=1024)] = 0
    load: Percent = 0.0
    profile: Annotated[str, Meta(max_length=65536)] = ""
    of: Literal["", "core", "machine", "quota"] = ""
    mode: BurnerMode = "add"
    no_reserve: bool = False
    guards: Guards = ()
    yield_to_jobs: bool = False
    seconds: Annotated[float, Meta(ge=0, extra={"unit": "seconds, or inf"})] = 0.0
    cpus: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    nice: Nice = 10
    generator: Annotated[str, Meta(min_length=1, max_length=80)] = "spin"
    bytes: Annotated[int, Meta(ge=0)] = 0
    rate: Annotated[float, Meta(ge=0)] = 0.0
    folder: str = ""
    quota: Annotated[int, Meta(ge=0)] = 0
    io: Literal["", "write", "read", "both"] = ""
    call: str = ""


class ProcessConfig(Keeping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[process.NAME]``: a supervised process: a program or a Python function.

    Args:
        argv: program and arguments; no shell.
        call: ``package.module:function``, importable by the daemon's interpreter.
        args: the function's positional arguments.
        cwd: absolute path of its working directory; empty: the daemon's.
        env: variables laid over the daemon's environment.
        autostart: whether it is started with the daemon, or only when somebody starts it.
        others: see :class:`stoker.protocol.processes.Keeping`.
    """

    argv: Annotated[tuple[str, ...], Meta(min_length=1, max_length=4096)] = ()
    call: str = ""
    args: list[Any] = msgspec.field(default_factory=list)
    cwd: str = ""
    env: dict[str, str] = msgspec.field(default_factory=dict)
    autostart: bool = True


class ForkserversConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[forkservers]``: one per environment that clients brought.

    Args:
        max_idle: forkservers without children that are kept at hand.
        idle_seconds: seconds without a child after which one is retired.
    """

    max_idle: Annotated[int, Meta(ge=0, le=1024)] = 8
    idle_seconds: Seconds = 300.0


class StoreConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[store]``: what is durable.

    Args:
        enabled: whether jobs can be durable; off, nothing is written to the state directory, not even logs.
        file_bytes: arguments and values above this lie in files of their own beside the database.
        reserve_bytes: disk space that is held back so that a full disk still takes how jobs end.
    """

    enabled: bool = True
    file_bytes: Bytes = 64 << 10
    reserve_bytes: Bytes = 4 << 20


class CgroupsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[cgroups]``: the daemon's, the jobs' and the burners' control groups, where a service manager delegates one.

    Args:
        enabled: whether they are made; off, all run in the service's own group.
        daemon_weight: the daemon's share of the processor when the machine is full.
        jobs_weight: that of workers and supervised processes together.
        burners_weight: that of all burners together.
        jobs_memory: bytes that workers and supervised processes may use together; 0: any.
        burners_memory: bytes that all burners may use together; 0: any.
    """

    enabled: bool = True
    daemon_weight: Weight = 1000
    jobs_weight: Weight = 100
    burners_weight: Weight = 50
    jobs_memory: Room = 0
    burners_memory: Room = 0


class TagConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[tag.NAME]``: a limit for all jobs with one tag.

    Args:
        most: how many of them may run at a time, in all pools together.
    """

    most: Annotated[int, Meta(ge=0, le=1_000_000)]


class Tables(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tables of the file."""

    daemon: DaemonConfig = DaemonConfig()
    security: SecurityConfig = SecurityConfig()
    limits: LimitsConfig = LimitsConfig()
    pool: dict[str, PoolConfig] = {}
    burners: BurnersConfig = BurnersConfig()
    burner: dict[str, BurnerConfig] = {}
    process: dict[str, ProcessConfig] = {}
    forkservers: ForkserversConfig = ForkserversConfig()
    store: StoreConfig = StoreConfig()
    cgroups: CgroupsConfig = CgroupsConfig()
    tag: dict[str, TagConfig] = {}
