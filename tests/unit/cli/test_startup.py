"""What the short verbs import: start-up time is a promise, and imports are what it is made of."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FORBIDDEN = {
    "msgspec",
    "rich",
    "asyncio",
    "structlog",
    "cloudpickle",
    "psutil",
    "multiprocessing",
    "concurrent",
    "subprocess",
    "difflib",
    "tomllib",
    "shutil",
}
PONG = {"time": 1.0, "pid": 7, "version": "0.1.0"}
STATUS = {
    "daemon": {
        "pid": 7,
        "endpoint": "ipc:///x",
        "version": "0.1.0",
        "boot_id": "b",
        "uptime": 65.0,
        "state": "ready",
        "sessions": 1,
        "events": "",
    },
    "pools": [],
    "burners": [],
    "processes": [],
    "objects": [],
    "jobs": {},
    "seq": 9,
}
JOB = {"id": 3, "state": "done", "name": "sqrt", "pool": "default", "form": "call", "value": 2.0}

RUN = """
import sys
from stoker.cli.main import main
code = main(sys.argv[1:])
import json
print(json.dumps([code, sorted(sys.modules)]))
"""


@pytest.mark.parametrize(
    "argv",
    [("ping",), ("status",), ("submit", "math:sqrt", "4"), ("submit", "--detach", "math:sqrt", "4"), ("jobs",)],
    ids=" ".join,
)
def test_a_short_verb_imports_zmq_and_msgpack_and_nothing_heavy(daemon, argv):
    daemon.replies |= {
        "ping": PONG,
        "status": STATUS,
        "submit": {"jobs": [JOB]},
        "result": {"job": JOB},
        "jobs": {"jobs": [JOB]},
    }
    done = subprocess.run([sys.executable, "-c", RUN, *argv], capture_output=True, text=True, timeout=60)
    code, modules = json.loads(done.stdout.strip().rpartition("\n")[2])
    assert code == 0, done.stderr
    loaded = {name.partition(".")[0] for name in modules}
    assert loaded & FORBIDDEN == set()
    assert {"zmq", "msgpack", "argparse"} <= loaded


def test_only_the_verb_that_is_used_is_imported(daemon):
    daemon.replies["ping"] = PONG
    done = subprocess.run([sys.executable, "-c", RUN, "ping"], capture_output=True, text=True, timeout=60)
    _, modules = json.loads(done.stdout.strip().rpartition("\n")[2])
    assert [name for name in modules if name.startswith("stoker.cli.commands.")] == ["stoker.cli.commands.ping"]


def test_help_imports_neither_zmq_nor_argparse():
    done = subprocess.run([sys.executable, "-c", RUN, "--help"], capture_output=True, text=True, timeout=60)
    _, modules = json.loads(done.stdout.strip().rpartition("\n")[2])
    assert {"zmq", "argparse"} & set(modules) == set()
