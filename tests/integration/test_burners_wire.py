"""Burners through a real daemon: what they are of, what holds them back, and the jobs that they give way to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import StartDaemon
from tests.daemons import wait_until
from tests.farms import Farm, make_farm

import stoker
from stoker.errors import InvalidParams


@pytest.fixture
def farm(start_daemon: StartDaemon, short_path: Path) -> Farm:
    """Two workers."""
    return make_farm(start_daemon, short_path / "home")


def start(farm: Farm, name: str = "heat", **params: Any) -> dict[str, Any]:
    """Start a burner; the reply."""
    reply: dict[str, Any] = farm.daemon.result("start", kind="burner", name=name, seconds=120.0, **params)
    return reply


def burner(farm: Farm, name: str = "heat") -> dict[str, Any]:
    """What ``status`` tells of it."""
    found: dict[str, Any] = farm.daemon.result("status", names=[name])["burners"][0]
    return found


def test_a_burner_that_yields_gives_way_to_real_jobs_and_comes_back(farm: Farm) -> None:
    start(farm, load=20, yield_to_jobs=True)
    assert burner(farm)["yields"]
    jobs = [farm.command("sh", "-c", "while [ ! -e go ]; do sleep 0.05; done", cwd=str(farm.home)) for _ in range(2)]
    wait_until(lambda: burner(farm)["target"] == 0.0)
    assert "jobs" in [reason["code"] for reason in burner(farm)["reasons"]]
    farm.go()
    farm.all_ended(jobs)
    wait_until(lambda: burner(farm)["target"] == 20.0)


def test_the_reserve_is_told_in_the_reply_and_lifted_by_set(farm: Farm) -> None:
    reply = start(farm, load=100, of="machine")
    assert any(note.startswith("reserve: ") for note in reply["notes"])
    assert burner(farm)["target"] < burner(farm)["asked"] == 100.0
    changed = farm.daemon.result("set", name="heat", no_reserve=True)
    assert not any(note.startswith("reserve: ") for note in changed.get("notes", ()))
    assert burner(farm)["target"] == 100.0


def test_a_pool_has_no_reserve_to_give_up(farm: Farm) -> None:
    assert "is a pool" in farm.daemon.error("set", name="default", no_reserve=True)["message"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"guards": ["load<8:cap"]}, "column 5: expected '>' after load"),
        ({"guards": ["probe:no-such-program-here:cap"]}, "there is no program 'no-such-program-here'"),
        ({"of": "moon"}, "of"),
        ({"mode": "more"}, "mode"),
        ({"guards": ["load>8:cap"] * 33}, "guards"),
        ({"guards": "load>8:cap"}, "guards"),
    ],
)
def test_what_cannot_be_is_refused_and_starts_nothing(farm: Farm, params: dict[str, Any], said: str) -> None:
    error = farm.daemon.error("start", **{"kind": "burner", "name": "heat", "load": 50.0} | params)
    assert error["code"] == "invalid-params"
    assert said in error["message"]
    assert farm.daemon.error("status", names=["heat"])["code"] == "not-found"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one process can load all of one core")
def test_what_its_processes_cannot_make_is_refused_with_the_arithmetic(farm: Farm) -> None:
    error = farm.daemon.error("start", kind="burner", name="heat", load=100.0, of="machine", workers=1)
    assert error["message"].endswith("cores, and 1 process can burn 1.00 at most")
    start(farm, load=10.0, of="machine")
    assert "1 process can burn" in farm.daemon.error("set", name="heat", workers=1, load=100.0)["message"]


def test_the_figures_of_each_second_come_over_the_wire(farm: Farm) -> None:
    start(farm, load=20)
    wait_until(lambda: len(farm.daemon.result("figures", names=["heat"])["burners"][0]["seconds"]) >= 1)
    second = farm.daemon.result("figures")["burners"][0]["seconds"][0]
    assert second["asked"] == 20.0
    assert second["achieved"] + second["shortfall"] == pytest.approx(second["target"], abs=1e-3)
    assert farm.daemon.error("figures", names=["cold"])["code"] == "no-such-burner"


def test_a_configured_burner_has_its_measure_its_guards_and_its_total(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(
        config="[burner.floor]\nload = 10\nmode = 'total'\nguards = ['lateness>60s:cap']\nno_reserve = true\n"
    )
    wait_until(lambda: any(each["state"] == "running" for each in daemon.result("status")["burners"]))
    found = daemon.result("status")["burners"][0]
    assert (found["of"], found["mode"], found["asked"], found["reserve"]) == ("machine", "total", 10.0, 0.0)
    assert [guard["text"] for guard in found["guards"]] == ["lateness>60s:cap"]


def test_the_python_client_has_all_of_it(farm: Farm) -> None:
    with stoker.Client(farm.daemon.endpoint) as client:
        started = client.start_burner(
            "heat",
            load=20,
            of="machine",
            mode="total",
            seconds=60.0,
            guards=["memory<1:pause"],
            no_reserve=True,
            yield_to_jobs=True,
        )
        assert len(started.pids) == len(client.status("heat").burners[0].workers)
        found = client.status("heat").burners[0]
        assert (found.of, found.mode, found.asked, found.yields, found.reserve) == ("machine", "total", 20.0, True, 0.0)
        assert [(guard.text, guard.tripped) for guard in found.guards] == [("memory<1:pause", False)]
        assert client.set("heat", no_reserve=False).name == "heat"
        assert client.status("heat").burners[0].reserve > 0
        wait_until(lambda: len(client.figures("heat")[0].seconds) >= 1)
        with pytest.raises(InvalidParams, match="column 5"):
            client.start_burner("other", load=1, guards=["load<1:cap"])
