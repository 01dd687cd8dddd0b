"""What anybody may have run here, whatever their role: an allow-list of functions and programs, and no pickles.

One place for every way in which code comes in. Where everything is allowed, which is the default, nothing is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from msgspec.structs import replace

from stoker.errors import PermissionDenied
from stoker.protocol import guards
from stoker.protocol.objects import OBJECT_REQUESTS
from stoker.protocol.requests import (
    CallSpec,
    Hello,
    JobSpec,
    StartBurner,
    StartPool,
    StartProcess,
    Submit,
    Upload,
)
from stokerd.config import SecurityConfig

EVERYTHING = ("*",)
Handler = Callable[[Any, Any, Any], Any]


class Permits:
    """See the module.

    Args:
        config: ``allow_functions``, ``allow_commands``, ``pickle`` and ``environments``.
    """

    def __init__(self, config: SecurityConfig) -> None:
        self._config = config
        self._checks: dict[type, Callable[[Any], Any]] = {}
        if not config.pickle:
            items = [kind for kind in OBJECT_REQUESTS if {"encoding", "encodings"} & set(kind.__struct_fields__)]
            self._checks |= {Upload: self._upload, **dict.fromkeys(items, self._items)}
        if self._narrow:
            self._checks |= {
                Hello: self._hello,
                Submit: self._submit,
                StartBurner: self._burner,
                StartProcess: self._process,
                StartPool: self._pool,
            }

    @property
    def _narrow(self) -> bool:
        config = self._config
        everything = (config.allow_functions, config.allow_commands) == (EVERYTHING, EVERYTHING)
        return not (everything and config.pickle and config.environments)

    def guarded(self, handlers: Mapping[type, Handler]) -> dict[type, Handler]:
        """The handlers, those with a check before them where there is something to check."""
        return {
            kind: _after(check, handler) if (check := self._checks.get(kind)) else handler
            for kind, handler in handlers.items()
        }

    # --- one check for each request: what is passed on, perhaps with something left out --------------------

    def _hello(self, request: Hello) -> Hello:
        return request if self._config.environments else replace(request, environment=None)

    def _upload(self, request: Upload) -> Upload:
        self._pickle("upload")
        return request

    def _items(self, request: Any) -> Any:
        if getattr(request, "encoding", "") == "pickle" or "pickle" in getattr(request, "encodings", ()):
            self._pickle(request.method)
        return request

    def _submit(self, request: Submit) -> Submit:
        return replace(request, jobs=[self._job(spec) for spec in request.jobs])

    def _job(self, spec: JobSpec) -> JobSpec:
        if spec.pickle is not None:
            self._pickle("submit")
            self._function(spec.pickle.function)
        if spec.call is not None:
            self._function(spec.call.function)
        if spec.command is not None:
            self._command(spec.command.argv)
            self._variables("submit", spec.command.env)
        if self._config.environments:
            return spec
        command = spec.command and replace(spec.command, cwd=None)
        return replace(spec, environment=None, command=command)

    def _burner(self, request: StartBurner) -> StartBurner:
        if request.call is not None:
            self._function(request.call)
        if request.generator.startswith("stress-ng:"):
            self._command(["stress-ng"])
        for text in request.guards:
            if argv := guards.parse(text).argv:
                self._command(list(argv))
        if request.folder is not None and not self._config.environments:
            raise _denied("a burner that writes to a folder of the client's choice", "environments")
        return request

    def _process(self, request: StartProcess) -> StartProcess:
        for argv in filter(None, (request.argv, request.ready_command)):
            self._command(list(argv))
        if request.pickle is not None:
            self._pickle("start process")
        self._call(request.call)
        self._variables("start process", request.env)
        return request if self._config.environments else replace(request, cwd=None)

    def _pool(self, request: StartPool) -> StartPool:
        if request.initializer is not None:
            if request.initializer.pickle is not None:
                self._pickle("start pool")
            self._call(request.initializer.call)
        return request

    # --- what is allowed --------------------

    def _call(self, call: CallSpec | None) -> None:
        if call is not None:
            self._function(call.function)

    def _function(self, name: str) -> None:
        if not any(fnmatchcase(name, pattern) for pattern in self._config.allow_functions):
            raise _denied(f"the function {name!r:.200}", "allow_functions")

    def _command(self, argv: list[str]) -> None:
        if not any(fnmatchcase(argv[0], pattern) for pattern in self._config.allow_commands):
            raise _denied(f"the program {argv[0]!r:.200}", "allow_commands")

    def _pickle(self, what: str) -> None:
        if not self._config.pickle:
            raise PermissionDenied(
                f"{what}: this daemon takes no pickles",
                hint="call functions by name with plain arguments: `stoker submit package.module:function 1`",
                data={"key": "security.pickle"},
            )

    def _variables(self, what: str, env: dict[str, str]) -> None:
        if env and not self._config.environments:
            raise _denied(f"{what}: variables of the client's own", "environments")


def _after(check: Callable[[Any], Any], handler: Handler) -> Handler:
    def checked(parts: Any, caller: Any, request: Any) -> Any:
        return handler(parts, caller, check(request))

    return checked


def _denied(what: str, key: str) -> PermissionDenied:
    return PermissionDenied(
        f"{what}: not allowed by this daemon's configuration",
        hint=f"`security.{key}` says what is; ask whoever runs the daemon",
        data={"key": f"security.{key}"},
    )
