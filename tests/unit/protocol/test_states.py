"""Every lifecycle is its table, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, get_args, get_type_hints

import pytest

from stoker.errors import IllegalMove
from stoker.protocol import states
from stoker.protocol.states import ENDED_JOB_STATES, JobEvent, JobState, step

TABLES: dict[str, Mapping[Any, Any]] = {name: value for name, value in vars(states).items() if name.endswith("_MOVES")}
BEGINNINGS: dict[str, set[str]] = {
    "JOB_MOVES": {"queued", "delayed", "waiting"},
    "WORKER_MOVES": {"starting"},
    "BURNER_MOVES": {"starting"},
    "PROCESS_MOVES": {"starting", "down"},
    "FORKSERVER_MOVES": {"starting"},
    "GUARD_MOVES": {"watching"},
}


def kinds(name: str) -> tuple[type[StrEnum], type[StrEnum]]:
    """The states and the events of a table, as it is annotated."""
    key, _ = get_args(get_type_hints(states)[name])
    state, event = get_args(key)
    return state, event


PAIRS = [(name, state, event) for name in TABLES for state, event in itertools.product(*kinds(name))]


def test_every_lifecycle_has_a_table() -> None:
    with_events = {name for name, value in vars(states).items() if isinstance(value, type) and name.endswith("Event")}
    assert {kinds(name)[1].__name__ for name in TABLES} == with_events
    assert set(TABLES) == set(BEGINNINGS)


@pytest.mark.parametrize(("name", "state", "event"), PAIRS)
def test_a_move_goes_where_the_table_says_or_is_illegal(name: str, state: StrEnum, event: StrEnum) -> None:
    table, before = TABLES[name], dict(TABLES[name])
    if (state, event) in table:
        assert step(table, state, event) is table[state, event]
        assert isinstance(table[state, event], type(state))
    else:
        with pytest.raises(IllegalMove) as caught:
            step(table, state, event)
        assert caught.value.data == {"state": str(state), "event": str(event)}
        assert str(state) in caught.value.message
        assert str(event) in caught.value.message
    assert dict(table) == before


@pytest.mark.parametrize("name", TABLES)
def test_every_state_can_be_reached_and_every_event_can_happen(name: str) -> None:
    state_kind, event_kind = kinds(name)
    reached = {state_kind(word) for word in BEGINNINGS[name]}
    while more := {to for (state, _), to in TABLES[name].items() if state in reached} - reached:
        reached |= more
    assert reached == set(state_kind)
    assert {event for _, event in TABLES[name]} == set(event_kind)


def test_an_ended_job_leaves_its_state_by_a_retry_only_and_a_done_one_never() -> None:
    leaving = {(state, event) for state, event in states.JOB_MOVES if state in ENDED_JOB_STATES}
    assert leaving == {(state, JobEvent.RETRY) for state in ENDED_JOB_STATES - {JobState.DONE}}


def test_every_job_state_is_ended_or_can_be_cancelled() -> None:
    for state in JobState:
        assert (state in ENDED_JOB_STATES) is not ((state, JobEvent.CANCEL) in states.JOB_MOVES)


@pytest.mark.parametrize(
    ("name", "final"), [("WORKER_MOVES", "dead"), ("BURNER_MOVES", "stopped"), ("FORKSERVER_MOVES", "ended")]
)
def test_what_has_ended_stays_so(name: str, final: str) -> None:
    assert not [event for state, event in TABLES[name] if state == final]
