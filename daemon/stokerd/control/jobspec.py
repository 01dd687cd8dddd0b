"""From what a client asks for to a batch: every check that a submit goes through."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from stoker.errors import InvalidParams
from stoker.protocol import codec
from stoker.protocol.models import Environment
from stoker.protocol.requests import CallSpec, CommandSpec, JobSpec, PickleSpec, Submit, Upload
from stokerd.control.caller import Caller
from stokerd.pool import messages
from stokerd.pool.batch import Batch, Function
from stokerd.supervisor import Supervisor

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
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


def batch_of(parts: Supervisor, caller: Caller, request: Submit, spec: JobSpec) -> Batch:
    """The batch that one entry of a submit stands for.

    Raises:
        InvalidParams: it can't be run as it is.
        UnknownFunction: its function was not uploaded.
        NoSuchPool: its pool does not exist.
    """
    given = [name for name in ("call", "pickle", "command") if getattr(spec, name) is not None]
    if len(given) != 1:
        raise InvalidParams(
            f"submit: a job has {' and '.join(given) or 'none of call, pickle and command'}",
            hint="give exactly one of call, pickle and command",
        )
    pool = parts.pools.get(spec.pool)
    keep = spec.ttl if spec.ttl is not None else 0.0 if request.stream else pool.settings.result_ttl
    if spec.call is not None:
        made = _call(spec.call)
    elif spec.pickle is not None:
        made = _pickle(parts, caller, spec.pickle)
    else:
        assert spec.command is not None  # noqa: S101 - the third of three
        made = _command(parts, caller, spec.command)
    return Batch(
        name=spec.name or made.name,
        pool=spec.pool,
        session=caller.session.id,
        form=made.form,
        template=made.template,
        lengths=made.lengths,
        blob=made.blob,
        function=made.function,
        environment=_environment(parts, caller, spec),
        priority=spec.priority,
        timeout=spec.timeout,
        keep=keep,
    )


def check_count(batches: Sequence[Batch], most: int) -> None:
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

    __slots__ = ("blob", "form", "function", "lengths", "name", "template")

    def __init__(
        self,
        name: str,
        form: int,
        template: bytes,
        lengths: array[int],
        blob: bytes | memoryview,
        function: Function | None = None,
    ) -> None:
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


def _pickle(parts: Supervisor, caller: Caller, spec: PickleSpec) -> _Made:
    if spec.payload >= len(caller.payload):
        raise InvalidParams(
            f"submit: payload frame {spec.payload} is named, and {len(caller.payload)} came with the message"
        )
    frame = caller.payload[spec.payload]
    blob = frame if isinstance(frame, memoryview) else memoryview(frame)
    if not spec.lengths or len(spec.lengths) % 4:
        raise InvalidParams("submit: lengths is not an array of unsigned 32-bit integers, one per job")
    lengths = array("I", spec.lengths)
    if sum(lengths) != blob.nbytes:
        raise InvalidParams(f"submit: the lengths add up to {sum(lengths)}, the payload has {blob.nbytes} bytes")
    function = None
    name = spec.function
    if spec.function.startswith("sha256:"):
        function = parts.functions.find(caller.session.id, spec.function)
        name = function.name or spec.function[:19]
    else:
        check_reference(spec.function)
    return _Made(name, _SHAPES[spec.shape], spec.function.encode(), lengths, blob, function)


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


def _check_variables(what: str, names: Iterable[str]) -> None:
    for name in names:
        if not name or "=" in name:
            raise InvalidParams(f"{what}: {name[:80]!r} can't be the name of an environment variable")
