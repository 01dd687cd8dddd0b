"""Handing in work: one call, many calls, a command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from stoker.batch import Outbox, Template, never_fits
from stoker.comeback import keyed
from stoker.errors import DaemonLost, InvalidParams, MessageTooLarge, NobodyListening, QueueFull, UnknownFunction
from stoker.functions import Packed, Packer, pack_value
from stoker.job import Job, KeptJob
from stoker.protocol.codec import Frame

if TYPE_CHECKING:
    from stoker.sharing import Parcel

_LARGE = 1 << 20
_HEAD_ROOM = 1 << 16


class Submitter:
    """Submits with one set of options. :class:`stoker.Client` is one with the default options.

    Args:
        outbox: where jobs leave.
        packer: how functions travel.
        options: fields of the wire's ``JobSpec``.
        detach: the daemon keeps the results; jobs are known by their ids.
        block: wait for room where the queue is full, and for a daemon that comes back.
    """

    def __init__(
        self, outbox: Outbox, packer: Packer, options: dict[str, Any], *, detach: bool = False, block: bool = True
    ) -> None:
        self._block = block
        self.outbox = outbox
        self._packer = packer
        self._options = options
        self._detach = detach
        self._templates: dict[tuple[str, str], Template] = {}
        self._last: Template | None = None
        """Of the last call: the next one is most often of the same function."""

    def options(  # noqa: PLR0913 - one argument per property of a job
        self,
        *,
        pool: str | None = None,
        name: str | None = None,
        priority: int | None = None,
        timeout: float | None = None,
        keep: float | None = None,
        detach: bool | None = None,
        environment: Mapping[str, Any] | None = None,
        slots: int | None = None,
        tags: Iterable[str] | None = None,
        delay: float | None = None,
        at: float | datetime | None = None,
        after: Iterable[Job | KeptJob | int | str] | None = None,
        after_end: Literal["success", "any"] | None = None,
        retries: int | None = None,
        backoff: float | None = None,
        backoff_most: float | None = None,
        retry_on: Iterable[str | type[BaseException]] | None = None,
        on_crash: Literal["fail", "requeue"] | None = None,
        key: str | None = None,
        durable: bool | None = None,
        block: bool | None = None,
    ) -> Submitter:
        """The same, with other options; what is not named stays.

        Args:
            pool: which pool runs the jobs.
            name: what to call them; None: the function's name.
            priority: higher runs first, -100 to 100.
            timeout: seconds that one attempt may run.
            keep: seconds for which the daemon keeps a result after the job has ended, for others to read.
            detach: True: do not stream results; the daemon keeps them, and the jobs outlive this program.
            environment: where the functions live; None: this program's own environment.
            slots: of how many workers a job takes the place; it gets as many BLAS and OpenMP threads.
            tags: words that ``limit`` can set limits of concurrency for.
            delay: seconds before a job may run.
            at: when it may run: UTC seconds since the epoch, or a datetime; it follows the daemon's clock when that is
                set.
            after: jobs that have to end first, themselves, by id or by key.
            after_end: ``any``: however they end; else each has to end well.
            retries: attempts after the first that failed.
            backoff: seconds before the second attempt, doubled before each further one.
            backoff_most: the most seconds between two attempts.
            retry_on: after which failures: exception classes or their names, ``failed``, ``timed-out``,
                ``worker-died``, ``lost-with-daemon``; None: after any.
            on_crash: ``requeue``: queue it again when the daemon dies while it runs; else it ends as lost-with-daemon.
            key: an idempotency key: while a job with this key is known, a submit with it has that job back.
            durable: True: a job is accepted only once it is on the daemon's disk, and survives the daemon.
            block: False: a full queue raises :class:`~stoker.errors.QueueFull`, and a daemon that is away
                :class:`~stoker.errors.NobodyListening`; else a submit waits for room, and for a daemon that comes back.
        """
        wanted = {
            "pool": pool,
            "name": name,
            "priority": priority,
            "timeout": timeout,
            "ttl": keep,
            "environment": None if environment is None else dict(environment),
            "slots": slots,
            "tags": None if tags is None else list(tags),
            "delay": delay,
            "at": at.timestamp() if isinstance(at, datetime) else at,
            "after": None if after is None else [_reference(job) for job in after],
            "after_end": after_end,
            "retries": retries,
            "backoff": backoff,
            "backoff_most": backoff_most,
            "retry_on": None if retry_on is None else [_failure(kind) for kind in retry_on],
            "on_crash": on_crash,
            "key": key,
            "durable": durable,
        }
        merged = self._options | {key: value for key, value in wanted.items() if value is not None}
        return Submitter(
            self.outbox,
            self._packer,
            merged,
            detach=self._detach if detach is None else detach,
            block=self._block if block is None else block,
        )

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job | KeptJob:
        """Have ``fn(*args, **kwargs)`` called by a worker.

        Returns:
            A job: a :class:`KeptJob` with ``detach``.

        Raises:
            CannotPack: the function or an argument cannot be pickled.
            MessageTooLarge: the arguments are larger than the daemon takes.
            ConnectionFailed: the daemon cannot be reached.
        """
        template = self._last
        if template is None or template.packed is not self._packer.pack(fn):
            template = self._last = self.template(fn, "call")
        if self._detach:
            return self._send_detached(template, pack_value((args, kwargs)))
        packed = self.outbox.pack(template, (args, kwargs))
        if isinstance(packed, bytes) and len(packed) >= _LARGE:
            self._check_size(len(packed))
        try:
            return self.outbox.submit(template, packed)
        except (NobodyListening, DaemonLost) as why:  # raised here: it has not left
            return self._stream(template, packed, why)

    def map(self, fn: Callable[[Any], Any], iterable: Iterable[Any], *, chunksize: int | None = None) -> Iterator[Any]:
        """Call ``fn`` with every item; the values in order.

        The iterable is read in this thread, and never much farther than the values have been taken.

        Args:
            fn: takes one argument.
            iterable: the arguments.
            chunksize: items per job; None: as many as take about ten milliseconds, found while it runs.

        Raises:
            Exception: what the first failing call raised, when its turn comes; also those of :meth:`submit`.
        """
        from stoker.mapping import mapped

        return mapped(self.outbox, self.template(fn, "chunk"), iterable, chunksize)

    def call(self, function: str, /, *args: Any, **kwargs: Any) -> KeptJob:
        """Have a function called that is only named, with MessagePack arguments, as any language can.

        Args:
            function: ``package.module:qualified.name``, importable where the workers are.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        return self._hand_in(
            {"call": {"function": function, "args": list(args), "kwargs": kwargs}},
            packed=Packed(function, function, None),
        )

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> KeptJob:
        """Have a command run. Its output is in :meth:`stoker.Client.logs`, its result is its exit code.

        Args:
            argv: the program and its arguments; no shell.
            cwd: where; None: this program's working directory.
            env: variables laid over the worker's environment.
            stdin: what it reads.
        """
        if isinstance(argv, str | bytes) or not argv:
            raise InvalidParams(
                "argv is not a list of words", hint="give the program and each argument apart; use shlex.split"
            )
        command: dict[str, Any] = {
            "argv": [os.fspath(word) for word in argv],
            "cwd": os.path.abspath(cwd or "."),
            "env": dict(env or {}),
        }
        if stdin is not None:
            command["stdin"] = stdin
        return self._hand_in({"command": command}, packed=Packed("", os.fspath(argv[0]), None))

    def template(self, fn: Callable[..., Any], shape: str, **particulars: Any) -> Template:
        """What jobs of this function have in common under these options; the same object for the same function."""
        packed = self._packer.pack(fn)
        template = self._templates.get((packed.function, shape))
        if template is None:
            if len(self._templates) >= 1000:
                self._templates.clear()
            # ids are asked for early by whoever wants others to read the results
            early = not self._options.keys().isdisjoint(("ttl", "durable", "key"))
            template = Template(packed, shape, self._options, early=early, block=self._block, **particulars)
            self._templates[packed.function, shape] = template
        return template

    def _send_detached(self, template: Template, pickled: bytes) -> KeptJob:
        if len(pickled) >= _LARGE:
            self._check_size(len(pickled))
        work = template.params(len(pickled).to_bytes(4, "little"))["jobs"][0]
        try:
            return self._hand_in(work, (pickled,), packed=template.packed)
        except UnknownFunction:
            self.outbox.upload_again(template.packed)
            return self._hand_in(work, (pickled,), packed=template.packed)

    def _stream(self, template: Template, pickled: bytes | Parcel, away: NobodyListening | DaemonLost) -> Job:
        """Send it when the daemon has come back."""
        while True:
            if not self._block:
                raise away
            self.outbox.connection.await_return(away)
            try:
                return self.outbox.submit(template, pickled)
            except (NobodyListening, DaemonLost) as why:
                away = why

    def _check_size(self, size: int) -> None:
        limits = self.outbox.connection.greeting.get("limits", {})
        limit = limits.get("message_bytes")
        if limit is not None and size > limit - _HEAD_ROOM:
            raise MessageTooLarge(
                f"the arguments take {size} bytes, and the daemon takes messages of {limit}",
                hint="pass a path, or raise the limit in its configuration",
                data={"limit": limit},
            )

    def _upload(self, packed: Packed) -> None:
        try:
            with self.outbox.connection.lock:
                self.outbox.upload(packed)
        except (NobodyListening, DaemonLost) as why:
            if not self._block:
                raise
            self.outbox.connection.await_return(why)
            with self.outbox.connection.lock:
                self.outbox.upload(packed)

    def _hand_in(self, work: dict[str, Any], payload: Sequence[Frame] = (), *, packed: Packed) -> KeptJob:
        connection = self.outbox.connection
        if packed.blob is not None:
            self._upload(packed)
        spec = keyed(self._options | work)
        while True:
            try:
                result, _ = connection.call("submit", {"jobs": [spec]}, payload)
            except QueueFull as why:
                size = sum(memoryview(frame).nbytes for frame in payload)
                if not self._block or never_fits(why, 1, size):
                    raise
                connection.call("room", {"pool": self._options.get("pool", "default"), "bytes": size})
            else:
                return KeptJob(connection, result["jobs"][0]["id"], packed.name)


def _reference(job: Job | KeptJob | int | str) -> int | str:
    return job if isinstance(job, int | str) else job.id


def _failure(kind: str | type[BaseException]) -> str:
    if isinstance(kind, str):
        return kind
    return f"{kind.__module__}.{kind.__qualname__}"
