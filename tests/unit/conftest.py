"""Fixtures for all unit tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What runs in workers and burners sets how many threads BLAS has; here it runs in the process of other tests."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
