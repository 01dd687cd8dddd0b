"""From a message to its answer: decode, find the handler, call it, encode what it says. Knows no socket.

Whatever comes in, there is exactly one answer, or a stream of them whose last is marked: never a crash, never silence.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stoker.errors import (
    CannotPack,
    InternalError,
    MalformedMessage,
    MessageTooLarge,
    PermissionDenied,
    StokerError,
    TooManyRequests,
)
from stoker.protocol import codec, typed
from stoker.protocol.codec import Frame
from stoker.protocol.methods import least_role
from stoker.protocol.models import Model
from stoker.protocol.roles import Role
from stokerd.control.caller import Answer, Caller, Session, Stream
from stokerd.promise import Promise, internal_error

Handler = Callable[[Any, Caller, Any], Any]
Send = Callable[[Sequence[Frame]], None]
"""Sends one reply to whoever asked."""


class _Errors:
    """Sends what went wrong to somebody who wants to hear of nothing else."""

    __slots__ = ("_send",)

    def __init__(self, send: Send) -> None:
        self._send = send

    def __call__(self, frames: Sequence[Frame]) -> None:
        """An error; or a part of a stream, which is sent in any case."""
        self._send(frames)


class Dispatcher:
    """See the module.

    Args:
        handlers: by request type.
        parts: what is handed to every handler.
        head_bytes: the largest head that is looked at.
        frames: the most payload frames a message may have.
        message_bytes: the largest message.
        waiting: the most requests of one session that wait for their answer.
        on_bug: told of the traceback when a handler fails in a way that it should not.
    """

    def __init__(
        self,
        handlers: Mapping[type, Handler],
        parts: Any,
        *,
        head_bytes: int,
        frames: int,
        message_bytes: int,
        waiting: int = 100_000,
        on_bug: Callable[[str, str], None],
    ) -> None:
        self._handlers = {kind: (least_role(kind), handler) for kind, handler in handlers.items()}
        self._parts = parts
        self._head_bytes, self._frames, self._message_bytes = head_bytes, frames, message_bytes
        self._most_waiting = waiting
        self._on_bug = on_bug
        self._waiting: dict[str, set[Promise[Any]]] = {}

    def take(self, session: Session, frames: Sequence[Frame], send: Send) -> None:
        """Answer one message, delimiter first; at once, or when the answer is known."""
        request_id: int | str | None = None
        quiet = False
        try:
            quick = self._quick(frames)
            if quick is not None:
                request_id, request, quiet = quick
                payload = frames[2:]
                self._check_size(frames)
            else:
                head, payload = codec.decode_head(frames, limit=self._head_bytes)
                request_id = typed.request_id(head)
                self._check_size(frames)
                request = typed.decode_request(head)
                quiet = head.get("quiet", False)
            least, handler = self._handlers[type(request)]
            if session.role < least:
                raise _denied(session, least, request)
            answer = handler(self._parts, Caller(session, payload), request)
        except StokerError as error:
            self._refuse(request_id, error, send)
        except Exception as bug:  # whatever it is, the asker gets an answer and the daemon lives
            self._refuse(request_id, internal_error(bug), send)
        else:
            self._answer(session, request_id, answer, send if not quiet else _Errors(send))

    def _quick(self, frames: Sequence[Frame]) -> tuple[int | str, Any, bool] | None:
        if len(frames) < 2 or frames[0] or len(frames[1]) > self._head_bytes:
            return None
        return typed.quick_request(frames[1])

    def refuse(self, frames: Sequence[Frame], error: StokerError, send: Send) -> None:
        """Answer a message that is not taken.

        Args:
            frames: delimiter and head, as far as they are known; the answer has the id that is found there.
            error: why.
            send: see :meth:`take`.
        """
        request_id: int | str | None = None
        with contextlib.suppress(StokerError):
            request_id = typed.request_id(codec.decode_head(frames, limit=self._head_bytes)[0])
        self._refuse(request_id, error, send)

    def session_closed(self, session: Session) -> None:
        """Nobody waits for this session's answers any more."""
        for promise in list(self._waiting.pop(session.id, ())):  # each takes itself out as it is abandoned
            promise.abandon()

    def refuse_all(self, error: StokerError, session: Session | None = None) -> None:
        """Whoever still waits for an answer gets this one; with ``session``, those who wait there."""
        those = self._waiting.values() if session is None else [self._waiting.get(session.id, set())]
        for waiting in list(those):
            for promise in list(waiting):
                promise.reject(error)

    def _check_size(self, frames: Sequence[Frame]) -> None:
        if len(frames) > self._frames + 2:
            raise MalformedMessage(
                f"{len(frames)} frames, at most {self._frames + 2} are allowed",
                hint="an empty delimiter, one MessagePack map, then payload frames",
            )
        size = len(frames[1])
        for frame in frames[2:]:
            size += frame.nbytes if isinstance(frame, memoryview) else len(frame)
        if size > self._message_bytes:
            raise MessageTooLarge(
                f"the message has {size} bytes, at most {self._message_bytes} are allowed",
                hint="send less at once, or raise limits.message_bytes",
                data={"limit": self._message_bytes},
            )

    def _answer(self, session: Session, request_id: int | str | None, answer: Any, send: Send) -> None:
        if isinstance(answer, Promise):
            if session.due >= self._most_waiting:
                answer.abandon()
                self._refuse(request_id, _too_many(session.due), send)
                return
            self._park(session, request_id, answer, send)
        elif isinstance(answer, Stream):
            answer.start(lambda part, payload, more: send(codec.encode_reply(request_id, part, payload, more=more)))
        elif type(send) is not _Errors:
            send(self._encoded(request_id, answer))

    def _encoded(self, request_id: int | str | None, answer: Model | Answer) -> Sequence[Frame]:
        reply, payload = (answer.reply, answer.payload) if isinstance(answer, Answer) else (answer, ())
        try:
            return typed.encode_result(request_id, reply, payload)
        except StokerError as error:
            return self._refusal(request_id, error)
        except Exception as bug:  # likewise; it may have been settled deep inside a part
            return self._refusal(request_id, internal_error(bug))

    def _park(self, session: Session, request_id: int | str | None, promise: Promise[Any], send: Send) -> None:
        waiting = self._waiting.setdefault(session.id, set())
        waiting.add(promise)
        session.due += 1

        def settled(settled_promise: Promise[Any]) -> None:
            session.due -= 1
            waiting.discard(settled_promise)
            if not waiting and self._waiting.get(session.id) is waiting:
                del self._waiting[session.id]
            if settled_promise.error is not None:
                self._refuse(request_id, settled_promise.error, send)
            else:
                self._answer(session, request_id, settled_promise.value(), send)

        promise.when_settled(settled)

    def _refuse(self, request_id: int | str | None, error: StokerError, send: Send) -> None:
        send(self._refusal(request_id, error))

    def _refusal(self, request_id: int | str | None, error: StokerError) -> Sequence[Frame]:
        if isinstance(error, InternalError):
            bug = error.__cause__ or error
            self._on_bug(f"{type(bug).__name__}: {bug}", "".join(traceback.format_exception(bug)))
        try:
            return codec.encode_error(request_id, error.to_wire())
        except CannotPack:  # text of the system's with bytes that are not UTF-8, a path for instance
            plain = error.message.encode("utf-8", "backslashreplace").decode()
            return codec.encode_error(request_id, {"code": error.wire_code, "message": plain})


def _too_many(waiting: int) -> TooManyRequests:
    return TooManyRequests(
        f"{waiting} requests of this client wait for their answers, and no more may",
        hint="wait for some, or raise limits.session_requests",
        data={"limit": waiting},
    )


def _denied(session: Session, least: Role, request: Any) -> PermissionDenied:
    kind = request.__struct_config__.tag
    what = f"{request.method} {kind}" if kind else request.method
    return PermissionDenied(
        f"{what} takes the role {least.word}, and this client has the role {session.role.word}",
        hint=f"have its key authorized again with --role {least.word}"
        if session.key
        else "use the control socket, or an account that may; `security.peer_role` and `security.admins` say which",
        data={"role": session.role.word, "needed": least.word},
    )
