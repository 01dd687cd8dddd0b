"""From the text of a profile to a :class:`~stoker.protocol.profile.Profile`, or to the column of what is wrong.

Keywords are the same in upper and lower case, blanks and line ends are free, ``#`` begins a comment. A text that begins
with ``[`` or ``{`` is JSON: k6's stages, see :mod:`stoker.protocol.profile_stages`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from stoker.errors import BadProfile
from stoker.protocol.profile import Hold, Noise, Profile, Ramp, Saw, Segment, Sine, Square, Step, Trace, number
from stoker.protocol.profile_scanner import MOST_SPEED, Scanner

Options = dict[str, Callable[[Scanner], Any]]

LONGEST_TEXT = 65536
"""Characters."""
MOST_SEGMENTS = 1000
MOST_REPEATS = 1_000_000


def parse(text: str) -> Profile:
    """The profile that a text describes.

    Raises:
        BadProfile: it describes none; the message has the column, what was expected and what was found.
    """
    if len(text) > LONGEST_TEXT:
        raise BadProfile(
            f"a profile of {len(text)} characters is longer than {LONGEST_TEXT}", hint="put its levels into a trace"
        )
    if text.lstrip()[:1] in ("[", "{"):
        from stoker.protocol.profile_stages import parse_stages

        return parse_stages(text)
    return _profile(Scanner(text))


# --- the whole -----------------------------------------------------------------------------------------------


def _profile(scan: Scanner) -> Profile:
    """All of it."""
    segments, places = [], []
    while True:
        places.append(scan.at)
        segments.append(_segment(scan))
        if len(segments) > MOST_SEGMENTS:
            scan.fail(f"more than {MOST_SEGMENTS} segments", at=places[-1], hint="use `repeat`, or a trace")
        if not scan.take(","):
            break
    whole: dict[str, Any] = {}
    scale_at = 0
    while scan.take(";"):
        if scan.at == len(scan.text) and whole:
            break
        at = scan.at
        key, value = _directive(scan)
        if key in whole:
            scan.fail(f"`{key}` is there twice", at=at)
        whole[key], scale_at = value, at if key == "scale" else scale_at
    if scan.at < len(scan.text):
        scan.expected('"," and another segment, or ";" and repeat, speed or scale')
    profile = Profile(tuple(segments), **whole)
    _check(scan, profile, places, scale_at)
    return profile


def _directive(scan: Scanner) -> tuple[str, float]:
    if times := scan.times():
        return "speed", times
    at, word = scan.at, scan.word()
    if word == "repeat":
        return "repeat", _repeat(scan)
    if word in ("speed", "scale"):
        return word, scan.factor(MOST_SPEED if word == "speed" else 1000.0)
    return scan.expected("repeat, speed or scale", at=at)


def _repeat(scan: Scanner) -> float:
    if scan.forever():
        return math.inf
    at = scan.at
    count = scan.whole("how often, such as 3, or `forever`")
    if not 1 <= count <= MOST_REPEATS:
        scan.fail(f"repeat {count} is outside 1 to {MOST_REPEATS}", at=at, hint="or `repeat forever`")
    return count


def _check(scan: Scanner, profile: Profile, places: Sequence[int], scale_at: int) -> None:
    """What only all of it together can tell."""
    for place, (at, segment) in enumerate(zip(places, profile.segments, strict=True)):
        if place + 1 < len(places) or profile.repeat != 1:
            _check_ends(scan, segment, at, "others follow" if place + 1 < len(places) else "all is repeated")
        for level in levels(segment):
            if level * profile.scale > 100:
                scan.fail(
                    f"scale {number(profile.scale)} brings the level {number(level)} of segment {place + 1}"
                    f" to {number(level * profile.scale)}, above 100",
                    at=scale_at,
                )
    if profile.repeat != 1 and all(isinstance(segment, Step) and not segment.seconds for segment in profile.segments):
        scan.fail("this takes no time, so that it can't be repeated", at=places[0], hint="add `for 10m`")


def _check_ends(scan: Scanner, segment: Segment, at: int, why: str) -> None:
    if segment.seconds is not None and math.isinf(segment.seconds):
        scan.fail(f"this segment never ends, and {why}", at=at, hint="give it a duration such as 10m")
    if isinstance(segment, Noise) and segment.seconds is None:
        scan.fail(f"this noise has no end, and {why}: it needs a duration", at=at, hint="add `for 10m`")


# --- segments ------------------------------------------------------------------------------------------------


def _segment(scan: Scanner) -> Segment:
    at = scan.at
    kinds: dict[str, Callable[[Scanner], Segment]] = {
        "hold": _hold,
        "ramp": _ramp,
        "step": _step,
        "sine": _sine,
        "square": _square,
        "saw": _saw,
        "noise": _noise,
        "trace": _trace,
    }
    word = scan.word()
    if word in kinds:
        return kinds[word](scan)
    from difflib import get_close_matches

    close = get_close_matches(word, kinds, n=1, cutoff=0.5)
    return scan.expected(
        f"a segment ({', '.join(kinds)}) such as `hold 10m @60`",
        at=at,
        hint=f"did you mean `{close[0]}`?" if close else "",
    )


def _hold(scan: Scanner) -> Hold:
    seconds = scan.duration(forever=True)
    return Hold(seconds, scan.level() if scan.take("@") else None)


def _ramp(scan: Scanner) -> Ramp:
    start = None
    if not scan.arrow() and not scan.keyword("to"):
        start = scan.level("a level such as 0, or ->")
        if not scan.arrow() and not scan.keyword("to"):
            scan.expected("-> and a level, as in 0->80")
    end = scan.level()
    if not scan.keyword("over"):
        scan.expected("`over` and a duration, as in `over 5m`")
    return Ramp(end, scan.duration(), start)


def _step(scan: Scanner) -> Step:
    scan.take("@")
    return Step(scan.level(), **_options(scan, {"for": Scanner.lasting}))


def _sine(scan: Scanner) -> Sine:
    middle, swing = scan.band()
    return Sine(middle, swing, **_options(scan, {"period": Scanner.period, "for": Scanner.lasting}))


def _square(scan: Scanner) -> Square:
    low, high = 0.0, 100.0
    if scan.is_number():
        low = scan.level()
        if not scan.take("/"):
            scan.expected("/ and a level, as in 10/90")
        high = scan.level()
    options: Options = {"period": Scanner.period, "duty": Scanner.level, "for": Scanner.lasting}
    return Square(low, high, **_options(scan, options))


def _saw(scan: Scanner) -> Saw:
    first, last = 0.0, 100.0
    if scan.is_number():
        first = scan.level()
        if not scan.arrow() and not scan.take("/"):
            scan.expected("-> and a level, as in 10->90")
        last = scan.level()
    return Saw(first, last, **_options(scan, {"period": Scanner.period, "for": Scanner.lasting}))


def _noise(scan: Scanner) -> Noise:
    middle, swing = scan.band()
    options: Options = {"seed": _seed, "every": Scanner.period, "for": Scanner.lasting}
    return Noise(middle, swing, **_options(scan, options))


def _trace(scan: Scanner) -> Trace:
    file = scan.name("the file of the trace")
    options: Options = {
        "col": _column,
        "t": _column,
        "interp": _interp,
        "loop": lambda _: True,
        "scale": lambda scan: scan.factor(1e9),
        "speed": lambda scan: scan.factor(MOST_SPEED),
        "gap": Scanner.duration,
        "for": Scanner.lasting,
    }
    given = _options(scan, options, assigned=True)
    names = {"col": "column", "t": "time"}
    return Trace(file, **{names.get(key, key): value for key, value in given.items()})


def _seed(scan: Scanner) -> int:
    return scan.whole("a seed such as 7")


def _column(scan: Scanner) -> str:
    return scan.name("the name or the number of a column")


def _interp(scan: Scanner) -> Literal["step", "linear"]:
    at, word = scan.at, scan.word()
    if word == "linear":
        return "linear"
    if word != "step":
        scan.expected("`step` or `linear`", at=at)
    return "step"


def _options(scan: Scanner, options: Options, *, assigned: bool = False) -> dict[str, Any]:
    """What follows in any order, each once; ``x10`` is ``speed 10`` where there is a speed."""
    given: dict[str, Any] = {}
    while scan.at < len(scan.text) and scan.text[scan.at] not in ",;":
        at = scan.at
        times = scan.times() if "speed" in options else None
        word = "speed" if times else scan.word()
        if word not in options:
            scan.expected(f"{_listed(options)}, or a comma and the next segment", at=at)
        key = "seconds" if word == "for" else word
        if key in given:
            scan.fail(f"`{word}` is there twice", at=at)
        if times:
            given[key] = times
            continue
        if assigned:
            scan.take("=")
        given[key] = options[word](scan)
    return given


def levels(segment: Segment) -> tuple[float, ...]:
    """The levels that a segment names: it stays between the least and the highest of them."""
    match segment:
        case Hold(_, level) | Step(level):
            return () if level is None else (level,)
        case Ramp(end, _, start):
            return (end,) if start is None else (start, end)
        case Sine(middle, swing) | Noise(middle, swing):
            return (middle - swing, middle + swing)
        case Square(low, high) | Saw(low, high):
            return (low, high)
    return ()


def _listed(words: Mapping[str, Any]) -> str:
    return ", ".join(f"`{word}`" for word in words)
