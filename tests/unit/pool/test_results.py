"""Bulks of results, taken apart."""

from __future__ import annotations

from array import array

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pool.parts import make_batch

from stokerd.pool import messages
from stokerd.pool.results import KEPT_ERRORS, keep_error, read_error, runs


@given(st.lists(st.tuples(st.binary(max_size=5), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_every_result_is_found_once_in_order_and_every_error_alone(results: list[tuple[bytes, bool]]):
    lengths = array("I", [len(data) | (messages.ERROR if failed else 0) for data, failed in results])
    found: list[tuple[bytes, bool]] = []
    for first, part, blob, failed in runs(lengths, b"".join(data for data, _ in results)):
        assert first == len(found)
        assert len(part) == 1 or not failed
        at = 0
        for length in part:
            size = length & messages.LENGTH
            assert (length >= messages.ERROR) == failed
            found.append((blob[at : at + size], failed))
            at += size
        assert at == len(blob)
    assert found == results


@given(st.binary(max_size=60) | st.recursive(st.text() | st.integers(-99, 99), st.lists).map(msgpack.packb))
@settings(max_examples=200, deadline=None)
def test_whatever_a_worker_reports_as_an_error_is_read(packed: bytes):
    assert read_error(packed).code


def test_errors_of_small_batches_are_remembered_and_those_of_huge_ones_only_where_values_are():
    for count, keep, remembered in ((1, 0.0, True), (KEPT_ERRORS + 1, 0.0, False), (KEPT_ERRORS + 1, 1.0, True)):
        batch = make_batch(count, keep=keep)
        keep_error(batch, 0, b"why")
        assert bool(batch.values) == remembered
