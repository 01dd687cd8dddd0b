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
        parts.append(_guards(status["burners"], colour=colour))
        parts.append(_process_details(status["processes"]))
    parts.append(_jobs(status["jobs"], colour=colour))
    return "\n\n".join(part for part in parts if part)


def daemon_line(daemon: Map, *, colour: bool = False) -> str:
    """The daemon in one line."""
    state = render.state(daemon.get("state", "ready"), colour=colour)
    sessions, shared = daemon.get("sessions", 0), daemon.get("shared_bytes", 0)
    trouble = daemon.get("store", "")
    if trouble == "off":
        store = "  nothing is durable"
    else:
        store = f"\ndurable jobs are refused: {render.clean(trouble)}" if trouble else ""
    return (
        f"stokerd {daemon['version']}  {state}  pid {daemon['pid']}  up {spell(daemon['uptime'])}"
        f"  {sessions} session{'s' * (sessions != 1)}  {f'{render.size(shared)} shared  ' * bool(shared)}"
        f"{daemon['endpoint']}{store}"
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
            pool.get("held", 0),
            _pool_remark(pool, colour=colour),
        )
        for pool in pools
    ]
    head = ("POOL", "ENGINE", ">WORKERS", ">BUSY", ">QUEUED", ">RUNNING", ">HELD", "")
    return render.table(head, rows, colour=colour) if rows else ""


def _pool_remark(pool: Map, *, colour: bool) -> str:
    """Why a pool does not do what pools do."""
    words = [render.state(word, colour=colour) for word in ("paused", "draining") if pool.get(word)]
    return "; ".join([*words, *([render.clean(pool["reason"])] if pool.get("reason") else [])])


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
            "; ".join(remarks(burner)),
        )
        for burner in burners
    ]
    head = ("BURNER", "STATE", ">PROCS", ">TARGET", ">ACHIEVED", ">SHORTFALL", "CORES", ">NICE", ">ENDS IN", "")
    return render.table(head, rows, colour=colour) if rows else ""


def remarks(burner: Map) -> list[str]:
    """What there is to say of a burner beside its figures: what it does, what they are of, where it is in its profile,
    and why it is not well.
    """
    profile = burner.get("profile")
    place = profile_place(profile) if profile else ""
    return [text for text in (work(burner), measure(burner), place, render.clean(burner["reason"])) if text]


def work(burner: Map) -> str:
    """What kind of load it is, where it is not ``spin``, and what that gets done: ``bandwidth: 12.7 GB/s``."""
    if burner["kind"] == "spin":
        return ""
    unit = burner.get("work_unit", "")
    if not unit:
        return str(render.clean(burner["kind"]))
    number, prefix = burner["work"], ""
    for larger in ("k", "M", "G", "T"):
        if number < 1000:
            break
        number, prefix = number / 1000, larger
    return f"{render.clean(burner['kind'])}: {number:.3g} {prefix}{unit}/s"


def measure(burner: Map) -> str:
    """What a burner's percentages are of, where it is not one core each: ``60 % of machine (2 cores) in total: …``."""
    of, total = burner.get("of", "core"), burner.get("mode") == "total"
    if of == "core" and not total:
        return ""
    text = f"{burner['asked']:g} % of {of} ({burner['cores']:g} core{'s' * (burner['cores'] != 1)})"
    return f"{text} in total: the machine is at {burner['machine']:.1f} %" if total else text


def profile_place(profile: Map) -> str:
    """Where a burner is in its profile: ``ramp 0->80 over 5m  3/7  2m 10s of 10m 00s  round 2/3``."""
    parts = [
        render.shorten(render.clean(profile["now"]), 40),
        f"{profile['segment']}/{profile['segments']}",
        f"{spell(int(profile['now_position']))} of {spell(profile['now_seconds'])}",
    ]
    if profile["rounds"] != 1:
        parts.append(f"round {profile['round']}" + (f"/{profile['rounds']}" if profile["rounds"] else ""))
    return "  ".join(parts)


def _shortfall(points: float, *, colour: bool) -> str:
    text = f"{round(points, 1) + 0.0:.1f} %"  # no minus sign before a zero
    return render.paint(text, "red", colour=colour) if points >= 1 else text


def _processes(processes: list[Map], now: float, *, colour: bool) -> str:
    rows = [
        (
            process["name"],
            render.state(process["state"], colour=colour),
            "up" if process["wanted"] else "down",
            process["pid"] or "-",
            spell(now - process["started"]) if process["pid"] and process["started"] else "-",
            process["restarts"],
            "-" if process["exit_code"] is None else process["exit_code"],
            render.shorten(render.clean(" ".join(process["argv"]) or process.get("target", "")), 48),
            render.clean(process["reason"] or process.get("status", "")),
        )
        for process in processes
    ]
    head = ("PROCESS", "STATE", "WANTED", ">PID", ">UP", ">RESTARTS", ">LAST EXIT", "COMMAND", "")
    return render.table(head, rows, colour=colour) if rows else ""


def _process_details(processes: list[Map]) -> str:
    """What becomes of what each writes, and whom it waits for."""
    rows = [
        (
            process["name"],
            process.get("written", 0),
            process.get("dropped", 0),
            process.get("log") or "-",
            process.get("log_dropped", 0),
            ", ".join(dict.fromkeys((*process.get("requires", ()), *process.get("after", ())))) or "-",
        )
        for process in processes
    ]
    head = ("PROCESS", ">WRITTEN", ">NOT IN MEMORY", "LOG", ">NOT IN LOG", "AFTER")
    return render.table(head, rows) if rows else ""


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


def history(burners: list[Map], *, colour: bool = False) -> str:
    """What burners did second by second, a line each."""
    figures = ("asked", "target", "achieved", "shortfall", "others", "steal")
    rows = [
        (burner["name"], render.clock(second["at"]), *(f"{round(second[name], 1) + 0.0:.1f} %" for name in figures))
        for burner in burners
        for second in burner["seconds"]
    ]
    head = ("BURNER", "AT", *(f">{name.upper()}" for name in figures))
    return render.table(head, rows, colour=colour) if rows else "no burner has run for a second"


def _guards(burners: list[Map], *, colour: bool) -> str:
    rows = [
        (
            burner["name"],
            render.clean(guard["text"]),
            render.state("tripped" if guard["tripped"] else "watching", colour=colour),
            "-" if guard["reading"] is None else f"{guard['reading']:g}",
            render.clean(guard["reason"]),
        )
        for burner in burners
        for guard in burner.get("guards", ())
    ]
    return render.table(("BURNER", "GUARD", "STATE", ">READING", ""), rows, colour=colour) if rows else ""


WORKER_HEAD = (">PID", ">CORE", ">TARGET", ">ACHIEVED", ">SHORTFALL", ">OTHERS", ">STEAL", ">WAITED", ">CPU TIME")


def worker_row(worker: Map, *, colour: bool) -> tuple[object, ...]:
    """One process of a burner, under :data:`WORKER_HEAD`."""
    return (
        worker["pid"] or "-",
        "any" if worker["cpu"] is None else worker["cpu"],
        f"{worker['target']:.1f} %",
        f"{worker['achieved']:.1f} %",
        _shortfall(worker["shortfall"], colour=colour),
        f"{worker.get('others', 0.0):.1f} %",
        f"{worker.get('steal', 0.0):.1f} %",
        "-" if worker.get("waited") is None else f"{worker['waited']:.1f} %",
        f"{worker['cpu_seconds']:.1f} s",
    )


def _jobs(counts: dict[str, int], *, colour: bool) -> str:
    known = [f"{number} {render.state(state, colour=colour)}" for state, number in counts.items() if number]
    return f"jobs: {', '.join(known)}" if known else "jobs: none"
