"""How many threads BLAS and OpenMP use in a worker: as many as its job has slots. Standard library only.

What is loaded later goes by the environment; what is loaded already is told by its own C function. So two workers on
two cores do not run four threads each (NumPy's default is one thread per core, in every process).
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import MutableMapping
from pathlib import Path

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
SETTERS = {
    "openblas": (
        "openblas_set_num_threads",
        "openblas_set_num_threads64_",
        "scipy_openblas_set_num_threads",
        "scipy_openblas_set_num_threads64_",
    ),
    "libgomp": ("omp_set_num_threads",),
    "libomp": ("omp_set_num_threads",),
    "libiomp": ("omp_set_num_threads",),
    "libmkl_rt": ("MKL_Set_Num_Threads",),
    "libblis": ("bli_thread_set_num_threads",),
}
"""C functions that take the number of threads, by a part of the library's file name; OpenBLAS has them under a prefix
and a suffix of whoever built it."""


class Threads:
    """The number of threads in this process.

    Args:
        environ: where libraries that are loaded later look.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self._fixed = any(name in environ for name in VARIABLES)
        """The user has said how many: then nothing is changed."""
        self._now = 0

    def follow(self, slots: int) -> None:
        """From now on, as many as the job has slots."""
        if slots == self._now or self._fixed:
            return
        first, self._now = not self._now, slots
        self._environ.update(dict.fromkeys(VARIABLES, str(slots)))
        if not first:
            for library, names in _loaded():
                _tell(library, names, slots)


def _loaded() -> list[tuple[str, tuple[str, ...]]]:
    """The libraries with threads of their own that this process has loaded, and what to call."""
    with contextlib.suppress(OSError):
        paths = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
        return [
            (path, names)
            for path in sorted(paths)
            if path.startswith("/")
            for part, names in SETTERS.items()
            if part in Path(path).name
        ]
    return []


def _tell(library: str, names: tuple[str, ...], threads: int) -> None:
    with contextlib.suppress(OSError):
        loaded = ctypes.CDLL(library)
        for name in names:
            if (setter := getattr(loaded, name, None)) is not None:
                setter(ctypes.c_int(threads))
