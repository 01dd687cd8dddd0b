"""One short method per request: the daemon, what runs in it, and the jobs it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from stoker.connection import Connection
from stoker.job import KeptJob

if TYPE_CHECKING:
    from stoker.protocol.models import DaemonStatus, JobInfo
    from stoker.protocol.requests import (
        CancelReply,
        ConfigReply,
        EventsReply,
        Pong,
        ReloadReply,
        Request,
        SetReply,
        ShutdownReply,
        StartReply,
        StopReply,
    )
    from stoker.protocol.states import JobState

R = TypeVar("R")

# stoker.protocol.requests is imported where it is needed: its structs take longer to build than a submit to finish


def ask(connection: Connection, request: Request[R], timeout: float | None = None) -> R:
    """Send a request, wait for its reply.

    Args:
        connection: to whom.
        request: what.
        timeout: seconds; None: the connection's own.

    Raises:
        StokerError: what the daemon answered, or why it did not.
    """
    from stoker.protocol.typed import decode, encode_params

    result, _ = connection.call(request.method, encode_params(request), timeout=timeout)
    reply: R = decode(result, request.reply, what=request.method)
    return reply


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


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

    def events(self, *, after: int = 0, limit: int = 100) -> EventsReply:
        """Recent events, those with a number above ``after``; :meth:`stoker.Client.listen` has the live ones."""
        from stoker.protocol.requests import Events

        return ask(self.connection, Events(after=after, limit=limit))

    def config(self) -> ConfigReply:
        """The configuration in effect."""
        from stoker.protocol.requests import ConfigShow

        return ask(self.connection, ConfigShow())

    def reload(self) -> ReloadReply:
        """Have the configuration file read again.

        Raises:
            ConfigError: it is not valid; nothing of it was applied.
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

    def start_burner(
        self,
        name: str,
        *,
        load: float,
        workers: int = 1,
        seconds: float | None = None,
        cpus: Sequence[int] = (),
        nice: int = 10,
        replace: bool = False,
    ) -> StartReply:
        """Start a burner; returns when its load has been observed.

        Args:
            name: its name.
            load: target of each process in percent of one core.
            workers: number of processes.
            seconds: time limit; None: the configured one, ``math.inf``: none.
            cpus: cores to pin to, in turn; empty: not pinned.
            nice: niceness.
            replace: stop a burner of this name first.

        Raises:
            NameTaken: there is one already.
            StartFailed: the load was not seen.
        """
        from stoker.protocol.requests import StartBurner

        return ask(
            self.connection,
            StartBurner(
                name=name, workers=workers, load=load, seconds=seconds, cpus=tuple(cpus), nice=nice, replace=replace
            ),
        )

    def start_process(
        self,
        name: str,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        restart: Literal["always", "on-failure", "never"] = "on-failure",
        stop_signal: Literal["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGKILL"] = "SIGTERM",
        grace: float = 10.0,
    ) -> StartReply:
        """Start a supervised process.

        Args:
            name: its name.
            argv: program and arguments; no shell.
            cwd: absolute path; None: this program's.
            env: variables laid over the daemon's environment.
            restart: what to do when it ends.
            stop_signal: how to ask it to end.
            grace: seconds from that to SIGKILL.
        """
        from stoker.protocol.requests import StartProcess

        return ask(
            self.connection,
            StartProcess(
                name=name,
                argv=tuple(argv),
                cwd=cwd,
                env=dict(env or {}),
                restart=restart,
                stop_signal=stop_signal,
                grace=grace,
            ),
        )

    def start_pool(self, name: str, *, workers: int | None = None) -> StartReply:
        """Create a pool with so many workers; None: one per usable core."""
        from stoker.protocol.requests import StartPool

        return ask(self.connection, StartPool(name=name, workers=workers))

    def set(
        self,
        name: str,
        *,
        load: float | None = None,
        workers: int | None = None,
        seconds: float | None = None,
        paused: bool | None = None,
    ) -> SetReply:
        """Change a burner or a pool while it runs; None: leave as it is.

        Args:
            name: which.
            load: new target in percent of one core (burners).
            workers: new number of processes.
            seconds: new time limit from now (burners).
            paused: True holds it back, False lets it go on.
        """
        from stoker.protocol.requests import Set

        return ask(
            self.connection, Set(name=name, **_given(load=load, workers=workers, seconds=seconds, paused=paused))
        )

    def stop(self, *names: str, all: bool = False, grace: float | None = None) -> StopReply:  # noqa: A002 - the wire's word
        """Stop burners, processes and pools; returns when the last of their processes is reaped.

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

    def job(self, id: int) -> KeptJob:  # noqa: A002 - the wire's word
        """A handle on a job that the daemon has."""
        return KeptJob(self.connection, id)

    def jobs(
        self, *ids: int, states: Sequence[JobState | str] = (), pool: str | None = None, limit: int = 1000
    ) -> tuple[JobInfo, ...]:
        """Jobs, newest last.

        Args:
            ids: only these.
            states: only jobs in these states.
            pool: only jobs of this pool.
            limit: at most so many, the newest.

        Raises:
            NoSuchJob: one of ``ids`` is not known.
        """
        from stoker.protocol.requests import Jobs
        from stoker.protocol.states import JobState

        wanted = tuple(JobState(state) for state in states)
        return ask(self.connection, Jobs(ids=ids, states=wanted, pool=pool, limit=limit)).jobs

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
