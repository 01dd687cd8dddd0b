"""A bell is heard once, by one listener, and survives whatever interrupts its ringing."""

from __future__ import annotations

import threading

from stoker.bell import Bell


def test_it_is_silent_until_rung_and_after_it_was_heard() -> None:
    bell = Bell()
    assert not bell.rung
    bell.ring()
    bell.ring()
    assert bell.rung
    assert bell.wait()
    assert not bell.rung
    assert not bell.wait(0)


def test_hushing_forgets_a_ring_and_does_nothing_without_one() -> None:
    bell = Bell()
    bell.hush()
    bell.ring()
    bell.hush()
    assert not bell.wait(0)


def test_it_wakes_a_thread_that_listens() -> None:
    bell, heard = Bell(), threading.Event()
    thread = threading.Thread(target=lambda: bell.wait() and heard.set())
    thread.start()
    bell.ring()
    thread.join(30)
    assert heard.is_set()
