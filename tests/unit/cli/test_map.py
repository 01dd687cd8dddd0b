"""``stoker map``: order, failures, bounds."""

from __future__ import annotations

import io
import json
import os
import struct

import pytest

from stoker.cli import mapper
from stoker.errors import QueueFull
from stoker.protocol.codec import pack

ERROR = 0x8000_0000


def part(first, values, *, errors=()):
    """A ResultPart for the jobs from ``first`` on."""
    packed = [pack(value) for value in values]
    lengths = [len(data) | (ERROR if number in errors else 0) for number, data in enumerate(packed, first)]
    return (
        {
            "spec": 0,
            "id": 100 + first,
            "first": first,
            "count": len(values),
            "lengths": struct.pack(f"<{len(lengths)}I", *lengths),
        },
        [b"".join(packed)],
    )


def square_all(params):
    (spec,) = params["jobs"]
    numbers = [arguments[0] for arguments in spec["call"]["many"]]
    half = len(numbers) // 2
    # the second half first: order is the client's business
    return [
        part(half, [number * number for number in numbers[half:]]),
        part(0, [number * number for number in numbers[:half]]),
    ]


@pytest.fixture
def lines(tmp_path):
    def write(text):
        (tmp_path / "in").write_text(text)
        return str(tmp_path / "in")

    return write


def test_values_come_in_the_order_of_the_lines(stoker, daemon, lines):
    daemon.replies |= {"submit": square_all, "ping": {}}
    code, out, err = stoker("map", "m:f", "--input", lines("\n".join(map(str, range(1000)))))
    assert (code, err) == (0, "")
    assert out == "".join(f"{number * number}\n" for number in range(1000))
    assert daemon.hello["on_disconnect"] == "cancel"


def test_more_lines_than_may_be_under_way_all_come_back(stoker, daemon, lines, monkeypatch):
    monkeypatch.setattr(mapper, "AHEAD", 16)
    monkeypatch.setattr(mapper, "BATCH", 8)
    daemon.replies |= {"submit": square_all, "ping": {}}
    code, out, _ = stoker("map", "m:f", "--input", lines("\n".join(map(str, range(500)))))
    assert code == 0
    assert len(out.splitlines()) == 500


def test_a_failure_names_its_line_and_the_rest_goes_on(stoker, daemon, lines):
    daemon.replies |= {
        "submit": [part(0, [1, {"code": "job-failed", "message": "no", "type": "builtins.ValueError"}, 3], errors={1})],
        "ping": {},
    }
    code, out, err = stoker("map", "m:f", "--input", lines("a\nb\nc\n"))
    assert (code, out) == (1, "1\n3\n")
    assert "line 2, 'b': ValueError: no" in err
    assert "2 done, 1 failed" in err


def test_a_verdict_on_a_whole_part_is_a_failure_of_each_of_its_lines(stoker, daemon, lines):
    verdict = {"spec": 0, "id": 100, "first": 1, "count": 2, "error": {"code": "worker-died", "message": "SIGKILL"}}
    daemon.replies |= {"submit": [part(0, [1]), (verdict, [])], "ping": {}}
    code, out, _ = stoker("map", "m:f", "--json", "--input", lines("1\n2\n3\n"))
    assert code == 1
    told = [json.loads(line) for line in out.splitlines()]
    assert [item["index"] for item in told] == [0, 1, 2]
    assert told[0] == {"index": 0, "input": 1, "value": 1}
    assert told[2]["error"]["code"] == "worker-died"


def test_a_refused_batch_ends_the_map_with_its_code(stoker, daemon, lines):
    daemon.replies |= {"submit": QueueFull("full"), "ping": {}}
    assert stoker("map", "m:f", "--input", lines("1\n"))[0] == 75


def test_no_lines_are_no_calls_and_success(stoker, daemon, lines):
    daemon.replies["ping"] = {}
    assert stoker("map", "m:f", "--input", lines("")) == (0, "", "")


def test_an_input_that_is_not_there_is_a_usage_error(stoker, daemon, tmp_path):
    assert stoker("map", "m:f", "--input", str(tmp_path / "none"))[0] == 2
    daemon.replies["ping"] = {}
    assert stoker("map", "m:f", "--input", str(tmp_path))[0] == 2


def test_a_slow_pipe_is_not_waited_for():
    reading, writing = os.pipe()
    batches = mapper.Source(reading).batches()
    os.write(writing, b"a\nb\nhal")
    assert next(batches) == [b"a", b"b"]
    os.write(writing, b"f\n")
    assert next(batches) == [b"half"]
    os.write(writing, b"last")
    os.close(writing)
    assert list(batches) == [[b"last"]]
    os.close(reading)


def test_lines_of_a_file_are_counted_beforehand_and_those_of_a_pipe_are_not(lines):
    assert mapper.Source.open(lines("a\nb\nc")).total() == 3
    assert mapper.Source.open(lines("a\nb\n")).total() == 2
    assert mapper.Source.open(lines("")).total() == 0
    reading, writing = os.pipe()
    assert mapper.Source(reading).total() is None
    os.close(reading)
    os.close(writing)


def test_the_budget_bounds_lines_and_bytes_but_never_blocks_the_first():
    budget = mapper.Budget()
    assert budget.take(mapper.AHEAD * 2, mapper.AHEAD_BYTES * 2)
    budget.close()
    assert not budget.take(1, 1)


def test_the_bar_draws_on_stderr_alone(capfd):
    from rich.console import Console

    from stoker.cli.bar import Bar

    bar = Bar(3)
    drawn = io.StringIO()
    bar._console = bar._progress.live.console = Console(file=drawn, force_terminal=True, width=80)
    with bar:
        bar.advance(failed=False)
        bar.advance(failed=True)
        bar.print("value")
        bar._progress.refresh()
    assert capfd.readouterr().out == "value\n"
    assert "2/3" in drawn.getvalue()
    assert "1 failed" in drawn.getvalue()
