"""``multiprocessing.dummy``, the same names for threads, which needs nothing of the daemon."""

from multiprocessing.dummy import *  # noqa: F403
