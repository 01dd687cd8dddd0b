"""A load that is no CPU time: a disk keeps no core, and its shortfall is the device's."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.burners.machines import Machine

from stoker.errors import InvalidParams
from stokerd.burners.page import RING, Record

DISK = {"rate": 1e6, "folder": "/var/tmp"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine", 2)


def start(burners, forker, load: float = 100.0, workers: int = 1, **more):
    promise = burners.start("churn", workers, load, generator="disk", params=DISK, **more)
    forker.tick()
    return promise.value()


def test_a_disk_is_not_held_back_by_the_reserve_and_takes_nothing_from_it(burners, forker) -> None:
    info = start(burners, forker, workers=4)
    assert info.target == 100.0
    assert info.reasons == ()
    spin = burners.start("heat", 2, 80.0)
    forker.tick()
    assert spin.value().target == 80.0


def test_what_a_disk_lacks_is_laid_to_the_device(burners, forker) -> None:
    promise = burners.start("churn", 1, 100.0, generator="disk", params=DISK)
    forker.children[0].tick(60, share=0.5)
    info = promise.value()
    assert [reason.code for reason in info.reasons] == ["device"]
    assert info.unit == "the --rate, bytes per second of each process"


@pytest.mark.parametrize("more", [{"of": "machine"}, {"of": "quota"}, {"mode": "total"}])
def test_a_percentage_of_cores_is_none_of_a_disk(burners, more) -> None:
    with pytest.raises(InvalidParams, match="is no share of a") as caught:
        burners.start("churn", 1, 50.0, generator="disk", params=DISK, **more)
    assert "the --rate" in caught.value.hint


def test_what_a_process_says_of_itself_is_a_reason_of_its_own(burners, forker) -> None:
    promise = burners.start("mine", 2, 20.0, generator="call", params={"call": "pkg:work"})
    forker.tick()
    promise.value()
    for child in forker.children:
        child.sheet.set_note("one call takes long")
    assert [(reason.code, reason.text) for reason in burners.info()[0].reasons] == [("note", "one call takes long")]


def test_work_is_told_per_second_and_summed_up(burners, forker, clock) -> None:
    promise = burners.start("bw", 2, 50.0, generator="bandwidth")
    forker.tick()
    promise.value()
    for child in forker.children:
        child.tick(30)
        last = child.last
        child.sheet.write(last._replace(tick=last.tick + 1, wall=last.wall + 0.01, work=last.work + 1000.0))
    info = burners.info()[0]
    assert info.work_unit == "B"
    assert info.work == pytest.approx(sum(worker.work for worker in info.workers), abs=0.01)
    assert info.work > 0


def test_the_parameters_of_the_kind_reach_the_process(burners, forker) -> None:
    start(burners, forker)
    assert forker.children[0].spec.args["params"] == DISK
    assert forker.children[0].spec.args["generator"] == "disk"


def test_a_process_with_nothing_to_burn_is_rung_for_every_order(burners, forker) -> None:
    promise = burners.start("heat", 1, 50.0)
    child = forker.children[0]
    child.tick()
    promise.value()
    child._far.setblocking(False)
    child._far.recv(4096)
    burners.set("heat", paused=True)
    assert child._far.recv(4096)
    child.tick()
    burners.stop(["heat"])
    assert child._far.recv(4096)


def test_the_oldest_tick_of_a_page_is_found(forker, burners) -> None:
    burners.start("heat", 1, 50.0)
    sheet = forker.children[0].sheet
    assert sheet.oldest() is None
    for tick in range(1, RING + 6):
        sheet.write(Record(tick, 1, 1, 0, tick * 0.01, 0.0, 0.0, 0.0))
    oldest = sheet.oldest()
    assert oldest is not None
    assert oldest.tick == 6
