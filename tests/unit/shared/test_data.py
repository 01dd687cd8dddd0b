"""Value, Array, dict, list."""

from __future__ import annotations

import struct

import pytest

from stoker.errors import InvalidParams, ObjectTooLarge, OutOfRange, Unavailable, VersionConflict
from stokerd.shared.cells import SharedArray, SharedValue
from stokerd.shared.mappings import SharedDict
from stokerd.shared.sequences import SharedList


def test_a_value_is_zero_at_first_and_then_what_it_was_set_to(rig, ann):
    value = rig.open(ann, SharedValue, typecode="d")
    assert value.number() == 0
    assert value.set_number(3.5) == 3.5


def test_adding_is_one_step_and_wraps_around_as_in_c(rig, ann):
    value = rig.open(ann, SharedValue, typecode="i")
    assert value.add(2**31 - 1) == 2**31 - 1
    assert value.add(1) == -(2**31)
    unsigned = rig.open(ann, SharedValue, typecode="B")
    assert unsigned.add(-1) == 255


def test_a_swap_happens_only_where_the_value_is_what_is_expected(rig, ann):
    value = rig.open(ann, SharedValue)
    assert value.swap(0, 5) == (True, 5)
    assert value.swap(0, 9) == (False, 5)


@pytest.mark.parametrize(("typecode", "number"), [("i", 2**31), ("B", -1), ("q", 2**63), ("i", 1.5)])
def test_a_number_that_does_not_fit_is_refused(rig, ann, typecode, number):
    value = rig.open(ann, SharedValue, typecode=typecode)
    with pytest.raises(InvalidParams):
        value.set_number(number)
    assert value.number() == 0


def test_slices_of_an_array_are_read_and_written_as_bytes_with_steps(rig, ann):
    array = rig.open(ann, SharedArray, typecode="h", length=6)
    array.write(struct.pack("<6h", *range(6)))
    assert array.read(1, 2) == (2, struct.pack("<2h", 1, 2))
    assert array.read(0, None, 2) == (3, struct.pack("<3h", 0, 2, 4))
    array.write(struct.pack("<2h", 70, 90), 1, 3)
    assert [array.number(index) for index in range(6)] == [0, 70, 2, 3, 90, 5]
    with pytest.raises(OutOfRange):
        array.write(struct.pack("<2h", 1, 1), 5)
    with pytest.raises(OutOfRange):
        array.number(6)


def test_raw_cells_are_bytes_and_no_numbers(rig, ann):
    value = rig.open(ann, SharedValue, typecode="raw", itemsize=3)
    value.write(b"abc")
    assert value.read() == (1, b"abc")
    with pytest.raises(InvalidParams):
        value.number()


def test_an_array_beyond_the_limit_is_refused(new_rig, ann):
    rig = new_rig(object_bytes=1000, total_bytes=1500)
    with pytest.raises(ObjectTooLarge):
        rig.open(ann, SharedArray, typecode="d", length=126)
    rig.open(ann, SharedArray, typecode="d", length=125)
    with pytest.raises(Unavailable):
        rig.open(ann, SharedArray, typecode="d", length=125)


def test_one_and_one_point_zero_and_true_are_the_same_key(rig, ann, make):
    mapping = rig.open(ann, SharedDict)
    mapping.set([1], make("a"))
    mapping.set([True], make("b"))
    mapping.set([1.0], make("c"))
    assert mapping.keys() == [1]
    assert mapping.get([1])[0].item.data == b"c"
    mapping.set(["1", b"1", None, {"pickle": b"1"}], make(*"wxyz"))
    assert mapping.size() == 5


@pytest.mark.parametrize("key", [[1], {"a": 1}, {"pickle": 3}])
def test_a_list_or_a_map_is_no_key(rig, ann, key):
    with pytest.raises(InvalidParams):
        rig.open(ann, SharedDict).get([key])


def test_setting_what_is_not_there_leaves_alone_what_is(rig, ann, make):
    mapping = rig.open(ann, SharedDict)
    mapping.set(["a"], make("old"))
    there = mapping.set(["a", "b"], make("new", "new"), replace=False)
    assert [entry.item.data for entry in there] == [b"old", b"new"]


def test_a_change_at_another_version_is_refused_and_changes_nothing(rig, ann, make):
    mapping, row = rig.open(ann, SharedDict), rig.open(ann, SharedList)
    version = mapping.version
    mapping.set(["a"], make(1), version=version)
    with pytest.raises(VersionConflict):
        mapping.set(["a"], make(2), version=version)
    row.set(make(1))
    with pytest.raises(VersionConflict):
        row.set(make(2), version=row.version - 1)
    assert len(row) == 1


def test_popping_takes_out_and_the_last_inserted_item_comes_first(rig, ann, make):
    mapping = rig.open(ann, SharedDict)
    mapping.set(["a", "b"], make(1, 2))
    assert mapping.pop_item().key == "b"
    assert mapping.get(["a", "x"], pop=True)[1] is None
    assert mapping.pop_item() is None
    assert rig.shared._room.budget.used == 0


def test_a_list_is_read_and_changed_by_slices(rig, ann, make):
    row = rig.open(ann, SharedList)
    row.set(make(1, 2, 3))
    row.set(make("x", "y"), 1, 2)
    assert [item.data for item in row.get()] == [b"1", b"x", b"y", b"3"]
    assert [item.data for item in row.get(-1)] == [b"3"]
    assert [item.data for item in row.get(0, 1, pop=True, exact=True)] == [b"1"]
    with pytest.raises(OutOfRange):
        row.get(3, 4, exact=True)
    row.set([], 0, None)
    assert len(row) == 0
    assert rig.shared._room.budget.used == 0


def test_a_change_for_which_there_is_no_room_changes_nothing(new_rig, ann, make):
    rig = new_rig(object_bytes=500)
    row, mapping = rig.open(ann, SharedList), rig.open(ann, SharedDict)
    row.set(make("a"))
    mapping.set(["a"], make("a"))
    with pytest.raises(ObjectTooLarge):
        row.set(make("x" * 500))
    with pytest.raises(ObjectTooLarge):
        mapping.set(["a"], make("x" * 500))
    assert [item.data for item in row.get()] == [b"a"]
    assert mapping.get(["a"])[0].item.data == b"a"


def test_a_value_is_made_with_what_it_holds_at_first_and_found_as_it_is(rig, ann, bob):
    made, _ = rig.shared.open(ann, "value", "hits", initial=struct.pack("<q", 7))
    rig.shared.open(bob, "value", "hits", initial=struct.pack("<q", 9))
    assert made.number() == 7


def test_wrong_first_bytes_leave_nothing_behind(rig, ann):
    for kind, initial in (("value", b"123"), ("value", b"1" * 16), ("queue", b"x")):
        with pytest.raises((InvalidParams, OutOfRange)):
            rig.shared.open(ann, kind, "x", initial=initial)
    assert len(rig.shared) == 0
    assert rig.shared._room.budget.used == 0
