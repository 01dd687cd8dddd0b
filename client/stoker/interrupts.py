"""Which signals may raise in the middle of anything."""

from __future__ import annotations

import signal

HELD_BACK = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
"""Signals whose handlers are known to raise: KeyboardInterrupt, SystemExit, time limits."""
