"""What Stoker costs, beside what others cost: ``python -m benchmarks``.

Tests check, benchmarks measure. Every peer runs in a process and, where it comes from PyPI, in an environment of its
own; all are alive at once and are measured in turn, in short blocks (A B C A B C ...), so that whatever else the
machine does hits all of them alike.

- ``sections/``: what is measured, one file per area.
- ``peers/``: how each peer is driven, all by the same handful of methods. Runs in the peer's environment.
- ``environments.py``, ``guest.py``, ``daemon.py``: what is started, and how it is ended.
- ``rounds.py``, ``figures.py``: blocks in turn, medians, spread, ratios.
- ``targets.py``, ``page.py``, ``plots.py``: what the figures are held against, and ``docs/performance.md``.
"""
