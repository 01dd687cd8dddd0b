"""Fixtures of the chaos tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.houses import Build, House, nothing_leaks
from tests.conftest import StartDaemon


@pytest.fixture
def build(start_daemon: StartDaemon, short_path: Path) -> Build:
    """Makes houses; see :class:`House` for the options."""
    numbers = itertools.count(1)

    def make(**options: Any) -> House:
        return House(start_daemon, short_path / f"home{next(numbers)}", **options)

    return make


@pytest.fixture
def house(build: Build) -> Iterator[House]:
    """Two workers; when the test is over there are two again, and of nothing is there more than before."""
    made = build()
    with nothing_leaks(made):
        yield made
