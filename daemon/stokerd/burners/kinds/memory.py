"""Loads on memory: ``memory`` holds it, ``bandwidth`` moves it."""

from __future__ import annotations

import contextlib
import mmap
import re
from collections.abc import Callable
from pathlib import Path

from stokerd.burners.kinds.base import Load, Params, Refusal, Tally
from stokerd.burners.kinds.room import read_file, spare_memory, spell_bytes

PAGE = mmap.PAGESIZE
STEP_PAGES = 1024
"""Pages that are filled between two looks at what memory is left: 4 MiB."""

COPY_BYTES = 16 << 10
"""A turn of ``bandwidth``."""

LEAST_BUFFER, MOST_BUFFER = 64 << 20, 1 << 30
"""Bounds of the buffer of ``bandwidth``: some machines do not tell the size of their caches, some share huge ones."""

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

_ONES = memoryview(b"\x01" * STEP_PAGES)

Spare = Callable[[], float]


def make_memory(params: Params) -> Load:
    """Hold ``bytes`` and touch them.

    All of it is filled before the load begins, as fast as it goes. From then on a chunk writes one byte to each of some
    pages, in turn; the load says how much of a core that may take, and at 0 the memory is held and not touched.

    Raises:
        Refusal: it would leave less free than it must.
    """
    pages = -(-params["bytes"] // PAGE)
    memory = reserve(pages * PAGE)
    at = 0

    def touch(turns: int) -> None:
        nonlocal at
        while turns:
            count = min(turns, pages - at, STEP_PAGES)
            memory[at * PAGE : (at + count) * PAGE : PAGE] = _ONES[:count]
            at = (at + count) % pages
            turns -= count

    return Tally(touch, 1).load(close=memory.close)


def reserve(size: int, spare: Spare = spare_memory) -> mmap.mmap:
    """Memory that is there, not promised: each page has been written to.

    It is the first that the kernel takes back should memory run out all the same, by the OOM score.

    Args:
        size: bytes, whole pages.
        spare: how much may still be taken; looked at again and again, because others take memory too.

    Raises:
        Refusal: it would leave less free than it must; what was taken is given back.
    """
    _refuse_beyond(size, 0, spare)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError, ValueError) as why:
        raise Refusal(f"{spell_bytes(size)} of memory cannot be had: {why}", hint="ask for less") from None
    step = STEP_PAGES * PAGE
    try:
        for at in range(0, size, step):
            _refuse_beyond(min(step, size - at), at, spare)
            end = min(at + step, size)
            memory[at:end:PAGE] = _ONES[: (end - at) // PAGE]
    except Refusal:
        memory.close()
        raise
    return memory


def _refuse_beyond(more: int, held: int, spare: Spare) -> None:
    if more > (left := spare()):
        got = f" after {spell_bytes(held)}" if held else ""
        raise Refusal(
            f"{spell_bytes(more)} more of memory{got} is beyond the {spell_bytes(max(left, 0.0))} that may be taken",
            hint="ask for fewer bytes or fewer processes: a twentieth of the memory, at least 128 MiB, is left free",
        )


def make_bandwidth(params: Params) -> Load:
    """Copy through a buffer that no cache holds; what is read and what is written are both counted, as in STREAM.

    Raises:
        Refusal: there is no room for the buffer.
    """
    half = max((params.get("bytes") or buffer_bytes()) // 2 // COPY_BYTES, 1) * COPY_BYTES
    memory = reserve(2 * half)
    view, at = memoryview(memory), 0

    def copy(turns: int) -> None:
        nonlocal at
        for _ in range(turns):
            view[half + at : half + at + COPY_BYTES] = view[at : at + COPY_BYTES]
            at = (at + COPY_BYTES) % half

    return Tally(copy, 2 * COPY_BYTES).load()


def buffer_bytes(read: Callable[[str], str | None] = read_file) -> int:
    """Twice the largest cache of the first core, within bounds: streamed in order, none of it is still cached when its
    turn comes again.
    """
    largest = 0
    for number in range(8):
        found = re.fullmatch(r"(\d+)([KMG]?)\s*", read(str(_CACHES / f"index{number}" / "size")) or "")
        if found:
            largest = max(largest, int(found[1]) * _SIZES[found[2]])
    return min(max(2 * largest, LEAST_BUFFER), MOST_BUFFER)
