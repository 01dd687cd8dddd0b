"""The status snapshot as metrics."""

from __future__ import annotations

import re

from stoker.cli import exposition

STATUS = {
    "daemon": {"uptime": 12.5, "sessions": 2, "store": "disk full"},
    "pools": [
        {
            "name": "default",
            "size": 2,
            "workers": [{"state": "busy"}, {"state": "idle"}],
            "queued": 3,
            "running": 1,
            "held": 4,
        }
    ],
    "burners": [
        {
            "name": "heat",
            "workers": [{"pid": 7, "target": 50.0, "achieved": 40.0, "shortfall": 10.0, "cpu_seconds": 1.5}],
            "reasons": [{"code": "quota", "text": "…"}],
            "guards": [{"text": 'probe:sh -c "exit 1":cap', "tripped": True}],
        }
    ],
    "processes": [{"name": "web", "state": "up", "wanted": True, "restarts": 3}],
    "jobs": {"done": 5, "failed": 1},
}
LINE = re.compile(r'[a-z_]+(\{([a-z_]+="([^"\\\n]|\\\\|\\"|\\n)*",?)+\})? -?[0-9.e+-]+')


def test_every_figure_has_its_family_and_its_labels():
    lines = exposition.text(STATUS).splitlines()
    for line in (
        "stoker_up_seconds 12.5",
        "stoker_store_failing 1",
        'stoker_jobs{state="done"} 5',
        'stoker_pool_busy{pool="default"} 1',
        'stoker_pool_held{pool="default"} 4',
        'stoker_burner_target_percent{burner="heat",process="0",pid="7"} 50',
        'stoker_burner_shortfall_percent{burner="heat",process="0",pid="7"} 10',
        'stoker_burner_cpu_seconds_total{burner="heat",process="0",pid="7"} 1.5',
        'stoker_burner_reason{burner="heat",reason="quota"} 1',
        'stoker_burner_guard_tripped{burner="heat",guard="probe:sh -c \\"exit 1\\":cap"} 1',
        'stoker_process_up{process="web"} 1',
        'stoker_process_wanted{process="web"} 1',
        'stoker_process_restarts{process="web"} 3',
    ):
        assert line in lines, line


def test_the_format_is_that_of_openmetrics():
    *lines, last = exposition.text(STATUS).splitlines()
    assert last == "# EOF"
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    for line in lines:
        assert line.startswith("# ") or LINE.fullmatch(line), line


def test_what_there_is_none_of_is_left_out():
    empty = STATUS | {"pools": [], "burners": [], "processes": [], "jobs": {}}
    assert "burner" not in exposition.text(empty)
    assert "pool" not in exposition.text(empty)
