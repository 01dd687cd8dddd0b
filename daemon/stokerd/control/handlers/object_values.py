"""Values, arrays, dicts, namespaces, lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.protocol.objects import (
    ArrayGet,
    ArrayReply,
    ArraySet,
    CountReply,
    DictGet,
    DictKeys,
    DictPopItem,
    DictSet,
    DictSize,
    ItemsReply,
    KeysReply,
    ListGet,
    ListSet,
    ListSize,
    NumberReply,
    ValueAdd,
    ValueGet,
    ValueSet,
    ValuesReply,
    ValueSwap,
)
from stokerd.control.caller import Answer, Caller
from stokerd.control.handlers.object_answers import (
    actor_of,
    encodings_of,
    frame_of,
    items_of,
    lengths_of,
    payload_of,
)
from stokerd.shared.cells import SharedArray
from stokerd.shared.mappings import Entry, SharedDict
from stokerd.shared.sequences import SharedList
from stokerd.supervisor import Supervisor


def get_value(parts: Supervisor, caller: Caller, request: ValueGet) -> NumberReply:
    """One number."""
    cells = parts.shared.use(SharedArray, request.id, actor_of(caller, request))
    return NumberReply(value=cells.number(request.index))


def set_value(parts: Supervisor, caller: Caller, request: ValueSet) -> NumberReply:
    """Set one number."""
    cells = parts.shared.use(SharedArray, request.id, actor_of(caller, request))
    return NumberReply(value=cells.set_number(request.value, request.index))


def add_value(parts: Supervisor, caller: Caller, request: ValueAdd) -> NumberReply:
    """Add to one number."""
    cells = parts.shared.use(SharedArray, request.id, actor_of(caller, request))
    return NumberReply(value=cells.add(request.amount, request.index))


def swap_value(parts: Supervisor, caller: Caller, request: ValueSwap) -> NumberReply:
    """Compare and set one number."""
    cells = parts.shared.use(SharedArray, request.id, actor_of(caller, request))
    swapped, value = cells.swap(request.expected, request.value, request.index)
    return NumberReply(value=value, swapped=swapped)


def get_array(parts: Supervisor, caller: Caller, request: ArrayGet) -> Answer:
    """A slice as bytes."""
    cells = parts.shared.use(SharedArray, request.id, actor_of(caller, request))
    count, data = cells.read(request.start, request.count, request.step)
    return Answer(ArrayReply(count=count), (data,))


def set_array(parts: Supervisor, caller: Caller, request: ArraySet) -> ArrayReply:
    """Set a slice from bytes."""
    cells = parts.shared.use(SharedArray, request.id, actor_of(caller, request))
    return ArrayReply(count=cells.write(frame_of(caller), request.start, request.step))


def get_items(parts: Supervisor, caller: Caller, request: DictGet) -> Answer:
    """Values by key."""
    mapping = parts.shared.use(SharedDict, request.id, actor_of(caller, request))
    return _items(mapping.get(request.keys, pop=request.pop), mapping.version)


def pop_item(parts: Supervisor, caller: Caller, request: DictPopItem) -> Answer:
    """Remove what was inserted last."""
    mapping = parts.shared.use(SharedDict, request.id, actor_of(caller, request))
    entry = mapping.pop_item()
    return _items([entry] if entry is not None else [], mapping.version)


def set_items(parts: Supervisor, caller: Caller, request: DictSet) -> Answer:
    """Set values by key."""
    items = items_of(caller, request.lengths, request.encodings)
    mapping = parts.shared.use(SharedDict, request.id, actor_of(caller, request))
    entries = mapping.set(request.keys, items, replace=request.replace, version=request.version, clear=request.clear)
    return _items([] if request.replace else entries, mapping.version)


def keys(parts: Supervisor, caller: Caller, request: DictKeys) -> KeysReply:
    """The keys."""
    mapping = parts.shared.use(SharedDict, request.id, actor_of(caller, request))
    return KeysReply(keys=mapping.keys(), version=mapping.version)


def count_items(parts: Supervisor, caller: Caller, request: DictSize) -> CountReply:
    """How many there are."""
    mapping = parts.shared.use(SharedDict, request.id, actor_of(caller, request))
    return CountReply(count=mapping.size(request.keys), version=mapping.version)


def get_slice(parts: Supervisor, caller: Caller, request: ListGet) -> Answer:
    """Items of a list."""
    row = parts.shared.use(SharedList, request.id, actor_of(caller, request))
    items = row.get(request.start, request.stop, pop=request.pop, exact=request.exact)
    reply = ValuesReply(lengths=lengths_of(items), encodings=encodings_of(items), version=row.version)
    return Answer(reply, payload_of(items))


def set_slice(parts: Supervisor, caller: Caller, request: ListSet) -> CountReply:
    """Replace items of a list."""
    items = items_of(caller, request.lengths, request.encodings)
    row = parts.shared.use(SharedList, request.id, actor_of(caller, request))
    row.set(items, request.start, request.stop, version=request.version, exact=request.exact)
    return CountReply(count=len(row), version=row.version)


def count_list(parts: Supervisor, caller: Caller, request: ListSize) -> CountReply:
    """How many items there are."""
    row = parts.shared.use(SharedList, request.id, actor_of(caller, request))
    return CountReply(count=len(row), version=row.version)


def _items(entries: Sequence[Entry | None], version: int) -> Answer:
    there = [entry for entry in entries if entry is not None]
    items = [entry.item for entry in there]
    reply = ItemsReply(
        keys=[entry.key for entry in there],
        lengths=lengths_of(items),
        encodings=encodings_of(items),
        missing=tuple(position for position, entry in enumerate(entries) if entry is None),
        version=version,
    )
    return Answer(reply, payload_of(items))


HANDLERS: dict[type, Any] = {
    ValueGet: get_value,
    ValueSet: set_value,
    ValueAdd: add_value,
    ValueSwap: swap_value,
    ArrayGet: get_array,
    ArraySet: set_array,
    DictGet: get_items,
    DictPopItem: pop_item,
    DictSet: set_items,
    DictKeys: keys,
    DictSize: count_items,
    ListGet: get_slice,
    ListSet: set_slice,
    ListSize: count_list,
}
