"""What a child does before it becomes the program, in a process that is not root."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

TRY = """
import json, os, resource, sys
from stokerd.processes.become import RefusedError, settle
args = json.loads(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
try:
    env = settle({"cwd": "/", "env": {}, **args})
except RefusedError as why:
    print(json.dumps([why.error, why.hint]))
else:
    print(json.dumps([env.get("A"), os.getcwd()]))
"""


def settled(**args: Any) -> list[str]:
    done = subprocess.run([sys.executable, "-c", TRY, json.dumps(args)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told: list[str] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize(
    ("args", "error", "hint"),
    [
        ({"user": "root"}, "cannot run as user 0, group 0: the daemon runs as user", "run the daemon as root"),
        ({"user": "0"}, "cannot run as user 0", "run the daemon as root"),
        ({"group": "root"}, "group 0: the daemon runs as user", "leave out user and group"),
        ({"user": "no-such-user"}, "there is no user 'no-such-user'", "getent passwd"),
        ({"group": "no-such-group"}, "there is no group 'no-such-group'", "getent group"),
        ({"rlimits": {"nofile": 65}}, "cannot set the resource limit nofile to 65", "the hard limit is 64"),
        ({"rlimits": {"nofile": "unlimited"}}, "cannot set the resource limit nofile", "only root may raise it"),
        ({"rlimits": {"unheard": 1}}, "this system has no resource limit 'unheard'", "leave it out"),
        ({"cwd": "/no/such"}, "cannot enter the working directory /no/such: No such file", "a directory that exists"),
        ({"cwd": "/root"}, "cannot enter the working directory /root: Permission denied", "a directory that exists"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_to_do(args: dict[str, Any], error: str, hint: str) -> None:
    told = settled(**args)
    assert error in told[0]
    assert hint in told[1]


def test_what_can_be_had_is_had() -> None:
    assert settled(env={"A": "b"}, cwd="/tmp", rlimits={"nofile": 32}) == ["b", "/tmp"]
