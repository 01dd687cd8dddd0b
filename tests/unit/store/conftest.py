"""Stores that are let go of after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.store.stores import Stored


@pytest.fixture
def folder(tmp_path) -> Path:
    """A state folder that does not exist yet."""
    return tmp_path / "state"


@pytest.fixture
def open_store(folder) -> Iterator[Callable[..., Stored]]:
    """Opens stores, in the state folder unless told otherwise."""
    opened: list[Stored] = []

    def open_one(where: Path = folder, **options: Any) -> Stored:
        stored = Stored(where, **options)
        opened.append(stored)
        return stored

    yield open_one
    for stored in opened:
        stored.store.abort()


@pytest.fixture
def stored(open_store) -> Stored:
    """An open store in the state folder."""
    return open_store()
