"""The sections: each a module with ``TITLE`` and ``run(run) -> list[Measure]``; its docstring stands on the page."""

NAMES = (
    "floors",
    "jobs",
    "cold",
    "durable",
    "objects",
    "control",
    "fairness",
    "kills",
    "cli",
    "memory",
    "daemon",
    "store",
    "burners",
)
"""In the order in which they run and are shown."""
