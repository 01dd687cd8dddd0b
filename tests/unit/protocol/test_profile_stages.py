"""k6's stages as a profile."""

from __future__ import annotations

import pytest

from stoker.errors import BadProfile
from stoker.protocol.profile import Profile, Ramp, Step
from stoker.protocol.profile_text import parse


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ('[{"duration": "5m", "target": 80}]', (Ramp(80, 300),)),
        (' [ {"target": 80, "duration": "1m30s"}, {"duration": "2h", "target": 0}]', (Ramp(80, 90), Ramp(0, 7200))),
        ('{"stages": [{"duration": "5m", "target": 80}]}', (Ramp(80, 300),)),
        ('{"startVUs": 10, "stages": [{"duration": "5m", "target": 80}]}', (Step(10), Ramp(80, 300))),
        (
            '{"executor": "ramping-vus", "gracefulRampDown": "0s", "stages": [{"duration": "5m", "target": 80}]}',
            (Ramp(80, 300),),
        ),
        ('[{"duration": "0s", "target": 20}, {"duration": "5m", "target": 80}]', (Step(20), Ramp(80, 300))),
        ('[{"duration": "5m", "target": 80}, {"duration": "0s", "target": 20}]', (Ramp(80, 300),)),
        ('[{"duration": 1500, "target": 80}]', (Ramp(80, 1.5),)),
    ],
)
def test_stages_are_ramps(text: str, segments: tuple[Ramp | Step, ...]) -> None:
    assert parse(text) == Profile(segments)


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("[", 2, "not JSON: Expecting value"),
        ("[{]", 3, "not JSON"),
        ("[NaN]", 1, "not JSON: NaN is no JSON"),
        ("[]", 1, "expected a list of at least one stage"),
        ("{}", 1, 'expected "stages" in this map'),
        ('{"stages": 5}', 12, "expected a list of at least one stage"),
        ('{"stages": [], "vus": 3}', 16, "unknown key 'vus'"),
        ('{"executor": "constant-vus", "stages": []}', 2, "executor 'constant-vus' is none that a load can follow"),
        ('{"startVUs": 500, "stages": []}', 2, "startVUs 500 is outside 0 to 100"),
        ("[5]", 2, "stage 1 is no map"),
        ('[{"target": 5}]', 2, "stage 1 has no duration"),
        ('[{"duration": "5m"}]', 2, "stage 1 has no target"),
        ('[{"duration": "5m", "target": 5, "rate": 1}]', 2, "stage 1 has an unknown key 'rate'"),
        ('[{"duration": "5m", "target": 5}, {"duration": "5m", "target": 120}]', 35, "stage 2: target 120 is outside"),
        ('[{"duration": "5m", "target": "5"}]', 2, "stage 1: target is no number"),
        ('[{"duration": "5 minutes", "target": 5}]', 2, "stage 1: duration: expected a duration such as 10m"),
        ('[{"duration": "5m, 3", "target": 5}]', 2, "stage 1: duration '5m, 3' is none"),
        ('[{"duration": -5, "target": 5}]', 2, "stage 1: a duration of -5 ms is not possible"),
        ('[{"duration": true, "target": 5}]', 2, "stage 1: duration is neither text nor milliseconds"),
        ('[{"duration": "0s", "target": 5}]', 2, "these stages take no time at all"),
    ],
)
def test_a_wrong_stage_is_named_with_its_column(text: str, column: int, said: str) -> None:
    with pytest.raises(BadProfile) as caught:
        parse(text)
    assert said in caught.value.message
    assert caught.value.data["column"] == column
    assert caught.value.hint
