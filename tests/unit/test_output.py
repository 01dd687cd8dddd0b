"""Output within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stokerd.output import Stretch


@given(st.lists(st.binary(max_size=40)), st.integers(2, 64))
def test_a_stretch_keeps_beginning_and_end_and_counts_the_rest(parts: list[bytes], keep: int) -> None:
    stretch = Stretch(keep)
    for part in parts:
        stretch.add(part)
    whole, kept = b"".join(parts), stretch.kept()
    assert kept.size == len(whole)
    assert whole.startswith(kept.head)
    assert whole.endswith(kept.tail)
    assert len(kept.head) + len(kept.tail) <= keep
    assert kept.dropped == 0 if len(whole) <= keep // 2 * 2 else kept.dropped > 0


@given(st.binary(max_size=60), st.integers(2, 40), st.integers(0, 70))
def test_reading_on_from_an_offset_gives_what_comes_after_it(whole: bytes, keep: int, offset: int) -> None:
    stretch = Stretch(keep)
    stretch.add(whole)
    kept = stretch.kept()
    if not kept.dropped:
        assert kept.since(offset) == whole[offset:]
    elif offset < len(kept.head):
        assert kept.since(offset).startswith(kept.head[offset:])
        assert kept.since(offset).endswith(kept.tail)
        assert b"%d bytes dropped" % kept.dropped in kept.since(offset)
    elif offset >= kept.size - len(kept.tail):
        assert kept.since(offset) == whole[offset:]
