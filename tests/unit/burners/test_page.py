"""The sealed records of the shared page."""

from __future__ import annotations

import mmap

import pytest

from stokerd.burners.page import PAGE_BYTES, RING, Order, Page, Record


@pytest.fixture
def memory() -> mmap.mmap:
    return mmap.mmap(-1, PAGE_BYTES)


def record(tick: int) -> Record:
    return Record(tick, 1, 1, 0, tick * 0.01, tick * 0.005, tick * 0.005, 0.0, tick * 3.0)


def test_a_fresh_page_holds_no_order_and_no_record(memory) -> None:
    page = Page(memory)
    assert page.order() is None
    assert page.newest() is None
    assert page.record(0) is None


def test_an_order_arrives_as_it_was_given(memory) -> None:
    order = Order(3, 0.6, float("inf"), stop=True)
    Page(memory).give(order)
    assert Page(memory).order() == order


def test_half_an_order_is_not_believed(memory) -> None:
    page = Page(memory)
    page.give(Order(1, 0.25, 10.0))
    before = memory[:16]
    page.give(Order(2, 0.75, 20.0))
    memory[:8] = before[:8]
    assert page.order() is None


def test_the_ring_keeps_the_last_ticks_and_says_so_of_the_others(memory) -> None:
    page = Page(memory)
    for tick in range(1, 301):
        page.write(record(tick))
    assert page.newest() == record(300)
    assert page.record(300 - RING + 1) == record(300 - RING + 1)
    assert page.record(300 - RING) is None
    assert page.record(301) is None


def test_where_the_newest_record_is_half_written_the_one_before_counts(memory) -> None:
    page = Page(memory)
    for tick in range(1, 11):
        page.write(record(tick))
    at = 512 + 10 % RING * 72
    memory[at + 24 : at + 32] = b"\xff" * 8
    assert page.newest() == record(9)


def test_the_ring_ends_within_the_page() -> None:
    assert 512 + RING * 72 <= PAGE_BYTES


def test_a_note_arrives_and_a_long_one_is_cut_between_characters(memory) -> None:
    page = Page(memory)
    assert page.note() == ""
    page.set_note("one call takes 0.2 s")
    page.give(Order(1, 0.25, 10.0))
    page.write(record(1))
    assert Page(memory).note() == "one call takes 0.2 s"
    page.set_note("x" + "ä" * 300)
    assert page.note() == "x" + "ä" * 119


def test_half_a_note_is_not_believed(memory) -> None:
    page = Page(memory)
    page.set_note("true")
    memory[194:198] = b"lies"
    assert page.note() == ""
