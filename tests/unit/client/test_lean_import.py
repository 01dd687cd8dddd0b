from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("msgspec", "asyncio", "rich", "structlog", "cloudpickle", "dataclasses", "inspect", "pathlib", "psutil")


@pytest.mark.parametrize("module", ["stoker", "stoker.connection", "stoker.batch"])
def test_the_short_path_imports_nothing_that_is_slow_to_start(module):
    program = (
        f"import zmq, msgpack, sys; before = set(sys.modules); import {module}; print(*(set(sys.modules) - before))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(entry for entry in sys.path if entry)},
    )
    assert run.returncode == 0, run.stderr
    assert not set(HEAVY) & {name.partition(".")[0] for name in run.stdout.split()}


def test_every_public_name_can_be_had():
    import stoker

    for name in stoker.__all__:
        assert getattr(stoker, name) is not None
    assert set(stoker.__all__) <= set(dir(stoker))
    with pytest.raises(AttributeError):
        _ = stoker.Clinet
