"""Houses that are closed after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.pool.houses import House
from tests.unit.store.stores import Stored

from stokerd.pool.settings import PoolSettings


@pytest.fixture
def house() -> Iterator[Callable[..., House]]:
    """Builds houses of so many workers, with further settings of the default pool."""
    built: list[House] = []

    def build(workers: int = 1, *, tags: dict[str, int] | None = None, up: bool = True, **settings: Any) -> House:
        ledger = settings.pop("ledger", None)
        one = House(PoolSettings(workers=workers, **settings), tags=tags, up=up, ledger=ledger)
        built.append(one)
        return one

    yield build
    for one in built:
        one.close()


@pytest.fixture
def open_store(tmp_path) -> Iterator[Callable[..., Stored]]:
    """Opens the store of one state folder; whichever was opened before is to be closed or aborted."""
    opened: list[Stored] = []

    def open_one(**options: Any) -> Stored:
        stored = Stored(tmp_path / "state", **options)
        opened.append(stored)
        return stored

    yield open_one
    for stored in opened:
        stored.store.abort()
