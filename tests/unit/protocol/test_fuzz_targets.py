"""The targets of the fuzzer, with what hypothesis makes up: bytes at random, and what is nearly right."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.targets import SEEDS, TARGETS

from stoker.protocol import codec

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", TARGETS)
@QUICK
@given(data=st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused(name, data):
    TARGETS[name](data)


@pytest.mark.parametrize("name", SEEDS)
@QUICK
@given(seed=st.integers(0, 2**32), cuts=st.integers(0, 6))
def test_what_is_nearly_right_is_taken_or_refused(name, seed, cuts):
    chance = random.Random(seed)
    data = bytearray(chance.choice(SEEDS[name]))
    for _ in range(cuts):
        at = chance.randrange(len(data) + 1)
        data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    TARGETS[name](bytes(data))


NUMBERS = st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
PLAIN = st.none() | NUMBERS | st.text(max_size=8) | st.binary(max_size=8)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from(["v", "id", "method", "params", "result", "error", "more", "push", "quiet"])


@pytest.mark.parametrize("name", ["messages", "replies"])
@QUICK
@given(head=st.dictionaries(WORDS, VALUES))
def test_any_map_is_taken_or_refused(name, head):
    TARGETS[name](codec.pack(head))


@pytest.mark.skipif(importlib.util.find_spec("atheris") is not None, reason="atheris is installed")
def test_the_fuzzer_says_what_it_takes_where_that_is_missing():
    argv = [sys.executable, "-m", "tests.fuzz", "--seconds", "1"]
    done = subprocess.run(argv, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install -e '.[fuzz]'" in done.stderr
    assert "Traceback" not in done.stderr
