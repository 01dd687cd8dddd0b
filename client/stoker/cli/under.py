"""Calls while a profile burns: a noisy-neighbour experiment (``stoker map … --under``).

So many calls are under way at any time, one after the other, round and round through their arguments, until the profile
has ended; what is under way then does not count. Once a second the burner is looked at: should it end before its
profile, there is no result.
"""

from __future__ import annotations

import math
import os
import secrets
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from stoker.cli import levels, mapper, render, values
from stoker.cli.connecting import Peer
from stoker.cli.levels import Look, Outcome
from stoker.cli.output import Output
from stoker.cli.values import UsageError
from stoker.errors import EXIT_FAILED, DaemonLost, NotFound, StartFailed, StokerError
from stoker.protocol.curve import Curve, curve
from stoker.protocol.profile_text import parse

Map = dict[str, Any]

MOST_ARGUMENTS = 100_000
ALIVE = frozenset({"running", "paused"})


class Call(mapper.Batch):
    """One call, and when it was handed in and answered."""

    __slots__ = ("began", "ended")

    def __init__(self, number: int, argument: Any, arrivals: mapper.Arrivals) -> None:
        super().__init__(number, [argument], 0, arrivals)
        self.began = time.monotonic()
        self.ended = self.began

    def part(self, result: Map, payload: Sequence[Any]) -> None:
        """A reply; the first with a result counts."""
        if result.get("first") is not None and self.ended == self.began:
            self.ended = time.monotonic()
        super().part(result, payload)

    finish = part


def arguments_of(path: str) -> list[Any]:
    """The arguments that calls take in turn.

    Raises:
        UsageError: there are none, or too many.
    """
    found: list[Any] = []
    for lines in mapper.Source.open(path).batches():
        found += [values.value(line.decode(errors="surrogateescape").removesuffix("\r")) for line in lines]
        if len(found) > MOST_ARGUMENTS:
            raise UsageError(
                f"more than {MOST_ARGUMENTS} arguments are too many under a profile",
                hint="they are taken in turn, again and again: some will do",
            )
    if not found:
        raise UsageError("there are no arguments to call it with", hint="give some by --input, one per line")
    return found


def course(profile: Map, limit: float | None) -> tuple[Curve, float]:
    """The curve of a profile's wire parameters, and for how long it is followed.

    Raises:
        UsageError: there is no end.
        BadProfile: it cannot be followed.
    """
    line = curve(parse(profile["profile"]), profile.get("traces", ()))
    seconds = min(line.seconds, math.inf if limit is None else limit)
    if math.isinf(seconds):
        raise UsageError("the profile has no end", hint="give one, such as --for 5m, or a profile with durations")
    return line, seconds


class Experiment:
    """One function under one profile.

    Args:
        peer: a session that cancels its jobs when it ends.
        function: ``package.module:name``.
        options: of each job, as on the wire.
        inputs: what it is called with, in turn.
        at_once: calls under way at any time.
    """

    def __init__(self, peer: Peer, function: str, options: Map, inputs: Sequence[Any], at_once: int) -> None:
        self._peer, self._function, self._options = peer, function, options
        self._inputs, self._at_once = inputs, at_once
        self._arrivals = mapper.Arrivals()
        self._name = f"under-{os.getpid()}-{secrets.token_hex(3)}"
        self._sent = 0
        self._begin = 0.0
        self._calls: deque[tuple[float, float, bool]] = deque()
        self.looks: list[Look] = []
        self.notes: tuple[str, ...] = ()
        self.failure: Map | None = None
        """The first error of a call."""
        self.seconds = 0.0
        """How much of the profile is over."""

    def run(self, burner: Map, seconds: float) -> None:
        """Burn and call until the profile has ended, or somebody interrupts.

        Raises:
            StartFailed: the burner did not start, or ended before its time.
            DaemonLost: the daemon went away.
        """
        started, _ = self._peer.call("start", {"kind": "burner", "name": self._name, "owned": True, **burner})
        self.notes = tuple(started.get("notes", ()))
        self._look()
        try:
            for _ in range(self._at_once):
                self._send()
            due = self._begin + levels.LOOK
            while (now := time.monotonic()) < self._begin + seconds:
                if now >= due:
                    due += levels.LOOK
                    self._look(until=seconds)
                if self._peer.connection.wait(self._arrivals, max(0.0, min(due, self._begin + seconds) - now)):
                    self._take()
        finally:
            self.seconds = min(seconds, time.monotonic() - self._begin)

    @property
    def outcomes(self) -> list[Outcome]:
        """The calls, by their time in the profile."""
        return [Outcome(began - self._begin, ended - self._begin, failed) for began, ended, failed in self._calls]

    def _send(self) -> None:
        argument = self._inputs[self._sent % len(self._inputs)]
        call = {"function": self._function, "many": [[argument]]}
        self._peer.connection.send(
            "submit",
            {"jobs": [{**self._options, "call": call}], "stream": True},
            (),
            Call(self._sent, argument, self._arrivals),
        )
        self._sent += 1

    def _take(self) -> None:
        call, told, payload = self._arrivals.take()
        if isinstance(told, StokerError):
            raise told
        if not isinstance(call, Call):
            raise DaemonLost("the daemon went away", hint="see its log; `stoker up` starts one")
        for item in mapper.checked(call, told, payload):
            self._calls.append((call.began, call.ended, item.error is not None))
            self.failure = self.failure or item.error
        self._send()

    def _look(self, until: float = math.inf) -> None:
        """See that it still burns, and what; the first look tells when the profile began."""
        asked = time.monotonic()
        try:
            status, _ = self._peer.call("status", {"names": [self._name]})
            burner = next((each for each in status["burners"] if each["name"] == self._name), None)
        except NotFound:
            burner = None
        if burner is None or burner["state"] not in ALIVE:
            if asked + levels.LOOK / 2 >= self._begin + until:
                return  # it saw the end before we did
            why = burner["reason"] if burner is not None else "somebody has stopped it"
            raise StartFailed(f"the burner ended before its profile: {why}", hint="`stoker events` tells more")
        position = burner["profile"]["position"]
        if not self._begin:
            self._begin = asked - position
        self.looks.append(Look(position - levels.LOOK / 2, burner["achieved"]))


def conduct(experiment: Experiment, profile: Map, burner: Map, limit: float | None, out: Output) -> int:
    """Run it and show the figures; the exit code: 1 if any call failed, 130 if it was interrupted."""
    line, seconds = course(profile, limit)
    out.note(f"stoker: calling for {values.spell(seconds)} under the profile; Ctrl-C ends it early")
    interrupted = False
    try:
        experiment.run(burner, seconds)
    except KeyboardInterrupt:
        interrupted = True
    rows = levels.figures(line, experiment.seconds, experiment.outcomes, experiment.looks) if experiment.seconds else []
    for note in experiment.notes:
        out.note(f"stoker: {render.clean(note)}")
    told = {"profile": profile["profile"], "seconds": round(experiment.seconds, 3), "levels": rows}
    table = f"{levels.table(rows, colour=out.colour)}\n\n{levels.plot(rows)}".rstrip()
    out.show(told, table if rows else "nothing was measured")
    if experiment.failure is not None:
        failed = sum(row["failed"] for row in rows)
        out.warn(f"{failed} calls failed, the first with: {render.clean(str(experiment.failure.get('message')))}")
    if interrupted:
        return 130
    return EXIT_FAILED if experiment.failure is not None else 0
