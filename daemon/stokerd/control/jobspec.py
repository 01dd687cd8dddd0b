"""From what a client asks for to a batch: every check that a submit goes through."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from stoker.errors import Busy, InvalidParams, NoSuchJob
from stoker.protocol import codec
from stoker.protocol.framing import Descriptor
from stoker.protocol.models import Environment
from stoker.protocol.requests import CallSpec, CommandSpec, Initializer, JobSpec, PickleSpec, Submit, Upload
from stoker.protocol.typed import MAX_REMEMBERED
from stokerd.control.caller import Caller
from stokerd.depot import Lot
from stokerd.pool import messages
from stokerd.pool.batch import Batch, Function, Trace
from stokerd.pool.options import PLAIN, Options
from stokerd.pool.pools import Order
from stokerd.pool.settings import Beginning
from stokerd.pool.tags import of_session
from stokerd.supervisor import Supervisor

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
MAX_PROGRAM = 1 << 21
"""Characters of arguments and variables of one program: a quarter of the usual stack limit, as the kernel has it."""
UPLOADED = "sha256:"
SHOWN_OF_CIRCLE = 20
"""Entries of a circle that are named, at most."""
_SHAPES = {"call": messages.CALL, "item": messages.ITEM, "chunk": messages.CHUNK}


def check_upload(caller: Caller, request: Upload) -> bytes:
    """The code that came with an upload.

    Raises:
        InvalidParams: there is none, or it is not what its name says.
    """
    if len(caller.payload) != 1:
        raise InvalidParams(
            f"upload: {len(caller.payload)} payload frames", hint="send the pickled function as payload frame 0"
        )
    code = bytes(caller.payload[0])
    if request.function != f"sha256:{hashlib.sha256(code).hexdigest()}":
        raise InvalidParams(
            "upload: the payload's digest is not the one in `function`",
            hint="function is sha256: and the hexadecimal SHA-256 of payload frame 0",
        )
    return code


def orders_of(parts: Supervisor, caller: Caller, request: Submit) -> list[Order]:
    """What a submit asks for.

    Raises:
        InvalidParams: an entry can't be run as it is, or entries wait for each other in a circle.
        UnknownFunction: a function was not uploaded.
        NoSuchPool: a pool does not exist.
        NoSuchJob: a job that another comes after is not known.
    """
    batches = [_batch_of(parts, caller, request, spec) for spec in request.jobs]
    _check_count(batches, parts.config.limits.jobs_per_request)
    for spec in request.jobs:
        if spec.after:
            break
    else:
        return [Order(batch) for batch in batches]
    places = _Places(request.jobs)
    _check_circles([places.before(number) for number in range(len(request.jobs))])
    return [
        Order(batch, tuple(_before(parts, spec, batches, places)))
        for batch, spec in zip(batches, request.jobs, strict=True)
    ]


class _Places:
    """Which entries of a request are meant by what stands in ``after``."""

    def __init__(self, specs: Sequence[JobSpec]) -> None:
        self._specs = specs
        self._keys: dict[str, int] = {}
        for number, spec in enumerate(specs):
            if spec.key is not None:
                self._keys.setdefault(spec.key, number)

    def entry(self, name: int | str) -> int | None:
        """The number of the entry that is meant; None where it is a job that is known already.

        Raises:
            InvalidParams: the request has no such entry.
        """
        if isinstance(name, int):
            return None
        if not name.startswith("#"):
            return self._keys.get(name)
        if not name[1:].isdecimal() or int(name[1:]) >= len(self._specs):
            raise InvalidParams(
                f"submit: a job comes after {name!r:.100}, and the request has {len(self._specs)} entries",
                hint="entries are counted from #0",
            )
        return int(name[1:])

    def before(self, number: int) -> list[int]:
        """The entries that one comes after, in order."""
        return sorted({entry for name in self._specs[number].after if (entry := self.entry(name)) is not None})


def _check_circles(entries: Sequence[Sequence[int]]) -> None:
    """Entries that come after each other in a circle would wait for ever.

    Depth first, with a stack of its own: a request may be a chain that is longer than Python's.

    Raises:
        InvalidParams: with the circle.
    """
    done: set[int] = set()
    for start in range(len(entries)):
        path: dict[int, Iterator[int]] = {} if start in done else {start: iter(entries[start])}
        while path:
            number, others = next(reversed(path.items()))
            other = next(others, None)
            if other is None:
                del path[number]
                done.add(number)
            elif other in path:
                raise _circle([*path][[*path].index(other) :])
            elif other not in done:
                path[other] = iter(entries[other])


def _circle(entries: list[int]) -> InvalidParams:
    names = [f"#{entry}" for entry in [*entries, entries[0]]]
    if len(names) > SHOWN_OF_CIRCLE:
        names[SHOWN_OF_CIRCLE - 1 : -1] = ["…"]
    return InvalidParams(
        f"submit: entries wait for each other in a circle: {' → '.join(names)}", hint="break it somewhere"
    )


def _before(parts: Supervisor, spec: JobSpec, batches: Sequence[Batch], places: _Places) -> Iterator[tuple[Batch, int]]:
    for name in spec.after:
        entry = places.entry(name)
        if entry is not None:
            yield from ((batches[entry], index) for index in range(batches[entry].count))
        elif isinstance(name, int):
            yield parts.pools.find(name)
        else:
            known = parts.pools.with_key(name)
            if known is None:
                raise NoSuchJob(
                    f"there is no job with the key {name!r:.100} to come after", hint="`stoker jobs` shows the keys"
                )
            yield from ((known, index) for index in range(known.count))


def _batch_of(parts: Supervisor, caller: Caller, request: Submit, spec: JobSpec) -> Batch:
    """The batch that one entry of a submit stands for."""
    pool = parts.pools.get(spec.pool)
    plan = _plan(spec, can_keep=parts.pools.can_keep)
    options = plan.options
    passing = request.stream and not options.durable and options.key is None
    keep = spec.ttl if spec.ttl is not None else 0.0 if passing else pool.settings.result_ttl
    if spec.pickle is not None:
        made = _pickle(parts, caller, spec.pickle, plan)
        if made.lot is not None and not (passing and keep == 0 and _is_plain(options)):
            raise InvalidParams(
                "submit: a job that may be tried again, or whose value is kept, names a segment",
                hint="send what it is called with in the message",
            )
    elif spec.call is not None:
        made = _call(spec.call)
    else:
        assert spec.command is not None  # noqa: S101 - the third of three
        made = _command(parts, caller, spec.command)
    session = caller.session
    batch = Batch(
        name=spec.name or made.name,
        pool=spec.pool,
        session=session.id,
        form=made.form,
        template=made.template,
        lengths=made.lengths,
        blob=made.blob,
        function=made.function,
        lot=made.lot,
        lays=passing and caller.session.shares and made.form < messages.NAMED and keep == 0 and _is_plain(options),
        environment=_environment(parts, caller, spec),
        priority=spec.priority,
        timeout=spec.timeout,
        keep=keep,
        options=options,
        tags=options.tags if session.most is None else (*options.tags, of_session(session.id)),
        weight=session.weight,
    )
    if spec.trace:
        batch.trace = Trace(parts.clock.monotonic())
    return batch


class _Plan:
    """What follows from an entry of a submit alone, whoever sent it."""

    __slots__ = ("form", "lengths", "options", "size", "spec", "template")

    def __init__(self, spec: JobSpec, options: Options) -> None:
        self.spec, self.options = spec, options
        if spec.pickle is None:
            return
        lengths = spec.pickle.lengths
        if not lengths or len(lengths) % 4:
            raise InvalidParams("submit: lengths is not an array of unsigned 32-bit integers, one per job")
        self.lengths = array("I", lengths)
        """Read by every batch of this kind and written by none."""
        self.size = sum(self.lengths)
        self.form = _SHAPES[spec.pickle.shape]
        self.template = spec.pickle.function.encode()


PLANS = 256
"""Entries of which it is remembered what follows from them; see :func:`stoker.protocol.typed.quick_request`."""
_plans: dict[int, _Plan] = {}


def _plan(spec: JobSpec, *, can_keep: bool) -> _Plan:
    """See :class:`_Plan`.

    Raises:
        InvalidParams: it can't be run, whoever wants it.
    """
    known = _plans.get(id(spec))
    if known is not None and known.spec is spec:
        return known
    given = [name for name in ("call", "pickle", "command") if getattr(spec, name) is not None]
    if len(given) != 1:
        raise InvalidParams(
            f"submit: a job has {' and '.join(given) or 'none of call, pickle and command'}",
            hint="give exactly one of call, pickle and command",
        )
    plan = _Plan(spec, _options(spec, can_keep=can_keep))
    if spec.pickle is not None:
        if not spec.pickle.function.startswith(UPLOADED):
            check_reference(spec.pickle.function)
        if spec.key is None and spec.environment is None and len(spec.pickle.lengths) <= MAX_REMEMBERED:
            if len(_plans) >= PLANS:
                _plans.clear()
            _plans[id(spec)] = plan
    return plan


_SIMPLE = {"call", "pickle", "command", "name", "pool", "priority", "timeout", "environment", "ttl", "trace"}
_BEYOND = tuple(name for name in JobSpec.__struct_fields__ if name not in _SIMPLE)
_DEFAULTS = {name: getattr(JobSpec(), name) for name in _BEYOND}


def _options(spec: JobSpec, *, can_keep: bool) -> Options:
    """What was asked for beyond what is run; ``can_keep`` is whether this daemon keeps anything."""
    if spec.command is None and all(getattr(spec, name) == default for name, default in _DEFAULTS.items()):
        return PLAIN
    if spec.delay is not None and spec.at is not None:
        raise InvalidParams("submit: a job has both delay and at", hint="give one of them")
    if len(set(spec.tags)) < len(spec.tags):
        raise InvalidParams("submit: a tag is given twice", hint="give each once")
    durable = spec.durable
    if durable is None:
        durable = "if-possible" if spec.command is not None or spec.key is not None else False
    return Options(
        slots=spec.slots,
        tags=spec.tags,
        delay=spec.delay,
        at=spec.at,
        after=tuple(name for name in spec.after if isinstance(name, int)) or ((0,) if spec.after else ()),
        after_any=spec.after_end == "any",
        retries=spec.retries,
        backoff=spec.backoff,
        backoff_most=spec.backoff_most,
        retry_on=spec.retry_on,
        requeue=spec.on_crash == "requeue",
        key=spec.key,
        durable=durable if isinstance(durable, bool) else can_keep,
    )


def _check_count(batches: Sequence[Batch], most: int) -> None:
    """A request must not hold more jobs than are allowed at once.

    Raises:
        InvalidParams: it does.
    """
    count = sum(batch.count for batch in batches)
    if count > most:
        raise InvalidParams(
            f"submit: {count} jobs in one request, at most {most} are allowed",
            hint="send them in several requests, or raise limits.jobs_per_request",
        )


class _Made:
    """What the three forms come down to."""

    __slots__ = ("blob", "form", "function", "lengths", "lot", "name", "template")

    def __init__(
        self,
        name: str,
        form: int,
        template: bytes,
        lengths: array[int],
        blob: bytes | memoryview,
        function: Function | None = None,
        lot: Lot | None = None,
    ) -> None:
        self.lot = lot
        self.name, self.form, self.template = name, form, template
        self.lengths, self.blob, self.function = lengths, blob, function


def check_reference(reference: str) -> None:
    """A function's name must read ``module:name``.

    Raises:
        InvalidParams: it does not.
    """
    if _REFERENCE.fullmatch(reference):
        return
    module, _, name = reference.rpartition(".")
    guess = f'did you mean "{module}:{name}"? ' if module and ":" not in reference and name.isidentifier() else ""
    raise InvalidParams(
        f"submit: {reference!r:.100} does not name a function",
        hint=f"{guess}a function is named module:name, for instance math:factorial",
    )


def beginning_of(parts: Supervisor, caller: Caller, asked: Initializer) -> Beginning:
    """What the workers of a pool are to begin with.

    Raises:
        InvalidParams: it is not one call of one function.
        UnknownFunction: it was not uploaded.
    """
    if (asked.call is None) == (asked.pickle is None):
        raise InvalidParams("start: an initializer is exactly one of call and pickle")
    if asked.call is not None:
        made = _call(asked.call)
    else:
        assert asked.pickle is not None  # noqa: S101 - the other of the two
        made = _pickle(parts, caller, asked.pickle, _plan(JobSpec(pickle=asked.pickle), can_keep=False))
    if len(made.lengths) != 1 or made.form not in (messages.CALL, messages.NAMED):
        raise InvalidParams("start: an initializer is called once", hint="give it one list of arguments, shape call")
    function = made.function or Function(made.template, b"", made.name)
    return Beginning(form=made.form, function=function, payload=bytes(made.blob))


def _call(spec: CallSpec) -> _Made:
    check_reference(spec.function)
    if spec.many is None:
        packed = [codec.pack([spec.args, spec.kwargs])]
    elif spec.args:
        raise InvalidParams("submit: a call has both args and many", hint="many holds the arguments of every job")
    elif not spec.many:
        raise InvalidParams("submit: many is empty", hint="give it one list of arguments per job")
    else:
        packed = [codec.pack([args, spec.kwargs]) for args in spec.many]
    lengths = array("I", map(len, packed))
    return _Made(spec.function, messages.NAMED, spec.function.encode(), lengths, b"".join(packed))


def _pickle(parts: Supervisor, caller: Caller, spec: PickleSpec, plan: _Plan) -> _Made:
    if spec.payload >= len(caller.payload):
        raise InvalidParams(
            f"submit: payload frame {spec.payload} is named, and {len(caller.payload)} came with the message"
        )
    frame = caller.payload[spec.payload]
    blob = frame if isinstance(frame, bytes) else memoryview(frame)
    size = blob.nbytes if isinstance(blob, memoryview) else len(blob)
    if plan.size != size:
        raise InvalidParams(f"submit: the lengths add up to {plan.size}, the payload has {size} bytes")
    function = None
    name = spec.function
    if name.startswith(UPLOADED):
        function = parts.functions.find(caller.session.id, name)
        name = function.name or name[:19]
    lot = None if spec.segment is None else _segment(parts, caller, spec.segment, len(plan.lengths))
    return _Made(name, plan.form, plan.template, plan.lengths, blob, function, lot)


def _segment(parts: Supervisor, caller: Caller, number: int, jobs: int) -> Lot:
    """The segment in which what a job is called with lies."""
    session = caller.session
    if not session.shares or jobs != 1:
        raise InvalidParams(
            f"submit: a segment is named by a session that shares no memory, or for {jobs} jobs",
            hint="ask for `share` first, over the direct channel; a segment is one job's",
        )
    passed = [frame for frame in caller.payload if isinstance(frame, Descriptor)]
    if not passed:
        return parts.depot.find(session.id, number)
    fd, passed[0].fd = passed[0].fd, -1  # it is the depot's now
    return parts.depot.adopt(session.id, number, fd)


def _is_plain(options: Options) -> bool:
    """Whether an attempt of a job is its only one: what lies in shared memory may be written to by the first."""
    return not (options.durable or options.retries or options.requeue or options.key)


def _command(parts: Supervisor, caller: Caller, spec: CommandSpec) -> _Made:
    for text in (*spec.argv, spec.cwd or "", *spec.env, *spec.env.values()):
        if "\0" in text:
            raise InvalidParams(f"submit: {text!r:.100} holds a zero byte, which no argument or path can")
    if not spec.argv[0]:
        raise InvalidParams("submit: the program's name is empty", hint="argv is the program and its arguments")
    _check_variables("submit", spec.env)
    if spec.cwd is not None and not Path(spec.cwd).is_absolute():
        raise InvalidParams(f"submit: cwd {spec.cwd!r:.100} is not an absolute path")
    own = caller.session.environment
    packed = codec.pack(
        {
            "argv": spec.argv,
            "cwd": spec.cwd or (own.cwd if own is not None else parts.forker.default.cwd),
            "env": spec.env,
            "stdin": spec.stdin,
        }
    )
    check_size("command", (*spec.argv, *spec.env, *spec.env.values()))
    return _Made(Path(spec.argv[0]).name, messages.COMMAND, b"", array("I", (len(packed),)), packed)


def _environment(parts: Supervisor, caller: Caller, spec: JobSpec) -> Environment:
    if spec.environment is not None:
        return checked(spec.environment)
    if spec.command is not None or caller.session.environment is None:
        return parts.forker.default
    return caller.session.environment


def checked(environment: Environment) -> Environment:
    """The environment, if a forkserver could be started with it as it stands.

    Raises:
        InvalidParams: a path is not absolute, something holds a zero byte, or a variable can't have its name.
    """
    for what, path in (("executable", environment.executable), ("cwd", environment.cwd)):
        if not Path(path).is_absolute():
            raise InvalidParams(f"environment: {what} {path!r:.100} is not an absolute path")
    texts = (environment.executable, environment.cwd, *environment.path, *environment.env, *environment.env.values())
    if any("\0" in text for text in texts):
        raise InvalidParams("environment: a path or variable holds a zero byte")
    check_size("environment", texts)
    _check_variables("environment", environment.env)
    return msgspec.structs.replace(environment, executable=interpreter(environment.executable))


def interpreter(executable: str) -> str:
    """The one name of an interpreter that has several in its directory (python, python3, python3.11).

    So a script and the command line of one virtual environment share their workers.
    """
    usual = Path(executable).with_name("python3")
    try:
        return str(usual) if usual.samefile(executable) else executable
    except OSError:
        return executable


def check_count(what: str, there: int, most: int) -> None:
    """Refuse one more of something of which there are as many as may be.

    Raises:
        Busy: there are; the limit has the same name as ``what``.
    """
    if there >= most:
        raise Busy(
            f"there are {there} {what}, and no more are allowed",
            hint=f"stop some, or raise limits.{what}",
            data={"limit": most},
        )


def check_size(what: str, texts: Iterable[str]) -> None:
    """Refuse what the kernel would refuse to start a program with.

    Args:
        what: what is checked.
        texts: arguments and variables.

    Raises:
        InvalidParams: they are too large together; see execve(2), "Limits on size of arguments and environment".
    """
    size = sum(map(len, texts))
    if size > MAX_PROGRAM:
        raise InvalidParams(
            f"{what}: {size} characters of arguments, paths and variables, at most {MAX_PROGRAM} are allowed",
            hint="pass what is large as an argument of a function, on stdin or in a file",
        )


def _check_variables(what: str, names: Iterable[str]) -> None:
    for name in names:
        if not name or "=" in name:
            raise InvalidParams(f"{what}: {name[:80]!r} can't be the name of an environment variable")
