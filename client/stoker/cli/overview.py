"""A status snapshot as tables. Pure; takes the daemon's map as it came."""

from __future__ import annotations

import time
from typing import Any

from stoker.cli import render
from stoker.cli.values import spell

Map = dict[str, Any]


def text(status: Map, *, detailed: bool = False, colour: bool = False, now: float | None = None) -> str:
    """The snapshot for people.

    Args:
        status: the result of ``status``.
        detailed: list every worker of what is shown.
        colour: use colours.
        now: UTC seconds; None: this moment.
    """
    now = time.time() if now is None else now
    parts = [
        daemon_line(status["daemon"], colour=colour),
        _pools(status["pools"], colour=colour),
        _burners(status["burners"], now, colour=colour),
        _processes(status["processes"], now, colour=colour),
        _objects(status.get("objects", ()), colour=colour),
    ]
    if detailed:
        parts.append(_pool_workers(status["pools"], colour=colour))
        parts.append(_burner_workers(status["burners"], colour=colour))
    parts.append(_jobs(status["jobs"], colour=colour))
    return "\n\n".join(part for part in parts if part)


def daemon_line(daemon: Map, *, colour: bool = False) -> str:
    """The daemon in one line."""
    state = render.state(daemon.get("state", "ready"), colour=colour)
    sessions = daemon.get("sessions", 0)
    return (
        f"stokerd {daemon['version']}  {state}  pid {daemon['pid']}  up {spell(daemon['uptime'])}"
        f"  {sessions} session{'s' * (sessions != 1)}  {daemon['endpoint']}"
    )


def _pools(pools: list[Map], *, colour: bool) -> str:
    rows = [
        (
            pool["name"],
            pool["engine"],
            f"{len(pool['workers'])}/{pool['size']}",
            sum(worker["state"] == "busy" for worker in pool["workers"]),
            pool["queued"],
            pool["running"],
            render.state("paused", colour=colour) if pool["paused"] else "",
        )
        for pool in pools
    ]
    head = ("POOL", "ENGINE", ">WORKERS", ">BUSY", ">QUEUED", ">RUNNING", "")
    return render.table(head, rows, colour=colour) if rows else ""


def _burners(burners: list[Map], now: float, *, colour: bool) -> str:
    rows = [
        (
            burner["name"],
            render.state(burner["state"], colour=colour),
            f"{len(burner['workers'])}/{burner['size']}",
            f"{burner['target']:.1f} %",
            f"{burner['achieved']:.1f} %",
            _shortfall(burner["shortfall"], colour=colour),
            render.cores(burner["cpus"]) or "any",
            burner["nice"],
            "never" if burner["ends"] is None else spell(burner["ends"] - now),
            render.clean(burner["reason"]),
        )
        for burner in burners
    ]
    head = ("BURNER", "STATE", ">PROCS", ">TARGET", ">ACHIEVED", ">SHORTFALL", "CORES", ">NICE", ">ENDS IN", "")
    return render.table(head, rows, colour=colour) if rows else ""


def _shortfall(points: float, *, colour: bool) -> str:
    text = f"{round(points, 1) + 0.0:.1f} %"  # no minus sign before a zero
    return render.paint(text, "red", colour=colour) if points >= 1 else text


def _processes(processes: list[Map], now: float, *, colour: bool) -> str:
    rows = [
        (
            process["name"],
            render.state(process["state"], colour=colour),
            process["pid"] or "-",
            spell(now - process["started"]) if process["pid"] and process["started"] else "-",
            process["restarts"],
            "-" if process["exit_code"] is None else process["exit_code"],
            render.shorten(render.clean(" ".join(process["argv"])), 48),
            render.clean(process["reason"]),
        )
        for process in processes
    ]
    head = ("PROCESS", "STATE", ">PID", ">UP", ">RESTARTS", ">LAST EXIT", "COMMAND", "")
    return render.table(head, rows, colour=colour) if rows else ""


def _objects(objects: list[Map], *, colour: bool) -> str:
    rows = [
        (
            item["name"] or item["id"],
            item["kind"],
            "  ".join(f"{key} {value}" for key, value in item["detail"].items() if value not in (None, "")),
        )
        for item in objects
    ]
    return render.table(("OBJECT", "KIND", "DETAIL"), rows, colour=colour) if rows else ""


def _pool_workers(pools: list[Map], *, colour: bool) -> str:
    rows = [
        (
            pool["name"],
            worker["id"],
            worker["pid"] or "-",
            render.state(worker["state"], colour=colour),
            worker["job"] or "-",
            worker["jobs_done"],
            worker["environment"],
        )
        for pool in pools
        for worker in pool["workers"]
    ]
    head = ("POOL", ">WORKER", ">PID", "STATE", ">JOB", ">DONE", "ENVIRONMENT")
    return render.table(head, rows, colour=colour) if rows else ""


def _burner_workers(burners: list[Map], *, colour: bool) -> str:
    rows = [(burner["name"], *worker_row(worker, colour=colour)) for burner in burners for worker in burner["workers"]]
    return render.table(("BURNER", *WORKER_HEAD), rows, colour=colour) if rows else ""


WORKER_HEAD = (">PID", ">CORE", ">TARGET", ">ACHIEVED", ">SHORTFALL", ">CPU TIME")


def worker_row(worker: Map, *, colour: bool) -> tuple[object, ...]:
    """One process of a burner, under :data:`WORKER_HEAD`."""
    return (
        worker["pid"] or "-",
        "any" if worker["cpu"] is None else worker["cpu"],
        f"{worker['target']:.1f} %",
        f"{worker['achieved']:.1f} %",
        _shortfall(worker["shortfall"], colour=colour),
        f"{worker['cpu_seconds']:.1f} s",
    )


def _jobs(counts: dict[str, int], *, colour: bool) -> str:
    known = [f"{number} {render.state(state, colour=colour)}" for state, number in counts.items() if number]
    return f"jobs: {', '.join(known)}" if known else "jobs: none"
