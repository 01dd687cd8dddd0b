"""Random load profiles, as hypothesis strategies: all that the grammar can say."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from stoker.protocol.profile import Hold, Noise, Profile, Ramp, Saw, Segment, Sine, Square, Step, Trace

UNHURRIED = settings(deadline=None)
"""Machines are shared: how long an example takes says nothing."""

LEVELS = st.floats(0, 100, allow_nan=False) | st.integers(0, 100).map(float)
SECONDS = st.integers(1, 10**6).map(float) | st.floats(0.001, 1e6, allow_nan=False)
PERIODS = st.integers(1, 10**4).map(float) | st.floats(0.1, 1e4, allow_nan=False)
FACTORS = st.floats(1e-3, 1e3, allow_nan=False) | st.integers(1, 1000).map(float)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
LASTING = st.none() | SECONDS


@st.composite
def bands(draw: st.DrawFn) -> tuple[float, float]:
    """A middle and a swing that stay within 0 to 100."""
    middle = draw(LEVELS)
    swing = draw(st.floats(0, 1)) * min(middle, 100 - middle)
    return (middle, swing) if middle - swing >= 0 and middle + swing <= 100 else (middle, 0.0)


def segments(lasting: st.SearchStrategy[float | None] = LASTING, *, traces: bool = True) -> st.SearchStrategy[Segment]:
    """One segment."""
    kinds: list[st.SearchStrategy[Any]] = [
        st.builds(Hold, SECONDS, st.none() | LEVELS),
        st.builds(Ramp, LEVELS, SECONDS, st.none() | LEVELS),
        st.builds(Step, LEVELS, lasting),
        st.builds(lambda band, *rest: Sine(*band, *rest), bands(), PERIODS, lasting),
        st.builds(Square, LEVELS, LEVELS, PERIODS, LEVELS, lasting),
        st.builds(Saw, LEVELS, LEVELS, PERIODS, lasting),
        st.builds(
            lambda band, *rest: Noise(*band, *rest),
            bands(),
            st.integers(0, 10**17),
            PERIODS,
            lasting.map(lambda s: s or 9.0),
        ),
    ]
    if traces:
        kinds.append(
            st.builds(
                Trace,
                file=NAMES,
                column=st.none() | NAMES,
                time=st.none() | NAMES,
                interp=st.sampled_from(["step", "linear"]),
                loop=st.booleans(),
                scale=FACTORS,
                speed=FACTORS,
                gap=st.none() | SECONDS,
                seconds=lasting,
            )
        )
    return st.one_of(kinds)


@st.composite
def profiles(draw: st.DrawFn, *, traces: bool = True) -> Profile:
    """A whole profile that can be followed."""
    found = draw(st.lists(segments(traces=traces), min_size=1, max_size=5))
    repeat = draw(st.just(1) | st.integers(1, 50) | st.just(math.inf))
    if all(isinstance(segment, Step) and not segment.seconds for segment in found):
        repeat = 1
    return Profile(tuple(found), repeat, draw(st.just(1.0) | FACTORS), draw(st.just(1.0) | st.floats(0.001, 1)))
