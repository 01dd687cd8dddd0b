"""A load in the foreground: started, watched once a second, ended with us."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from stoker.cli import overview, render
from stoker.cli.commands.start_burner import spell_load, tell_notes
from stoker.cli.connecting import Peer
from stoker.cli.output import Output
from stoker.cli.values import spell
from stoker.errors import EXIT_FAILED, NotFound, StartFailed

Map = dict[str, Any]
TICK = 1.0
"""Seconds between two looks; loads are means over one second."""
STOP_PATIENCE = 30.0
RECENT = 1000
"""Events in which the guard is looked for that has ended it."""
ALIVE = frozenset({"starting", "running", "paused"})


class Furnace:
    """One burner that is ours: it belongs to this session, so the daemon stops it even if we are killed.

    Args:
        peer: the daemon.
        out: where to show it.
        timeout: seconds for the load to be observed; None: as long as the daemon takes.
    """

    def __init__(self, peer: Peer, out: Output, timeout: float | None) -> None:
        self._peer = peer
        self._out = out
        self._timeout = timeout
        self._name = f"burn-{os.getpid()}-{secrets.token_hex(3)}"
        self._last: Map | None = None
        self._last_seen = 0.0
        self._failed = False
        self._reason = ""
        self._seen: list[Map] = []
        self._drawn = 0

    def burn(self, workers: int | None, load: Map) -> int:
        """Start, show, and stop; returns the exit code: 0 when the time limit ended it, 128 + N for a signal."""
        params = {"kind": "burner", "name": self._name, "owned": True, **load}
        if workers is not None:
            params["workers"] = workers
        caught: list[int] = []
        begin = time.monotonic()
        with _signals(caught):
            try:
                begin = self._start(params)
                self._watch()
            except KeyboardInterrupt:
                self._look()  # the last; from here on nothing interrupts
            survivors = self._stop()
        if caught and sys.stdout.isatty():
            self._out.line("")  # the terminal has put ^C on this line
        self._summary(begin, survivors)
        if survivors or self._failed:
            return EXIT_FAILED
        return 128 + caught[0] if caught else 0

    def _start(self, params: Map) -> float:
        started, _ = self._peer.call("start", params, timeout=self._timeout)
        pids = started["pids"]
        usual = "until its profile is over" if "profile" in params else "for the daemon's default time"
        limit = usual if "seconds" not in params else f"for {spell(params['seconds'])}"
        self._out.note(
            f"stoker: burning {spell_load(params)} in {len(pids)}"
            f" process{'es' * (len(pids) != 1)} {limit}; Ctrl-C ends it (pid {', '.join(map(str, pids))})"
        )
        tell_notes(started, self._out)
        return time.monotonic()

    def _watch(self) -> None:
        """Show one look a second until the burner is no more."""
        due = time.monotonic()
        while True:
            due += TICK
            time.sleep(max(due - time.monotonic(), 0))
            burner = self._look()
            if burner is None or burner["state"] not in ALIVE:
                self._reason = burner["reason"] if burner is not None else self._abort()
                self._failed = bool(self._reason) if burner is None else burner["state"] == "failed"
                return
            self._seen.append(burner)
            self._show(burner)

    def _abort(self) -> str:
        """Which guard has ended it; empty where none did."""
        if self._last is None or not any(guard["action"] == "abort" for guard in self._last.get("guards", ())):
            return ""
        recent, _ = self._peer.call("events", {"limit": RECENT, "topic": "burner.guard"}, timeout=STOP_PATIENCE)
        for _, _topic, event in reversed(recent["events"]):
            if event["name"] == self._name and event["action"] == "abort":
                return str(event["reason"])
        return ""

    def _look(self) -> Map | None:
        try:
            status, _ = self._peer.call("status", {"names": [self._name]}, timeout=STOP_PATIENCE)
        except NotFound:
            return None
        found = next((burner for burner in status["burners"] if burner["name"] == self._name), None)
        if found is not None and found["state"] in ALIVE:
            self._last, self._last_seen = found, time.monotonic()
        return found

    def _show(self, burner: Map) -> None:
        if self._out.json:
            self._out.show(burner)
        elif sys.stdout.isatty():
            self._redraw(burner)
        else:
            self._out.line(
                f"target {burner['target']:5.1f} %  achieved {burner['achieved']:5.1f} %"
                f"  shortfall {round(burner['shortfall'], 1) + 0.0:5.1f} %"
                + "".join(f"  {remark}" for remark in overview.remarks(burner))
            )

    def _redraw(self, burner: Map) -> None:
        """The table again over the last one."""
        rows = [overview.worker_row(worker, colour=self._out.colour) for worker in burner["workers"]]
        left = "no time limit" if burner["ends"] is None else f"ends in {spell(burner['ends'] - time.time())}"
        lines = render.table(overview.WORKER_HEAD, rows, colour=self._out.colour).split("\n")
        height = max(_lines() - 3, 4)
        if len(lines) > height:
            lines = [*lines[: height - 1], f"… and {len(lines) - height + 1} more"]
        lines.append(
            f"mean: {burner['achieved']:.1f} % of {burner['target']:.1f} %, {left}"
            + "".join(f"; {remark}" for remark in overview.remarks(burner))
        )
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        sys.stdout.write(up + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        sys.stdout.flush()
        self._drawn = len(lines)

    def _stop(self) -> int:
        """Stop it; a time limit, or a stop by somebody else, may have been quicker."""
        try:
            stopped, _ = self._peer.call("stop", {"names": [self._name]}, timeout=STOP_PATIENCE)
        except NotFound:
            return 0
        return int(stopped["survivors"])

    def _summary(self, begin: float, survivors: int) -> None:
        """What was reached, up to the last look at it."""
        elapsed = self._last_seen - begin if self._last else 0.0
        cpu = sum(worker["cpu_seconds"] for worker in self._last["workers"]) if self._last else 0.0
        means = self._means()
        facts = {"name": self._name, "seconds": round(elapsed, 3), "cpu_seconds": round(cpu, 3), **means}
        text = f"burned {cpu:.1f} s of CPU time in {spell(elapsed)}"
        if means:
            text += f": achieved {means['achieved']:.2f} % of {means['target']:.2f} %,"
            text += f" shortfall {round(means['shortfall'], 2) + 0.0:.2f} %"
        text += f"; {survivors} processes left" if survivors else "; no process left"
        self._out.show({"summary": {**facts, "survivors": survivors}}, text)
        if self._failed:
            how = "was ended" if self._reason.startswith("guard ") else "failed"
            self._out.complain(StartFailed(f"the burner {how}: {self._reason or 'no reason given'}"))

    def _means(self) -> dict[str, float]:
        steady = self._seen[1:] or self._seen  # the first second holds the start
        keys = ("target", "achieved", "shortfall") if steady else ()
        return {key: round(sum(each[key] for each in steady) / len(steady), 3) + 0.0 for key in keys}


@contextmanager
def _signals(caught: list[int]) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the load as Ctrl-C does; a second signal changes nothing."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal module's face
        first = not caught
        caught.append(number)
        if first:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lines() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines
    except OSError:
        return 24
