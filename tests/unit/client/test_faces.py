"""What `import stoker` offers is what is there."""

from __future__ import annotations

import stoker
from stoker import shared


def test_every_name_is_there() -> None:
    assert all(getattr(stoker, name) is not None for name in stoker.__all__)


def test_every_kind_of_shared_object_is_offered() -> None:
    assert set(shared.__all__) - {"Face", "settle"} <= set(stoker.__all__)
