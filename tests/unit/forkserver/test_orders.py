from __future__ import annotations

import os

import pytest

from stokerd.forkserver.orders import MAX_TEXT, PACKET_BYTES, pack, unpack


def test_a_short_message_is_its_own_packet() -> None:
    data, spool = pack({"do": "retire"})
    assert spool is None
    assert unpack(data, [7]) == ({"do": "retire"}, [7])


@pytest.mark.parametrize("size", [PACKET_BYTES, 10 * PACKET_BYTES])
def test_a_long_message_travels_in_a_memory_file_before_the_other_descriptors(size: int) -> None:
    message = {"do": "fork", "id": 3, "args": "x" * size}
    data, spool = pack(message)
    assert spool is not None
    assert len(data) <= PACKET_BYTES
    assert unpack(data, [spool, 7, 8]) == (message, [7, 8])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(spool)


def test_text_that_is_not_unicode_survives() -> None:
    name = os.fsdecode(b"caf\xe9")
    data, _ = pack({"args": name})
    assert unpack(data, [])[0] == {"args": name}


def test_an_order_whose_descriptors_were_lost_still_says_which_it_was() -> None:
    data, spool = pack({"do": "fork", "id": 3, "target": "t", "name": "n", "args": "x" * PACKET_BYTES})
    assert spool is not None
    os.close(spool)
    message, _ = unpack(data, [], lost=True)
    assert (message["do"], message["id"], message["lost"]) == ("fork", 3, True)


def test_an_error_of_the_longest_text_fits_into_a_packet_however_it_is_escaped() -> None:
    _, spool = pack({"id": 2**63, "error": "\U0001f525" * MAX_TEXT})
    assert spool is None
