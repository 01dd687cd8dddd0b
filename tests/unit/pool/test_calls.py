"""How a job is run: each form, and every way in which it can go wrong."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import msgpack
import pytest

from stokerd.pool import calls, messages
from stokerd.pool.calls import Functions, JobTerminated, Refused, pack_error, pack_value
from stokerd.pool.commands import CommandFailed

LIMIT = 1_000_000


def told(why: BaseException, form: int = messages.CALL) -> dict[str, Any]:
    """What the daemon reads of a failure."""
    packed = pack_error(form, why)
    unpacked: dict[str, Any] = msgpack.unpackb(packed)
    return unpacked


def failure_of(function: Any, *args: Any, form: int = messages.CALL) -> dict[str, Any]:
    """What the daemon reads of a job that fails."""
    payload = memoryview(pickle.dumps((args, {})))
    try:
        calls.run(messages.CALL, function, payload)
    except BaseException as why:
        inner = why.__traceback__.tb_next if why.__traceback__ is not None else None
        return told(why.with_traceback(inner), form)  # without this function, as in a worker
    raise AssertionError("it did not fail")


def job_that_fails() -> None:
    raise ValueError("in the job")


# --- the forms


def test_each_form_is_called_as_it_says():
    def echo(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    def run(form: int, payload: bytes) -> Any:
        return calls.run(form, echo, memoryview(payload))

    assert run(messages.CALL, pickle.dumps(((1, 2), {"a": 3}))) == ((1, 2), {"a": 3})
    assert run(messages.ITEM, pickle.dumps((1, 2))) == (((1, 2),), {})
    assert run(messages.CHUNK, pickle.dumps([1, 2])) == [((1,), {}), ((2,), {})]
    assert run(messages.NAMED, msgpack.packb([[1, b"x"], {"a": {2: None}}])) == ((1, b"x"), {"a": {2: None}})


# --- functions


@pytest.mark.parametrize("reference", ["math:factorial", "os.path:join", "collections:OrderedDict.fromkeys"])
def test_a_named_function_is_imported(reference: str):
    assert callable(Functions().find(reference.encode()))


@pytest.mark.parametrize(
    ("reference", "message", "hint"),
    [
        ("no_such_module_at_all:f", "there is no module 'no_such_module_at_all'", "the worker looks in"),
        ("math:factoral", "math has no 'factoral'", 'did you mean "factorial"?'),
        ("os:path.joyn", "os has no 'path.joyn'", 'did you mean "join"?'),
        ("math:pi", "math:pi is float, which can't be called", ""),
    ],
)
def test_a_function_that_is_not_there_is_told_with_its_nearest_name(reference: str, message: str, hint: str):
    with pytest.raises(Refused) as refused:
        Functions().find(reference.encode())
    assert refused.value.code == "function-not-found"
    assert message in str(refused.value)
    assert hint in refused.value.hint
    assert told(refused.value)["code"] == "function-not-found"


@pytest.mark.parametrize(
    "source", ["raise SystemExit(3)", "1 / 0", "import no_such_thing", "def (", "raise KeyboardInterrupt"]
)
def test_a_module_that_fails_to_import_is_told_with_its_traceback(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "breaks_on_import.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Refused) as refused:
        Functions().find(b"breaks_on_import:f")
    assert "breaks_on_import.py" in told(refused.value)["traceback"]
    sys.modules.pop("breaks_on_import", None)


def test_an_uploaded_function_is_found_by_its_reference():
    functions = Functions()
    functions.learn(b"sha256:1", cloudpickle.dumps(lambda x: x + 1))
    assert functions.find(b"sha256:1")(1) == 2
    functions.learn(b"sha256:2", b"not a pickle")
    with pytest.raises(Refused, match="can't be unpickled in the worker"):
        functions.find(b"sha256:2")


def test_a_worker_forgets_uploaded_functions_at_the_count_that_the_daemon_keeps():
    from stokerd.pool.worker import MAX_FUNCTIONS

    assert calls.MAX_FUNCTIONS == MAX_FUNCTIONS
    functions = Functions()
    for number in range(MAX_FUNCTIONS + 1):
        functions.learn(b"sha256:%d" % number, pickle.dumps(len))
    assert list(functions._codes) == [b"sha256:%d" % MAX_FUNCTIONS]


# --- values


def test_values_travel_as_their_form_has_it():
    assert pickle.loads(pack_value(messages.CALL, {1, 2}, LIMIT)) == {1, 2}
    assert msgpack.unpackb(pack_value(messages.NAMED, [1, "a", b"b", None], LIMIT)) == [1, "a", b"b", None]


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (messages.NAMED, {1, 2}),
        (messages.NAMED, 2**64),
        (messages.NAMED, "lone \udc80 surrogate"),
        (messages.NAMED, object()),
        (messages.CALL, (line for line in ())),
        (messages.CALL, sys._getframe()),
    ],
)
def test_a_value_that_can_t_be_packed_is_told_with_the_value_and_the_reason(form: int, value: Any):
    with pytest.raises(Refused) as refused:
        pack_value(form, value, LIMIT)
    assert refused.value.code == "result-not-packable"
    assert repr(value)[:20].split()[0] in str(refused.value)
    assert told(refused.value, form)["message"]


def test_a_value_may_be_of_any_size_up_to_the_limit_and_no_more():
    assert len(pack_value(messages.NAMED, b"x" * 95, 100)) == 97
    with pytest.raises(Refused, match="103 bytes, at most 100 are allowed") as refused:
        pack_value(messages.NAMED, b"x" * 101, 100)
    assert refused.value.code == "result-too-large"


def test_a_value_that_breaks_while_it_is_pickled_is_a_failure_of_its_job_alone():
    class Spiteful(Exception):
        def __str__(self) -> str:
            raise SystemExit

    class Breaks:
        def __reduce__(self) -> Any:
            raise Spiteful

        def __repr__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(Refused, match=r"the value, <Breaks>, can't be pickled: Spiteful"):
        pack_value(messages.CALL, Breaks(), LIMIT)


def test_lambdas_and_local_classes_are_pickled_by_value():
    packed = pack_value(messages.CALL, lambda x: x * 2, LIMIT)
    assert pickle.loads(packed)(21) == 42


# --- failures


def test_the_traceback_begins_at_the_job_s_own_frame():
    failure = failure_of(job_that_fails)
    lines = failure["traceback"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith("in job_that_fails")
    assert lines[-1] == "ValueError: in the job"
    assert failure["type"] == "ValueError"
    assert failure["message"] == "in the job"
    assert repr(pickle.loads(failure["pickle"])) == "ValueError('in the job')"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, StopIteration, OSError])
def test_whatever_is_raised_is_the_job_s_failure(kind: type[BaseException]):
    def fails() -> None:
        raise kind(7)

    failure = failure_of(fails)
    assert failure["type"] == kind.__qualname__
    assert failure["message"] == "7"
    assert type(pickle.loads(failure["pickle"])) is kind


def test_an_exception_without_a_text_is_told_all_the_same():
    class Mute(Exception):
        def __str__(self) -> str:
            raise SystemExit(1)

        __repr__ = __str__

        def __reduce__(self) -> Any:
            raise KeyboardInterrupt

    def fails() -> None:
        raise Mute

    failure = failure_of(fails)
    assert failure["message"] == "<Mute whose text can't be had>"
    assert failure["type"].endswith("Mute")
    assert failure["traceback"]
    assert "pickle" not in failure


def test_an_exception_that_can_t_be_unpickled_again_travels_as_text():
    class Demanding(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    def fails() -> None:
        raise Demanding(1, 2)

    failure = failure_of(fails)
    assert failure["message"] == "1 and 2"
    assert "pickle" not in failure


def test_an_endless_recursion_and_a_huge_text_are_cut_from_the_middle():
    def recurses(depth: int = 0) -> int:
        return recurses(depth + 1) + 1

    failure = failure_of(recurses)
    assert failure["type"] == "RecursionError"
    assert len(failure["traceback"]) <= calls.MAX_TEXT + 10

    def shouts() -> None:
        raise ValueError("x" * 1_000_000)

    failure = failure_of(shouts)
    assert len(failure["message"]) <= calls.MAX_TEXT + 10
    assert " … " in failure["message"]


def test_surrogates_in_a_text_are_told_as_escapes():
    def fails() -> None:
        raise FileNotFoundError("file \udcff")

    assert failure_of(fails)["message"] == "file \\udcff"
    assert told(Refused("function-not-found", "m", "looked in \udc80"))["hint"] == "looked in \\udc80"


def test_causes_are_part_of_the_traceback():
    def fails() -> None:
        try:
            job_that_fails()
        except ValueError as why:
            raise RuntimeError("outer") from why

    text = failure_of(fails)["traceback"]
    assert text.index("ValueError: in the job") < text.index("direct cause") < text.index("RuntimeError: outer")


def test_only_pickled_forms_carry_a_pickled_exception():
    assert "pickle" in failure_of(job_that_fails, form=messages.CALL)
    assert "pickle" not in failure_of(job_that_fails, form=messages.NAMED)


def test_a_command_s_failure_carries_its_exit_code():
    failure = told(CommandFailed("sh ended with exit code 3", 3), messages.COMMAND)
    assert failure == {
        "code": "job-failed",
        "message": "sh ended with exit code 3",
        "type": "CommandFailed",
        "data": {"exit_code": 3},
    }


def test_a_job_ended_by_sigterm_says_so():
    assert told(JobTerminated())["message"] == "ended by SIGTERM"
