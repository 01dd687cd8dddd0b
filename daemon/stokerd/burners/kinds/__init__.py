"""What can generate load: each kind makes a :class:`Load`, whose *chunk* does about 50 µs of work.

The chunk is how finely the control law can be obeyed; everything else about a kind is its own. A kind is added by an
entry here and one in :data:`stoker.protocol.loads.LOADS`, which says what its unit is. ``stress-ng`` is not here: it
makes no chunks, and is supervised instead, see :mod:`stokerd.burners.stressor`.
"""

from __future__ import annotations

from collections.abc import Callable

from stokerd.burners.kinds.arithmetic import make_float, make_hash, make_matrix, make_spin, spin
from stokerd.burners.kinds.base import CHUNK_SECONDS, Chunk, Load, Params, Refusal, calibrated
from stokerd.burners.kinds.call import make_call
from stokerd.burners.kinds.disk import make_disk
from stokerd.burners.kinds.memory import make_bandwidth, make_memory

KINDS: dict[str, Callable[[Params], Load]] = {
    "spin": make_spin,
    "hash": make_hash,
    "float": make_float,
    "matrix": make_matrix,
    "memory": make_memory,
    "bandwidth": make_bandwidth,
    "disk": make_disk,
    "call": make_call,
}
"""By name: makes the load in the burner's process; it may take its time, and raise a :class:`Refusal`."""

__all__ = ["CHUNK_SECONDS", "KINDS", "Chunk", "Load", "Params", "Refusal", "calibrated", "spin"]
