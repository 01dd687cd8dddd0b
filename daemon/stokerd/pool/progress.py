"""How far the running job has come: what ``stoker.progress`` finds in a worker. Standard library only."""

from __future__ import annotations

from collections.abc import Callable

tell: Callable[[float, float | None, str], None] | None = None
"""Takes done, total and a note; None where this process is no worker. Set by :mod:`stokerd.pool.worker_main`."""
