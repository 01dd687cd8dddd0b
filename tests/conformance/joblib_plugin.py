"""A pytest plugin that puts Stoker in the place of loky, for joblib's own tests.

Loaded by ``-p`` before any test module of joblib's is imported; the tests themselves are those that joblib installs.
"""

from __future__ import annotations

import joblib
from joblib import _parallel_backends, parallel

from stoker.integrations.joblib import StokerBackend


def take_lokys_place() -> None:
    """From here on, ``loky`` and the default backend are Stoker."""
    parallel.BACKENDS["loky"] = StokerBackend
    _parallel_backends.LokyBackend = StokerBackend


take_lokys_place()
__all__ = ["joblib", "take_lokys_place"]
