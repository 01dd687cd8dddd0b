"""Profiles as k6 writes them: ``[{"duration": "5m", "target": 80}, …]``.

Each stage is a ramp from the target of the stage before, the first from ``startVUs`` (0). A target is percent; a
duration is text such as ``1m30s`` or, as in k6, a number of milliseconds; a stage of ``0s`` jumps. All of it may be in
a map, as ``{"stages": […], "startVUs": 10}``.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from stoker.errors import BadProfile
from stoker.protocol.profile import LONGEST, Profile, Ramp, Segment, Step
from stoker.protocol.profile_scanner import Scanner, refuse

MOST_STAGES = 1000

_KEYS = frozenset({"stages", "startVUs", "executor", "gracefulRampDown", "gracefulStop"})
_HINT = 'a stage is {"duration": "5m", "target": 80}'
_ZERO = re.compile(r"(?:0+(?:\.0*)?(?:ms|s|m|h|d))+")


def parse_stages(text: str) -> Profile:
    """The profile that k6's stages describe.

    Raises:
        BadProfile: not JSON, or not such stages; the message has the column.
    """
    try:
        whole = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as why:
        refuse(text, min(why.pos, len(text)), f"not JSON: {why.msg}", hint=f"k6's stages are a list: {_HINT}")
    except (ValueError, RecursionError) as why:
        refuse(text, 0, f"not JSON: {why}", hint=f"k6's stages are a list: {_HINT}")
    start = 0.0
    if isinstance(whole, dict):
        start = _start(text, whole)
        stages = whole["stages"]
    else:
        stages = whole
    if not isinstance(stages, list) or not stages:
        refuse(text, _begin(text), "expected a list of at least one stage", hint=_HINT)
    if len(stages) > MOST_STAGES:
        refuse(text, _begin(text), f"more than {MOST_STAGES} stages", hint="put its levels into a trace")
    places = _places(text, len(stages))
    segments = [
        _segment(text, stage, place, at) for place, (stage, at) in enumerate(zip(stages, places, strict=True), 1)
    ]
    if all(isinstance(segment, Step) for segment in segments):
        refuse(text, places[-1], "these stages take no time at all", hint="give one a duration such as 5m")
    while isinstance(segments[-1], Step):  # a jump with nothing after it
        segments.pop()
    if start:
        segments.insert(0, Step(start))
    return Profile(tuple(segments))


def _start(text: str, whole: dict[str, Any]) -> float:
    """The level at which the first stage begins."""
    if unknown := sorted(set(whole) - _KEYS):
        refuse(text, _key(text, unknown[0]), f"unknown key {unknown[0]!r:.80}", hint="use stages and startVUs")
    if "stages" not in whole:
        refuse(text, 0, 'expected "stages" in this map', hint=f'{{"stages": [{_HINT[11:]}]}}')
    if whole.get("executor", "ramping-vus") != "ramping-vus":
        at = _key(text, "executor")
        refuse(text, at, f"executor {whole['executor']!r:.80} is none that a load can follow", hint='use "ramping-vus"')
    return _level(text, whole.get("startVUs", 0), "startVUs", _key(text, "startVUs"))


def _segment(text: str, stage: Any, place: int, at: int) -> Segment:
    if not isinstance(stage, dict):
        refuse(text, at, f"stage {place} is no map", hint=_HINT)
    for key in ("duration", "target"):
        if key not in stage:
            refuse(text, at, f"stage {place} has no {key}", hint=_HINT)
    if unknown := sorted(set(stage) - {"duration", "target"}):
        refuse(text, at, f"stage {place} has an unknown key {unknown[0]!r:.80}", hint=_HINT)
    target = _level(text, stage["target"], f"stage {place}: target", at)
    seconds = _seconds(text, stage["duration"], place, at)
    return Ramp(target, seconds) if seconds else Step(target)


def _level(text: str, value: Any, what: str, at: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(text, at, f"{what} is no number", hint="a target is percent, 0 to 100")
    if not 0 <= value <= 100:
        refuse(
            text,
            at,
            f"{what} {value!r:.40} is outside 0 to 100",
            hint="targets are percent; more workers load more cores",
        )
    return float(value)


def _seconds(text: str, value: Any, place: int, at: int) -> float:
    if isinstance(value, str):
        if _ZERO.fullmatch(value.strip()) or value.strip() == "0":
            return 0.0
        try:
            scan = Scanner(value)
            seconds = scan.duration()
        except BadProfile as why:
            what = why.message.partition("\n")[0].partition(": ")[2]
            refuse(text, at, f"stage {place}: duration: {what}", hint="write it as 5m or 1m30s")
        if scan.at < len(value):
            refuse(text, at, f"stage {place}: duration {value!r:.40} is none", hint="write it as 5m or 1m30s")
        return seconds
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(text, at, f"stage {place}: duration is neither text nor milliseconds", hint="write it as 5m or 1m30s")
    if not 0 <= value <= LONGEST * 1000:
        refuse(
            text, at, f"stage {place}: a duration of {value!r:.40} ms is not possible", hint="write it as 5m or 1m30s"
        )
    return value / 1000


def _begin(text: str) -> int:
    """Where the list of stages begins."""
    if text.lstrip().startswith("{"):
        found = re.search(r'"stages"\s*:\s*', text)
        return found.end() if found else 0
    return len(text) - len(text.lstrip())


def _key(text: str, key: str) -> int:
    return max(text.find(json.dumps(key)), 0)


def _places(text: str, count: int) -> list[int]:
    """Where each stage begins in the text, which is known to be a list of so many."""
    decoder, at = json.JSONDecoder(), _begin(text) + 1
    places: list[int] = []
    while len(places) < count:
        while text[at] in " \t\r\n,":
            at += 1
        places.append(at)
        at = decoder.raw_decode(text, at)[1]
    return places


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
