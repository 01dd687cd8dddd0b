"""One short method per request: the daemon, what runs in it, and the jobs it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

from stoker.connection import Connection
from stoker.errors import InvalidParams
from stoker.job import KeptJob

if TYPE_CHECKING:
    from stoker.protocol.models import DaemonStatus, JobInfo
    from stoker.protocol.processes import KeepingOptions
    from stoker.protocol.requests import (
        BurnerHistory,
        CancelReply,
        ConfigDiffReply,
        ConfigReply,
        EventsReply,
        Pong,
        ReloadReply,
        Request,
        RestartReply,
        SetReply,
        ShutdownReply,
        StartReply,
        StopReply,
    )
    from stoker.protocol.states import JobState

R = TypeVar("R")

# stoker.protocol.requests is imported where it is needed: its structs take longer to build than a submit to finish


def ask(connection: Connection, request: Request[R], timeout: float | None = None, payload: Sequence[bytes] = ()) -> R:
    """Send a request, wait for its reply.

    Args:
        connection: to whom.
        request: what.
        timeout: seconds; None: the connection's own.
        payload: frames that travel with it.

    Raises:
        StokerError: what the daemon answered, or why it did not.
    """
    from stoker.protocol.typed import decode, encode_params

    result, _ = connection.call(request.method, encode_params(request), payload, timeout=timeout)
    reply: R = decode(result, request.reply, what=request.method)
    return reply


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _traces(profile: str | None) -> tuple[tuple[tuple[float, float], ...], ...]:
    """The points of the traces that a profile names, read from their files."""
    if profile is None:
        return ()
    from stoker import traces

    return tuple(map(tuple, traces.read(profile)))


class DaemonCalls:
    """The daemon itself."""

    connection: Connection

    def ping(self, timeout: float | None = None) -> Pong:
        """Ask whether the daemon answers; ``timeout`` in seconds."""
        from stoker.protocol.requests import Ping

        return ask(self.connection, Ping(), timeout)

    def status(self, *names: str) -> DaemonStatus:
        """Everything at one moment, or only what has these names."""
        from stoker.protocol.requests import Status

        return ask(self.connection, Status(names=names))

    def events(self, *, after: int = 0, limit: int = 100, topic: str = "") -> EventsReply:
        """The newest ``limit`` of the recent events that have a number above ``after`` and a topic that begins with
        ``topic``; :meth:`stoker.Client.listen` has the live ones.
        """
        from stoker.protocol.requests import Events

        return ask(self.connection, Events(after=after, limit=limit, topic=topic))

    def config(self) -> ConfigReply:
        """The configuration in effect."""
        from stoker.protocol.requests import ConfigShow

        return ask(self.connection, ConfigShow())

    def config_diff(self) -> ConfigDiffReply:
        """What a reload would change, what waits for a new start of the daemon, and what was changed by hand.

        Raises:
            ConfigError: the file is not valid.
        """
        from stoker.protocol.requests import ConfigDiff

        return ask(self.connection, ConfigDiff())

    def reload(self) -> ReloadReply:
        """Have the configuration file read again, and what it changes applied; returns when that is done.

        Raises:
            ConfigError: it is not valid; nothing of it was applied.
            Busy: another one is under way.
        """
        from stoker.protocol.requests import Reload

        return ask(self.connection, Reload())

    def shutdown(self, *, grace: float | None = None) -> ShutdownReply:
        """End the daemon; running jobs get ``grace`` seconds, None: as configured."""
        from stoker.protocol.requests import Shutdown

        return ask(self.connection, Shutdown(grace=grace))


class LoadCalls:
    """What runs: burners, processes, pools."""

    connection: Connection

    def start_burner(  # noqa: PLR0913  # one argument per property of a burner
        self,
        name: str,
        *,
        load: float | None = None,
        profile: str | None = None,
        workers: int | None = None,
        of: Literal["core", "machine", "quota"] | None = None,
        mode: Literal["add", "total"] = "add",
        seconds: float | None = None,
        cpus: Sequence[int] = (),
        nice: int = 10,
        no_reserve: bool = False,
        guards: Sequence[str] = (),
        yield_to_jobs: bool = False,
        replace: bool = False,
        kind: str = "spin",
        **parameters: Any,
    ) -> StartReply:
        """Start a burner; returns when its load has been observed.

        Args:
            name: its name.
            load: target in percent; beside a profile: what it begins at where it does not say.
            profile: what the load is to be over time, such as ``"ramp 0->80 over 5m, hold 10m"``; see docs/profiles.md.
                Traces that it names are read here. Load or profile must be given.
            workers: number of processes; None: 1, or one per core where the load is of the machine or of the quota.
            of: what 100 % is: one core for each process, all cores of the machine, or what the CPU quota leaves of
                them; None: ``core``, in mode ``total`` ``machine``.
            mode: ``add``: burn so much; ``total``: bring the machine to so much, whatever else runs.
            seconds: time limit; None: the length of the profile, else the configured one; ``math.inf``: none.
            cpus: cores to pin to, in turn; empty: not pinned.
            nice: niceness.
            no_reserve: do without the reserve of one core or 10 % of the machine that burners leave free; with it, a
                burner that asks for more burns less, and the reply's ``notes`` say so.
            guards: what makes it warn, burn less, pause or end, such as ``"load>8:pause"``.
            yield_to_jobs: burn less by the cores that running jobs use.
            replace: stop a burner of this name first.
            kind: of load: a key of :data:`stoker.protocol.loads.LOADS`, or ``stress-ng:STRESSOR``.
            parameters: of the kind: ``bytes`` of memory, ``rate`` (bytes per second), ``folder``, ``quota`` (bytes) and
                ``io`` of a disk, ``call`` as ``package.module:function``.

        Raises:
            InvalidParams: the kind does not take such a parameter, or lacks one.
            NameTaken: there is one already.
            BadProfile: the profile, or a trace that it names, can't be followed.
            StartFailed: the load was not seen.
        """
        from stoker.protocol.requests import StartBurner

        return ask(
            self.connection,
            StartBurner(
                name=name,
                workers=workers,
                load=load,
                profile=profile,
                traces=_traces(profile),
                of=of,
                mode=mode,
                seconds=seconds,
                cpus=tuple(cpus),
                nice=nice,
                no_reserve=no_reserve,
                guards=tuple(guards),
                yield_to_jobs=yield_to_jobs,
                replace=replace,
                generator=kind,
                **parameters,
            ),
        )

    def figures(self, *names: str) -> tuple[BurnerHistory, ...]:
        """What burners did in each of the last 120 seconds, oldest first: these, or all.

        Raises:
            NoSuchBurner: one has no burner.
        """
        from stoker.protocol.requests import Figures

        return ask(self.connection, Figures(names=names)).burners

    def start_process(
        self,
        name: str,
        argv: Sequence[str] = (),
        *,
        call: str | None = None,
        args: Sequence[Any] = (),
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        **keeping: Unpack[KeepingOptions],
    ) -> StartReply:
        """Start a supervised process; returns when it is up, which ``ready`` says.

        Args:
            name: its name.
            argv: program and arguments; no shell.
            call: a Python function in the place of a program: ``package.module:name``.
            args: its arguments, MessagePack values.
            cwd: absolute path; None: this program's.
            env: variables laid over the daemon's environment.
            keeping: how it is kept, such as ``restart="always"``; see :class:`stoker.protocol.processes.Keeping`.

        Raises:
            StartFailed: it did not come up; why is in the message, and nothing of it is left.
            NameTaken: something has this name.
            InvalidParams: what is asked for contradicts itself, or names a dependency that there is not.
        """
        from stoker.protocol.requests import CallSpec, StartProcess

        target = None if call is None else CallSpec(function=call, args=list(args))
        request = StartProcess(name=name, argv=tuple(argv), call=target, cwd=cwd, env=dict(env or {}), **keeping)
        return ask(self.connection, request)

    def start(self, name: str) -> StartReply:
        """Start what the daemon knows already and is down: a process that is configured, was given up or has ended, or
        a burner of the configuration; returns when it is up, at once where it is.

        Args:
            name: which; of a process with several instances, or of one of them.

        Raises:
            NotFound: nothing has this name.
            StartFailed: it did not come up.
        """
        from stoker.protocol.requests import StartKnown

        return ask(self.connection, StartKnown(name=name))

    def restart(self, *names: str, grace: float | None = None) -> RestartReply:
        """Stop processes and start them again, the instances of one after each other; returns when all are up.

        Args:
            names: of processes or instances.
            grace: seconds from the stop signal to SIGKILL; None: each one's own.

        Raises:
            NoSuchProcess: one of them does not exist; nothing was done.
            StartFailed: one did not come up again; those after it are left as they are.
        """
        from stoker.protocol.requests import Restart

        return ask(self.connection, Restart(names=names, grace=grace))

    def start_pool(
        self,
        name: str,
        *,
        workers: int | None = None,
        max_jobs: int | None = None,
        memory_bytes: int | None = None,
        initializer: str | None = None,
        initargs: Sequence[Any] = (),
        owned: bool = False,
    ) -> StartReply:
        """Create a pool; returns when its workers are up.

        Args:
            name: its name.
            workers: how many; None: one per usable core.
            max_jobs: jobs that a worker runs before a fresh one takes its place; 0: any number.
            memory_bytes: resident memory that a worker may use before it is killed; 0: any.
            initializer: ``package.module:name``, called in each worker before its first job.
            initargs: its arguments, MessagePack values.
            owned: it ends with this client.

        Raises:
            StartFailed: no worker comes up; what the initializer raised is in the message.
            NameTaken: something has this name.
        """
        from stoker.protocol.requests import CallSpec, Initializer, StartPool

        first = None
        if initializer is not None:
            first = Initializer(call=CallSpec(function=initializer, args=list(initargs)))
        request = StartPool(
            name=name,
            workers=workers,
            max_jobs=max_jobs,
            memory_bytes=memory_bytes,
            initializer=first,
            owned=owned,
        )
        return ask(self.connection, request)

    def set(  # noqa: PLR0913  # one argument per property of a burner
        self,
        name: str,
        *,
        load: float | None = None,
        profile: str | None = None,
        ramp_to: float | None = None,
        over: float | None = None,
        skip: bool | None = None,
        extend: float | None = None,
        workers: int | None = None,
        seconds: float | None = None,
        paused: bool | None = None,
        no_reserve: bool | None = None,
    ) -> SetReply:
        """Change a burner or a pool while it runs; None: leave as it is.

        Args:
            name: which.
            load: new target, for which a profile is left, in percent; of what, stays as it is (burners).
            profile: a profile to follow from now on; its traces are read here (burners).
            ramp_to: leave the profile for a ramp from the present target to this one, in percent (burners).
            over: seconds that the ramp takes; None: 30.
            skip: True goes to the next segment of the profile (burners).
            extend: seconds that its present segment is to last longer (burners).
            workers: new number of processes.
            seconds: new time limit from now (burners).
            paused: True holds it back, False lets it go on; a profile stands still meanwhile.
            no_reserve: True does without the reserve that burners leave free, False keeps it again (burners).
        """
        from stoker.protocol.requests import Set

        changes = _given(
            load=load,
            profile=profile,
            ramp_to=ramp_to,
            over=over,
            skip=skip,
            extend=extend,
            workers=workers,
            seconds=seconds,
            paused=paused,
            no_reserve=no_reserve,
        )
        return ask(self.connection, Set(name=name, traces=_traces(profile), **changes))

    def stop(self, *names: str, all: bool = False, grace: float | None = None) -> StopReply:  # noqa: A002 - the wire's word
        """Stop burners, processes, those that require them, and pools; returns when the last process is reaped.

        Args:
            names: which.
            all: every one, but for the pool ``default``.
            grace: seconds before SIGKILL; None: each one's own.
        """
        from stoker.protocol.requests import Stop

        return ask(self.connection, Stop(names=names, all=all, grace=grace))


class JobCalls:
    """Jobs by their ids, whoever submitted them."""

    connection: Connection

    def job(self, id: int | None = None, *, key: str | None = None) -> KeptJob:  # noqa: A002 - the wire's word
        """A handle on a job that the daemon has.

        Args:
            id: its number.
            key: its idempotency key, in place of that.

        Raises:
            NoSuchJob: no job has this key.
            InvalidParams: not one of the two was given.
        """
        if (id is None) == (key is None):
            raise InvalidParams("a job is found by its id or by its key", hint="give one of the two")
        if id is not None:
            return KeptJob(self.connection, id)
        found, _ = self.connection.call("jobs", {"keys": [key]})
        return KeptJob(self.connection, found["jobs"][0]["id"], found["jobs"][0]["name"])

    def limit(self, tag: str, most: int | None) -> dict[str, int]:
        """Let at most so many jobs with a tag run at a time, in all pools together; None: as many as like.

        Returns:
            Every limit that is set, by tag.
        """
        result, _ = self.connection.call("limit", {"tag": tag, "most": most})
        limits: dict[str, int] = result["limits"]
        return limits

    def drain(self, pool: str = "default", timeout: float | None = None) -> int:
        """Let a pool take no new jobs, and wait until it has none left.

        Args:
            pool: which.
            timeout: seconds; None: for ever. It goes on draining afterwards.

        Returns:
            How many jobs are left: 0 when it is drained.
        """
        params: dict[str, Any] = {"name": pool} if timeout is None else {"name": pool, "timeout": timeout}
        result, _ = self.connection.call("drain", params, timeout=None if timeout is None else timeout + 5)
        left: int = result["left"]
        return left

    def jobs(
        self,
        *ids: int,
        states: Sequence[JobState | str] = (),
        pool: str | None = None,
        tags: Sequence[str] = (),
        newer: float | None = None,
        older: float | None = None,
        limit: int = 1000,
    ) -> tuple[JobInfo, ...]:
        """Jobs, newest last.

        Args:
            ids: only these.
            states: only jobs in these states.
            pool: only jobs of this pool.
            tags: only jobs with all of these tags.
            newer: only jobs that were submitted within the last so many seconds.
            older: only jobs that were submitted longer ago than so many seconds.
            limit: at most so many, the newest.

        Raises:
            NoSuchJob: one of ``ids`` is not known.
        """
        from stoker.protocol.requests import Jobs
        from stoker.protocol.states import JobState

        wanted = tuple(JobState(state) for state in states)
        request = Jobs(ids=ids, states=wanted, pool=pool, tags=tuple(tags), newer=newer, older=older, limit=limit)
        return ask(self.connection, request).jobs

    def wait(self, *ids: int, timeout: float | None = None) -> tuple[JobInfo, ...]:
        """Wait until these jobs have ended, or for ``timeout`` seconds; returns what is known then."""
        from stoker.protocol.requests import Wait

        return ask(self.connection, Wait(ids=ids, timeout=timeout)).jobs

    def result(self, id: int, timeout: float | None = None) -> Any:  # noqa: A002 - the wire's word
        """The value of a job; see :meth:`stoker.job.KeptJob.result`."""
        return self.job(id).result(timeout)

    def cancel(self, *ids: int, grace: float = 2.0) -> CancelReply:
        """Cancel jobs, running ones too; returns when they have ended.

        Args:
            ids: which.
            grace: seconds between SIGINT, SIGTERM and SIGKILL.
        """
        from stoker.protocol.requests import Cancel

        return ask(self.connection, Cancel(ids=ids, grace=grace))

    def retry(self, *ids: int) -> tuple[JobInfo, ...]:
        """Queue jobs again that ended without a value."""
        from stoker.protocol.requests import Retry

        return ask(self.connection, Retry(ids=ids)).jobs

    def logs(self, id: int | str) -> tuple[bytes, bytes]:  # noqa: A002 - the wire's word
        """What a job, or a supervised process, has written so far: stdout and stderr."""
        _, payload = self.connection.call("logs", {"id": id})
        out, err = payload
        return bytes(out), bytes(err)
