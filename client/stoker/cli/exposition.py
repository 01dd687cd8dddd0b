"""A status snapshot as metrics, in the text format that Prometheus and OpenMetrics scrapers read. Pure.

Source of the format: OpenMetrics 1.0, of which only gauges and counters with labels are needed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Map = dict[str, Any]
Sample = tuple[dict[str, object], float]


def text(status: Map) -> str:
    """Everything that counts, as metric families.

    Args:
        status: the result of ``status``.
    """
    return "".join(_families(status)) + "# EOF\n"


def _families(status: Map) -> Iterator[str]:
    daemon, pools, burners = status["daemon"], status["pools"], status["burners"]
    yield _family("stoker_up_seconds", "How long the daemon has been up.", [({}, daemon["uptime"])])
    yield _family("stoker_sessions", "Clients that are connected.", [({}, daemon["sessions"])])
    yield _family(
        "stoker_shared_bytes",
        "Memory that is shared with clients and workers for large data.",
        [({}, daemon.get("shared_bytes", 0))],
    )
    yield _family(
        "stoker_store_failing",
        "1 where durable jobs are refused.",
        [({}, float(daemon.get("store", "") not in ("", "off")))],
    )
    yield _family(
        "stoker_jobs",
        "Jobs that are known, by state.",
        [({"state": state}, number) for state, number in sorted(status["jobs"].items())],
    )
    yield from _of_pools(pools)
    yield from _of_burners(burners)
    yield _family(
        "stoker_process_up",
        "1 where a supervised process is up.",
        [({"process": process["name"]}, float(process["state"] == "up")) for process in status["processes"]],
    )
    yield _family(
        "stoker_process_wanted",
        "1 where a supervised process should be up, whether it is or not.",
        [({"process": process["name"]}, float(process["wanted"])) for process in status["processes"]],
    )
    yield _family(
        "stoker_process_restarts",
        "How often a supervised process was started again.",
        [({"process": process["name"]}, process["restarts"]) for process in status["processes"]],
    )


def _of_pools(pools: list[Map]) -> Iterator[str]:
    for name, about, value in (
        ("size", "Workers that a pool should have.", lambda pool: pool["size"]),
        ("workers", "Workers that it has.", lambda pool: len(pool["workers"])),
        ("busy", "Workers with a job.", lambda pool: sum(worker["state"] == "busy" for worker in pool["workers"])),
        ("queued", "Jobs that may run and wait for a worker.", lambda pool: pool["queued"]),
        ("running", "Jobs that workers have.", lambda pool: pool["running"]),
        ("held", "Jobs that are delayed or wait for other jobs.", lambda pool: pool.get("held", 0)),
    ):
        yield _family(f"stoker_pool_{name}", about, [({"pool": pool["name"]}, value(pool)) for pool in pools])


def _of_burners(burners: list[Map]) -> Iterator[str]:
    processes = [
        ({"burner": burner["name"], "process": number, "pid": worker["pid"] or ""}, worker)
        for burner in burners
        for number, worker in enumerate(burner["workers"])
    ]
    for name, about in (
        ("target", "Percent of a core that a burner's process should burn."),
        ("achieved", "Percent of a core that it burnt over the last second."),
        ("shortfall", "Target less achieved, percent of a core."),
        ("others", "Percent of its cores that others used."),
        ("steal", "Percent of its cores that the hypervisor took."),
    ):
        samples: list[Sample] = [(labels, worker.get(name, 0.0)) for labels, worker in processes]
        yield _family(f"stoker_burner_{name}_percent", about, samples)
    yield _family(
        "stoker_burner_cpu_seconds_total",
        "CPU time that a burner's process has burnt.",
        [(labels, worker["cpu_seconds"]) for labels, worker in processes],
        kind="counter",
    )
    yield _family(
        "stoker_burner_reason",
        "1 for each reason why a burner burns less than was asked for.",
        [
            ({"burner": burner["name"], "reason": reason["code"]}, 1.0)
            for burner in burners
            for reason in burner.get("reasons", ())
        ],
    )
    yield _family(
        "stoker_burner_guard_tripped",
        "1 where a guard holds a burner back.",
        [
            ({"burner": burner["name"], "guard": guard["text"]}, float(guard["tripped"]))
            for burner in burners
            for guard in burner.get("guards", ())
        ],
    )


def _family(name: str, about: str, samples: Iterable[Sample], kind: str = "gauge") -> str:
    lines = [f"{name}{_labels(labels)} {value:.10g}\n" for labels, value in samples]
    if not lines:
        return ""
    family = name.removesuffix("_total")
    return f"# TYPE {family} {kind}\n# HELP {family} {about}\n{''.join(lines)}"


def _labels(labels: dict[str, object]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
