"""Loads that keep a core's units busy and little else: ``spin``, ``float``, ``hash``, ``matrix``."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from time import process_time
from typing import Any

from stokerd.burners.kinds.base import Load, Params, Refusal, Tally, calibrated

HASH_BYTES, HASH_BUFFER = 4096, 1 << 20
"""A turn of ``hash``, and the buffer that its turns walk through: larger than first-level caches."""

MATRIX_SIDE = 32
"""A product of two such squares is 2 n³ = 65,536 operations: some 10 to 30 µs on one thread."""

_BLAS_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def spin(turns: int) -> None:
    """Integer arithmetic in the interpreter, in registers and the first-level cache.

    Args:
        turns: of a linear congruential generator (multiplier and increment as in BSD's ``rand``).
    """
    state = 12345
    for _ in range(turns):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF


def floats(turns: int) -> None:
    """Floating-point arithmetic in the interpreter.

    Args:
        turns: of the logistic map at r = 3.9, which is chaotic and stays between 0 and 1.
    """
    state = 0.5
    for _ in range(turns):
        state = 3.9 * state * (1.0 - state)


def make_spin(_params: Params) -> Load:
    """See :func:`spin`."""
    return Load(calibrated(spin))


def make_float(_params: Params) -> Load:
    """See :func:`floats`."""
    return Load(calibrated(floats))


def make_hash(_params: Params) -> Load:
    """SHA-256 over a buffer of random bytes, for ever."""
    return Tally(_hashing(), HASH_BYTES).load()


def _hashing() -> Callable[[int], None]:
    import hashlib

    buffer = memoryview(os.urandom(HASH_BUFFER))
    update = hashlib.sha256().update
    at = 0

    def turn(turns: int) -> None:
        nonlocal at
        for _ in range(turns):
            update(buffer[at : at + HASH_BYTES])
            at = (at + HASH_BYTES) % HASH_BUFFER

    return turn


def make_matrix(_params: Params) -> Load:
    """Products of matrices by numpy's BLAS, on one thread.

    The clock is the whole process's: threads that a BLAS starts against its orders are seen too.

    Raises:
        Refusal: this interpreter has no numpy.
    """
    os.environ.update(dict.fromkeys(_BLAS_THREADS, "1"))  # read once, when the library is loaded
    try:
        import numpy as np
    except ImportError as why:
        raise Refusal(
            f"the kind matrix needs numpy, and this interpreter cannot import it: {why}",
            hint="install it where the load is started from (`pip install numpy`), or take the kind float or hash",
        ) from None
    tally = Tally(_multiplying(np), 2.0 * MATRIX_SIDE**3)
    chunk = calibrated(tally.turn, process_time)
    tally.done = 0.0
    return Load(chunk, clock=process_time, work=partial(getattr, tally, "done"))


def _multiplying(np: Any) -> Callable[[int], None]:
    random = np.random.default_rng(1)
    left, right = random.random((MATRIX_SIDE, MATRIX_SIDE)), random.random((MATRIX_SIDE, MATRIX_SIDE))
    out = np.empty((MATRIX_SIDE, MATRIX_SIDE))

    def turn(turns: int) -> None:
        for _ in range(turns):
            np.matmul(left, right, out=out)

    return turn
