"""Objects that live in the daemon and are shared by whoever knows their name, or was handed them.

They behave as their namesakes in :mod:`multiprocessing`. Given a name, they are the same object in every program, and
stay until they are dropped or the daemon ends; without one they live as long as a program that has used them. They can
be pickled: the other side gets the same object.
"""

from __future__ import annotations

from stoker.shared.cells import Array, RawArray, RawValue, Value
from stoker.shared.face import Face
from stoker.shared.locks import BoundedSemaphore, Lock, RLock, Semaphore
from stoker.shared.mappings import Dict, Namespace
from stoker.shared.queues import JoinableQueue, Queue, SimpleQueue
from stoker.shared.sequences import List
from stoker.shared.settling import settle
from stoker.shared.waits import Barrier, Condition, Event

__all__ = [
    "Array",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Dict",
    "Event",
    "Face",
    "JoinableQueue",
    "List",
    "Lock",
    "Namespace",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "Value",
    "settle",
]
