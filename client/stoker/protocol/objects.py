"""The shared-object calls: queues, locks and values that live in the daemon.

Theory of operation, for writers of clients in any language:

- An object is made, or found, with ``object.open``, and addressed by ``id`` ever after. A named object's id is its
  name, so ``{"method": "lock.acquire", "params": {"id": "db"}}`` works as soon as somebody has opened it. An anonymous
  object has an id that is made up (``~`` and hexadecimal digits) and lives as long as a session that has used it.
- ``holder`` tells apart the processes and threads behind one session: any string, ``"1234:1"`` for instance. It owns
  locks and borrows queue items. A client with one thing going on at a time leaves it out.
- What belongs to somebody (locks, items on loan, anonymous objects) needs a session: send ``hello`` first.
- Values are opaque: they travel as payload frames, each with an ``encoding``, ``msgpack`` (any language) or
  ``pickle`` (Python). The daemon never looks inside. Several values are one frame, their concatenation, and
  ``lengths`` in bytes; without ``lengths`` each frame is one value.
- ``timeout`` is in seconds: 0 does not wait, absent waits for ever. Every wait is answered: with what it waited for,
  with the fact that the time is over, or with ``object-dropped``.
- ``ticket`` names one waiting request (a number that the client has not used before, not 0), so that
  ``object.withdraw`` can call it back.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from stoker.protocol.models import Name
from stoker.protocol.requests import Reply, Request

R = TypeVar("R")

ObjectId = Annotated[str, Meta(min_length=1, max_length=160)]
Timeout = Annotated[float, Meta(ge=0, le=1e9)]
Ticket = Annotated[int, Meta(ge=0)]
LoanNumber = Annotated[int, Meta(ge=0)]
Encoding: TypeAlias = Literal["msgpack", "pickle"]
Kind: TypeAlias = Literal[
    "queue",
    "lock",
    "rlock",
    "semaphore",
    "bounded-semaphore",
    "event",
    "condition",
    "barrier",
    "value",
    "array",
    "dict",
    "list",
    "namespace",
    "pipe",
]
PipeEnd: TypeAlias = Literal["a", "b"]
Lengths = Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(max_length=1_000_000)]
Index = Annotated[int, Meta(ge=0)]
TypeCode: TypeAlias = Literal["b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "f", "d", "raw"]


class ObjectRequest(Request[R], Generic[R], kw_only=True, frozen=True):
    """The base of every shared-object call.

    Args:
        holder: which process or thread of the session asks.
    """

    holder: Annotated[str, Meta(max_length=128)] = ""


class Done(Reply, kw_only=True, frozen=True):
    """It is done."""


class ValuesReply(Reply, omit_defaults=True, kw_only=True, frozen=True):
    """Values, concatenated in payload frame 0.

    ``lengths`` says where each ends and ``encodings`` how each is encoded; where all are encoded alike ``encodings``
    has one entry for all of them. ``missing`` lists the positions of keys that were asked for and are not there.
    """

    lengths: tuple[int, ...] = ()
    encodings: tuple[Encoding, ...] = ()
    missing: tuple[int, ...] = ()
    version: int = 0


# --- any object ----------------------------------------------------------------------------------------------------


class ObjectOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an object is like. Absent means: the default when it is made, and anything when it is found.

    Args:
        maxsize: (queue) most items that wait in it; 0: no such bound.
        value: (semaphore, bounded-semaphore) permits at first, default 1.
        parties: (barrier) how many must arrive.
        action: (barrier) the last to arrive does something before the others go on; see ``barrier.wait``.
        typecode: (value, array) type of its items, as in Python's ``array``, or ``raw``; default ``q``.
        itemsize: (value, array) bytes of one item, for ``raw``.
        length: (array) number of items.
        lock: (condition) the id of an existing lock or rlock to use; a condition, value or array without it gets
            an rlock of its own, whose id is in the reply.
        robust: (lock, rlock, bounded-semaphore) what a holder has is freed when it dies; default true.
    """

    maxsize: Annotated[int, Meta(ge=0, le=2**31)] | None = None
    value: Annotated[int, Meta(ge=0, le=2**31)] | None = None
    parties: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    action: bool | None = None
    typecode: TypeCode | None = None
    itemsize: Annotated[int, Meta(ge=1, le=2**31)] | None = None
    length: Annotated[int, Meta(ge=0, le=2**31)] | None = None
    lock: ObjectId | None = None
    robust: bool | None = None


class OpenReply(Reply, kw_only=True, frozen=True):
    """The object is there. ``created``: it was made by this call; ``lock``: the id of the lock that goes with it."""

    id: str
    kind: str
    name: str | None
    created: bool
    lock: str | None
    options: ObjectOptions


class OpenObject(ObjectRequest[OpenReply], kw_only=True, frozen=True):
    """Make an object, or find the one that has the name already.

    Payload frame 0, if there is one, is what a value or an array holds at first, as in ``array.set``.

    Errors: ``name-taken`` where the name belongs to an object of another kind or with other options.

    Args:
        kind: what it is.
        name: its name; None: an anonymous object, which lives as long as the last session that used it.
            A named object lives until it is dropped or the daemon ends.
        options: what it is like.
        release: ids of anonymous objects that this session has no more use for; spares the client a call.
    """

    method: ClassVar[str] = "object.open"
    reply: ClassVar[type] = OpenReply

    kind: Kind
    name: Name | None = None
    options: ObjectOptions = ObjectOptions()
    release: tuple[ObjectId, ...] = ()


class DropReply(Reply, kw_only=True, frozen=True):
    """``dropped`` is False where there was no such object, which is fine."""

    dropped: bool


class DropObject(ObjectRequest[DropReply], kw_only=True, frozen=True):
    """Remove an object for everybody; whoever waits on it gets the error ``object-dropped``."""

    method: ClassVar[str] = "object.drop"
    reply: ClassVar[type] = DropReply

    id: ObjectId


class ReleaseObjects(ObjectRequest[Done], kw_only=True, frozen=True):
    """This session has no more use for these; anonymous ones that nobody else uses are dropped."""

    method: ClassVar[str] = "object.release"
    reply: ClassVar[type] = Done

    ids: tuple[ObjectId, ...]


class WithdrawReply(Reply, kw_only=True, frozen=True):
    """``waiting``: it was called back; ``granted``: it had been granted, and that was undone; ``none``: neither."""

    outcome: Literal["waiting", "granted", "none"]


class Withdraw(ObjectRequest[WithdrawReply], kw_only=True, frozen=True):
    """Call back a waiting request of this session, as if its time were over: for Ctrl-C.

    A lock, a permit or queue items that it was granted, unseen, are given back. For ``condition.wait`` the answer
    comes when the lock is held again.

    Args:
        id: the object that it waits on.
        ticket: the ticket that it had.
    """

    method: ClassVar[str] = "object.withdraw"
    reply: ClassVar[type] = WithdrawReply

    id: ObjectId
    ticket: Annotated[int, Meta(ge=1)]


# --- queue ----------------------------------------------------------------------------------------------------------


class PutReply(Reply, kw_only=True, frozen=True):
    """``accepted`` items are in the queue: all of them."""

    accepted: int


class QueuePut(ObjectRequest[PutReply], kw_only=True, frozen=True):
    """Put items at the end, in order, waiting for room.

    Error ``queue-full`` when the time is over; its ``data.accepted`` says how many are in the queue all the same.

    Args:
        encoding: how all of these items are encoded.
        lengths: bytes of each item in payload frame 0; empty: each payload frame is one item.
    """

    method: ClassVar[str] = "queue.put"
    reply: ClassVar[type] = PutReply

    id: ObjectId
    encoding: Encoding = "msgpack"
    lengths: Lengths = ()
    timeout: Timeout | None = None
    ticket: Ticket = 0


class GetReply(Reply, kw_only=True, frozen=True):
    """Items, concatenated in payload frame 0, all encoded alike; ``delivery`` names the loan, 0: there is none."""

    encoding: Encoding
    lengths: tuple[int, ...]
    delivery: int


class QueueGet(ObjectRequest[GetReply], kw_only=True, frozen=True):
    """Take items from the front, waiting for the first one.

    Items are *on loan* until they are acknowledged. A taker that dies first gives them back: they return to the
    front. How they are acknowledged:

    - ``auto`` (the default): by the next shared-object call of the same session and holder, whatever it is, since that
      proves that the answer has arrived; or by ``queue.ack``. So it costs no message while calls follow each other,
      and at most one.
    - ``manual``: only by ``queue.ack``, or by ``acknowledge`` in a later ``queue.get``.
    - ``now``: as they are sent; so it is for a caller without a session.

    Error ``queue-empty`` when the time is over.

    Args:
        max: at most this many; as many as are there and encoded alike.
        acknowledge: deliveries of this queue to be acknowledged first.
    """

    method: ClassVar[str] = "queue.get"
    reply: ClassVar[type] = GetReply

    id: ObjectId
    max: Annotated[int, Meta(ge=1, le=100_000)] = 1
    ack: Literal["auto", "manual", "now"] = "auto"
    acknowledge: tuple[int, ...] = ()
    timeout: Timeout | None = None
    ticket: Ticket = 0


class AckReply(Reply, kw_only=True, frozen=True):
    """How many of the loans were still open."""

    settled: int


class QueueAck(ObjectRequest[AckReply], kw_only=True, frozen=True):
    """Acknowledge deliveries of this session, or give their items back.

    Args:
        deliveries: which; empty: all that this session has from this queue.
        give_back: return the items to the front instead.
        taken: of each delivery, the first so many are acknowledged in any case; without ``give_back`` the others stay
            on loan. None: all of it.
    """

    method: ClassVar[str] = "queue.ack"
    reply: ClassVar[type] = AckReply

    id: ObjectId
    deliveries: tuple[int, ...] = ()
    give_back: bool = False
    taken: Annotated[int, Meta(ge=0)] | None = None


class SizeReply(Reply, kw_only=True, frozen=True):
    """How a queue stands: items waiting, its bound, items on loan, items not yet reported done."""

    size: int
    maxsize: int
    on_loan: int
    unfinished: int


class QueueSize(ObjectRequest[SizeReply], kw_only=True, frozen=True):
    """How many items wait."""

    method: ClassVar[str] = "queue.size"
    reply: ClassVar[type] = SizeReply

    id: ObjectId


class QueueTaskDone(ObjectRequest[Done], kw_only=True, frozen=True):
    """Report items as done, for ``queue.join``; error ``illegal-move`` for more than were put.

    Args:
        count: how many.
    """

    method: ClassVar[str] = "queue.task_done"
    reply: ClassVar[type] = Done

    id: ObjectId
    count: Annotated[int, Meta(ge=1)] = 1


class WaitReply(Reply, kw_only=True, frozen=True):
    """``ok`` is False when the time was over first."""

    ok: bool


class QueueJoin(ObjectRequest[WaitReply], kw_only=True, frozen=True):
    """Wait until every item that was put has been reported done."""

    method: ClassVar[str] = "queue.join"
    reply: ClassVar[type] = WaitReply

    id: ObjectId
    timeout: Timeout | None = None
    ticket: Ticket = 0


# --- lock, rlock ----------------------------------------------------------------------------------------------------


class AcquireReply(Reply, omit_defaults=True, kw_only=True, frozen=True):
    """``token`` is the fencing token: it grows with every change of owner. 0 where the time was over first.

    Where the lock was lent, ``loan`` is the number of the loan and ``slot`` where it lies: see
    :mod:`stoker.protocol.loans`.
    """

    acquired: bool
    token: int
    loan: int = 0
    slot: int = 0


class LockAcquire(ObjectRequest[AcquireReply], kw_only=True, frozen=True):
    """Acquire a lock for this session and holder, in order of arrival; an rlock's owner gets it again at once.

    It is released by ``lock.release``, or when the session ends.

    The last three are for this library on the direct channel; whoever leaves them out is never lent anything.

    Args:
        lend: the lock may be lent (see :mod:`stoker.protocol.loans`): ``first``, where the descriptors of the memory
            have to come along, or ``again``.
        returned: loans that the session has given up.
        declined: the token that it did not take on the first of those.
    """

    method: ClassVar[str] = "lock.acquire"
    reply: ClassVar[type] = AcquireReply

    id: ObjectId
    timeout: Timeout | None = None
    ticket: Ticket = 0
    lend: Literal["first", "again"] | None = None
    returned: Annotated[tuple[LoanNumber, ...], Meta(max_length=1000)] = ()
    declined: Annotated[int, Meta(ge=0)] = 0


class LockRelease(ObjectRequest[Done], kw_only=True, frozen=True):
    """Release a lock once.

    Error ``not-owner``: it is not held; it is an rlock of somebody else; or the token is not the current one, so the
    lock was lost meanwhile.

    Args:
        token: the token it was acquired with; None releases a lock (not an rlock) whoever holds it.
        loan: the loan on which it was acquired, and which the session has given up; 0: by message.
    """

    method: ClassVar[str] = "lock.release"
    reply: ClassVar[type] = Done

    id: ObjectId
    token: int | None = None
    loan: LoanNumber = 0


class LockReply(Reply, kw_only=True, frozen=True):
    """Who holds a lock: ``session`` and ``holder``; both None while it is free. ``waiting`` is how many want it.

    ``lent``: it is lent to a session, which may take and release it without a message.
    """

    session: str | None
    holder: str | None
    token: int
    depth: int
    waiting: int
    lent: bool = False


class LockShow(ObjectRequest[LockReply], kw_only=True, frozen=True):
    """Who holds a lock."""

    method: ClassVar[str] = "lock.show"
    reply: ClassVar[type] = LockReply

    id: ObjectId


# --- semaphore, event -----------------------------------------------------------------------------------------------


class SemaphoreAcquire(ObjectRequest[WaitReply], kw_only=True, frozen=True):
    """Take one permit, in order of arrival."""

    method: ClassVar[str] = "semaphore.acquire"
    reply: ClassVar[type] = WaitReply

    id: ObjectId
    timeout: Timeout | None = None
    ticket: Ticket = 0


class SemaphoreRelease(ObjectRequest[Done], kw_only=True, frozen=True):
    """Give permits; error ``illegal-move`` where a bounded one would have more than at first.

    Args:
        count: how many.
    """

    method: ClassVar[str] = "semaphore.release"
    reply: ClassVar[type] = Done

    id: ObjectId
    count: Annotated[int, Meta(ge=1, le=2**31)] = 1


class SemaphoreReply(Reply, kw_only=True, frozen=True):
    """Permits that are free, and how many wait for one."""

    value: int
    waiting: int


class SemaphoreShow(ObjectRequest[SemaphoreReply], kw_only=True, frozen=True):
    """How many permits are free."""

    method: ClassVar[str] = "semaphore.show"
    reply: ClassVar[type] = SemaphoreReply

    id: ObjectId


class EventSet(ObjectRequest[Done], kw_only=True, frozen=True):
    """Set an event: whoever waits goes on."""

    method: ClassVar[str] = "event.set"
    reply: ClassVar[type] = Done

    id: ObjectId


class EventClear(ObjectRequest[Done], kw_only=True, frozen=True):
    """Clear an event."""

    method: ClassVar[str] = "event.clear"
    reply: ClassVar[type] = Done

    id: ObjectId


class EventWait(ObjectRequest[WaitReply], kw_only=True, frozen=True):
    """Wait until an event is set; with ``timeout`` 0: whether it is."""

    method: ClassVar[str] = "event.wait"
    reply: ClassVar[type] = WaitReply

    id: ObjectId
    timeout: Timeout | None = None
    ticket: Ticket = 0


# --- condition, barrier ---------------------------------------------------------------------------------------------


class ConditionReply(Reply, kw_only=True, frozen=True):
    """The lock is held again, with this token; ``notified`` is False when the time was over first."""

    notified: bool
    token: int


class ConditionWait(ObjectRequest[ConditionReply], kw_only=True, frozen=True):
    """Give the lock up, wait to be notified, answer when the lock is held again; ``not-owner`` if it is not held."""

    method: ClassVar[str] = "condition.wait"
    reply: ClassVar[type] = ConditionReply

    id: ObjectId
    timeout: Timeout | None = None
    ticket: Ticket = 0


class NotifyReply(Reply, kw_only=True, frozen=True):
    """How many were notified."""

    notified: int


class ConditionNotify(ObjectRequest[NotifyReply], kw_only=True, frozen=True):
    """Notify those who have waited longest; ``not-owner`` if the caller does not hold the lock.

    Args:
        count: at most this many; None: all.
    """

    method: ClassVar[str] = "condition.notify"
    reply: ClassVar[type] = NotifyReply

    id: ObjectId
    count: Annotated[int, Meta(ge=0)] | None = 1


class BarrierReply(Reply, kw_only=True, frozen=True):
    """Which one of the parties this is, 0 for the first to arrive; ``act``: do the action, then ``barrier.pass``."""

    index: int
    act: bool


class BarrierWait(ObjectRequest[BarrierReply], kw_only=True, frozen=True):
    """Wait until all parties have arrived. Time over breaks the barrier for all: the error ``broken-barrier``.

    Where the barrier has an action, the last to arrive is answered first, with ``act``; the others go on when it says
    ``barrier.pass``. If it dies before, or says ``barrier.abort``, the barrier is broken.
    """

    method: ClassVar[str] = "barrier.wait"
    reply: ClassVar[type] = BarrierReply

    id: ObjectId
    timeout: Timeout | None = None
    ticket: Ticket = 0


class BarrierPass(ObjectRequest[Done], kw_only=True, frozen=True):
    """The action is done: let the others go on."""

    method: ClassVar[str] = "barrier.pass"
    reply: ClassVar[type] = Done

    id: ObjectId


class BarrierReset(ObjectRequest[Done], kw_only=True, frozen=True):
    """Make the barrier as new; whoever waits gets ``broken-barrier``."""

    method: ClassVar[str] = "barrier.reset"
    reply: ClassVar[type] = Done

    id: ObjectId


class BarrierAbort(ObjectRequest[Done], kw_only=True, frozen=True):
    """Break the barrier for all, until it is reset."""

    method: ClassVar[str] = "barrier.abort"
    reply: ClassVar[type] = Done

    id: ObjectId


class BarrierShowReply(Reply, kw_only=True, frozen=True):
    """How a barrier stands."""

    parties: int
    waiting: int
    broken: bool


class BarrierShow(ObjectRequest[BarrierShowReply], kw_only=True, frozen=True):
    """How a barrier stands."""

    method: ClassVar[str] = "barrier.show"
    reply: ClassVar[type] = BarrierShowReply

    id: ObjectId


# --- value, array ---------------------------------------------------------------------------------------------------


class NumberReply(Reply, kw_only=True, frozen=True):
    """The number that is there now; ``swapped`` is False where ``value.swap`` found another than it expected."""

    value: int | float
    swapped: bool = True


class ValueGet(ObjectRequest[NumberReply], kw_only=True, frozen=True):
    """A number (not ``raw``).

    Args:
        index: which item, for an array.
    """

    method: ClassVar[str] = "value.get"
    reply: ClassVar[type] = NumberReply

    id: ObjectId
    index: Index = 0


class ValueSet(ObjectRequest[NumberReply], kw_only=True, frozen=True):
    """Set a number; error ``invalid-params`` where it is outside what the type can hold."""

    method: ClassVar[str] = "value.set"
    reply: ClassVar[type] = NumberReply

    id: ObjectId
    value: int | float
    index: Index = 0


class ValueAdd(ObjectRequest[NumberReply], kw_only=True, frozen=True):
    """Add to a number in one step; the answer is the sum. Integers wrap around, as in C."""

    method: ClassVar[str] = "value.add"
    reply: ClassVar[type] = NumberReply

    id: ObjectId
    amount: int | float = 1
    index: Index = 0


class ValueSwap(ObjectRequest[NumberReply], kw_only=True, frozen=True):
    """Set a number in one step if it is what is expected (compare and set)."""

    method: ClassVar[str] = "value.swap"
    reply: ClassVar[type] = NumberReply

    id: ObjectId
    expected: int | float
    value: int | float
    index: Index = 0


class ArrayReply(Reply, kw_only=True, frozen=True):
    """Items, little-endian, in payload frame 0."""

    count: int


class ArrayGet(ObjectRequest[ArrayReply], kw_only=True, frozen=True):
    """Items of an array, or of a value, as bytes: ``start``, ``start+step`` …, ``count`` of them."""

    method: ClassVar[str] = "array.get"
    reply: ClassVar[type] = ArrayReply

    id: ObjectId
    start: Index = 0
    count: Index | None = None
    step: Annotated[int, Meta(ge=1)] = 1


class ArraySet(ObjectRequest[ArrayReply], kw_only=True, frozen=True):
    """Set items from payload frame 0, in one step: ``start``, ``start+step`` …, as many as there are bytes for."""

    method: ClassVar[str] = "array.set"
    reply: ClassVar[type] = ArrayReply

    id: ObjectId
    start: Index = 0
    step: Annotated[int, Meta(ge=1)] = 1


# --- dict, namespace ------------------------------------------------------------------------------------------------


class KeysReply(Reply, kw_only=True, frozen=True):
    """Keys in order of insertion; a key that only Python can read is a map ``{"pickle": bytes}``."""

    keys: list[Any]
    version: int


class ItemsReply(ValuesReply, kw_only=True, frozen=True):
    """Keys, and their values as in :class:`ValuesReply`."""

    keys: list[Any]


class DictGet(ObjectRequest[ItemsReply], kw_only=True, frozen=True):
    """Values by key.

    A key is a MessagePack scalar, or ``{"pickle": bytes}``. As in Python 1, 1.0 and true are the same key.

    Args:
        keys: which; None: all.
        pop: remove them in the same step.
    """

    method: ClassVar[str] = "dict.get"
    reply: ClassVar[type] = ItemsReply

    id: ObjectId
    keys: list[Any] | None = None
    pop: bool = False


class DictPopItem(ObjectRequest[ItemsReply], kw_only=True, frozen=True):
    """Remove and answer the item that was inserted last; none where it is empty."""

    method: ClassVar[str] = "dict.pop_item"
    reply: ClassVar[type] = ItemsReply

    id: ObjectId


class DictSet(ObjectRequest[ItemsReply], kw_only=True, frozen=True):
    """Set values by key, in one step; values as in ``queue.put``.

    Args:
        replace: False sets only keys that are not there (setdefault), and the answer has the values that are there
            afterwards. True: the answer has none.
        version: do it only if the dict has this version still; else error ``version-conflict``.
        clear: empty it first.
    """

    method: ClassVar[str] = "dict.set"
    reply: ClassVar[type] = ItemsReply

    id: ObjectId
    keys: list[Any]
    encodings: tuple[Encoding, ...] = ("msgpack",)
    lengths: Lengths = ()
    replace: bool = True
    version: int | None = None
    clear: bool = False


class CountReply(Reply, kw_only=True, frozen=True):
    """A number of items, and the version, which grows with every change."""

    count: int
    version: int


class DictKeys(ObjectRequest[KeysReply], kw_only=True, frozen=True):
    """The keys."""

    method: ClassVar[str] = "dict.keys"
    reply: ClassVar[type] = KeysReply

    id: ObjectId


class DictSize(ObjectRequest[CountReply], kw_only=True, frozen=True):
    """How many items there are, or how many of these keys are there."""

    method: ClassVar[str] = "dict.size"
    reply: ClassVar[type] = CountReply

    id: ObjectId
    keys: list[Any] | None = None


# --- list -----------------------------------------------------------------------------------------------------------


class ListGet(ObjectRequest[ValuesReply], kw_only=True, frozen=True):
    """Items ``start``, ``start+1`` … before ``stop``; negative ones count from the end, as in Python.

    Args:
        start: where to begin.
        stop: where to end; None: at the end.
        pop: remove them in the same step.
        exact: error ``out-of-range`` where ``start`` is not there, in place of no items.
    """

    method: ClassVar[str] = "list.get"
    reply: ClassVar[type] = ValuesReply

    id: ObjectId
    start: int = 0
    stop: int | None = None
    pop: bool = False
    exact: bool = False


class ListSet(ObjectRequest[CountReply], kw_only=True, frozen=True):
    """Put values in the place of items ``start`` … before ``stop``, in one step; values as in ``queue.put``.

    ``start`` = ``stop`` inserts; no ``start`` appends; no values removes.

    Args:
        start: None: at the end.
        stop: None: at the end of the list.
        version: do it only if the list has this version still; else error ``version-conflict``.
        exact: error ``out-of-range`` where ``start`` is not there.
    """

    method: ClassVar[str] = "list.set"
    reply: ClassVar[type] = CountReply

    id: ObjectId
    start: int | None = None
    stop: int | None = None
    encodings: tuple[Encoding, ...] = ("msgpack",)
    lengths: Lengths = ()
    version: int | None = None
    exact: bool = False


class ListSize(ObjectRequest[CountReply], kw_only=True, frozen=True):
    """How many items there are."""

    method: ClassVar[str] = "list.size"
    reply: ClassVar[type] = CountReply

    id: ObjectId


# --- pipes -----------------------------------------------------------------------------------------------------------


class PipeHold(ObjectRequest[Done], kw_only=True, frozen=True):
    """Have an end of a pipe. Its maker has both. When nobody has an end, the other end is told of the end.

    Args:
        id: the pipe.
        end: which end.
        claim: the ticket that came with it, which is void then.
        for_ticket: not this session has it, but whoever claims this ticket: for an end that is about to be handed on.
            It is void when this session ends.
    """

    method: ClassVar[str] = "pipe.hold"
    reply: ClassVar[type] = Done

    id: ObjectId
    end: PipeEnd
    claim: Annotated[str, Meta(max_length=128)] | None = None
    for_ticket: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


class PipeGiveUp(ObjectRequest[Done], kw_only=True, frozen=True):
    """Have an end no more; with ``for_ticket``: nobody is going to claim it."""

    method: ClassVar[str] = "pipe.give_up"
    reply: ClassVar[type] = Done

    id: ObjectId
    end: PipeEnd
    for_ticket: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


class PipeSent(Reply, kw_only=True, frozen=True):
    """Whether it is on its way; not where nobody has the other end, or the time was over."""

    sent: bool


class PipeSend(ObjectRequest[PipeSent], kw_only=True, frozen=True):
    """Send payload frame 0 from an end to the other one; waits while very many messages are on their way."""

    method: ClassVar[str] = "pipe.send"
    reply: ClassVar[type] = PipeSent

    id: ObjectId
    end: PipeEnd
    timeout: Timeout | None = None
    ticket: Ticket = 0


class PipeReceived(Reply, kw_only=True, frozen=True):
    """``ready``: there is a message, in payload frame 0 unless it was only looked for; or, with ``ended``, there will
    be no more, since nobody has the other end. Neither: the time was over.
    """

    ready: bool
    ended: bool


class PipeReceive(ObjectRequest[PipeReceived], kw_only=True, frozen=True):
    """Receive the next message at an end, waiting for it.

    Args:
        id: the pipe.
        end: which end.
        peek: leave it there.
    """

    method: ClassVar[str] = "pipe.receive"
    reply: ClassVar[type] = PipeReceived

    id: ObjectId
    end: PipeEnd
    peek: bool = False
    timeout: Timeout | None = None
    ticket: Ticket = 0


OBJECT_REQUESTS: tuple[Any, ...] = (
    OpenObject,
    DropObject,
    ReleaseObjects,
    Withdraw,
    QueuePut,
    QueueGet,
    QueueAck,
    QueueSize,
    QueueTaskDone,
    QueueJoin,
    LockAcquire,
    LockRelease,
    LockShow,
    SemaphoreAcquire,
    SemaphoreRelease,
    SemaphoreShow,
    EventSet,
    EventClear,
    EventWait,
    ConditionWait,
    ConditionNotify,
    BarrierWait,
    BarrierPass,
    BarrierReset,
    BarrierAbort,
    BarrierShow,
    ValueGet,
    ValueSet,
    ValueAdd,
    ValueSwap,
    ArrayGet,
    ArraySet,
    DictGet,
    DictPopItem,
    DictSet,
    DictKeys,
    DictSize,
    ListGet,
    ListSet,
    ListSize,
    PipeHold,
    PipeGiveUp,
    PipeSend,
    PipeReceive,
)
"""Every shared-object call, for the table of all methods."""
