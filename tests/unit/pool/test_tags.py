"""How many jobs with a tag may run: counted whatever is limited, and told exactly when a full tag is no longer."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stokerd.pool.tags import UNLIMITED, TagLimits, of_session

TAGS = ("a", "b", of_session("s1"))
SETS = st.lists(st.sampled_from(TAGS), unique=True, max_size=3).map(tuple)


class TagMachine(RuleBasedStateMachine):
    """The limits beside a plain list of what runs."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: dict[str, int] = {"a": 2}
        self.tags = TagLimits(dict(self.limits))
        self.tags.on_room = self.note
        self.running: list[tuple[tuple[str, ...], int]] = []
        self.told = 0

    def note(self) -> None:
        self.told += 1

    def load(self, tag: str) -> int:
        return sum(count for tags, count in self.running if tag in tags)

    def full(self) -> set[str]:
        return {tag for tag, most in self.limits.items() if self.load(tag) >= most}

    @rule(tag=st.sampled_from(TAGS), most=st.none() | st.integers(0, 6))
    def set(self, tag: str, most: int | None) -> None:
        told = self.told
        self.tags.set(tag, most)
        self.limits.pop(tag, None)
        if most is not None:
            self.limits[tag] = most
        assert self.told == told + 1, "there may be room now, for somebody"

    @rule(tags=SETS, most=st.integers(1, 5))
    def take(self, tags: tuple[str, ...], most: int) -> None:
        count = min(most, self.tags.room(tags))
        if count:
            self.tags.take(tags, count)
            self.running.append((tags, count))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.running) - 1))
        tags, count = self.running[at]
        some = data.draw(st.integers(1, count))
        full, told = self.full(), self.told
        self.running[at] = (tags, count - some)
        if some == count:
            del self.running[at]
        self.tags.give(tags, some)
        freed = full - self.full()
        assert self.told - told == bool(freed), f"{freed} were full and are not any more"

    @invariant()
    def room_is_what_is_left_of_the_lowest_limit(self) -> None:
        for tags in ((), *((tag,) for tag in TAGS), TAGS):
            rooms = [self.limits[tag] - self.load(tag) for tag in tags if tag in self.limits]
            assert self.tags.room(tags) == max(0, min(rooms, default=UNLIMITED))
            assert self.tags.is_limited(tags) == any(tag in self.limits for tag in tags)

    @invariant()
    def counts_are_those_of_what_runs(self) -> None:
        assert self.tags._running == {tag: load for tag in TAGS if (load := self.load(tag))}


TagMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTagMachine = TagMachine.TestCase


def test_giving_more_than_was_taken_never_counts_below_zero():
    tags = TagLimits({"a": 1})
    tags.give(("a",), 3)
    tags.take(("a",), 1)
    assert tags.room(("a",)) == 0


def test_a_session_s_own_bound_is_shown_to_nobody():
    tags = TagLimits({"b": 2, "a": 1})
    tags.set(of_session("s1"), 3)
    assert tags.limits() == {"a": 1, "b": 2}
    assert list(tags.limits()) == ["a", "b"]
    assert tags.room((of_session("s1"),)) == 3


def test_the_limits_that_were_given_are_not_changed_for_the_giver():
    given: dict[str, Any] = {"a": 1}
    TagLimits(given).set("a", 5)
    assert given == {"a": 1}
