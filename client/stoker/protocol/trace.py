"""Traces: from the text of a CSV or JSON-lines file to ``(seconds, percent)`` points, or to a wrong line. Pure.

Whoever follows a profile is sent the points and never sees the file: the client may be another user, on another
machine. A file is

- CSV with a comma, a semicolon or a tab, with or without a line of names; lines that begin with ``#`` are passed over.
- JSON lines: maps, or lists without names.

The time is in seconds from any moment, or ISO 8601. Its column is ``t=``, else the one that is called t, time, ts,
timestamp, seconds or elapsed, else, without names, the first of several; a file of one column has a row a second.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn

from stoker.errors import BadProfile
from stoker.protocol.curve import MOST_POINTS
from stoker.protocol.profile import Trace, number

TIME_NAMES = ("t", "time", "ts", "timestamp", "seconds", "elapsed")
USUAL_GAPS = 10
"""Rows may be so many times further apart than is usual in the file; more is a gap."""

Cell = Any
Points = list[tuple[float, float]]


class _Row(NamedTuple):
    line: int
    cells: Sequence[Cell]


class _Table(NamedTuple):
    """The rows of a file, and the names of its columns where it has any."""

    names: tuple[str, ...]
    rows: list[_Row]


def points(text: str, trace: Trace) -> Points:
    """The points of a trace: the times from 0, rising; the levels percent, after ``scale``.

    Args:
        text: of the file.
        trace: which columns, which scale, and the name of the file for what is said of it.

    Raises:
        BadProfile: empty, no such column, a gap, text where a number should be, times that do not rise, levels outside
            0 to 100, too many rows. The message has file and line.
    """
    table = _table(text.removeprefix("\ufeff"), trace.file)
    if not table.rows:
        raise BadProfile(
            f"the trace {trace.file} is empty: it has no row with a level", hint="record one, or name another"
        )
    time, level = _columns(table, trace)
    found: Points = []
    lines: list[int] = []
    for count, row in enumerate(table.rows):
        seconds = float(count) if time is None else _moment(row, time, table, trace)
        if found and seconds <= found[-1][0]:
            _refuse(
                trace, row.line, f"the time {number(seconds)} does not come after the {number(found[-1][0])} before it"
            )
        found.append((seconds, _level(row, level, table, trace)))
        lines.append(row.line)
    if len(found) < 2:
        _refuse(trace, lines[0], "this is the only row, and a trace needs two", hint="record for longer")
    if len(found) > MOST_POINTS:
        raise BadProfile(
            f"the trace {trace.file} has {len(found)} rows, and {MOST_POINTS} can be followed",
            hint="record with a longer --every, or thin it out",
        )
    _check_gaps(found, lines, trace)
    first = found[0][0]
    return [(seconds - first, value) for seconds, value in found]


def _refuse(trace: Trace, line: int, what: str, *, hint: str = "") -> NoReturn:
    raise BadProfile(f"{trace.file}:{line}: {what}", hint=hint, data={"file": trace.file, "line": line})


def _check_gaps(found: Points, lines: Sequence[int], trace: Trace) -> None:
    spaces = sorted(b[0] - a[0] for a, b in pairwise(found))
    usual = spaces[len(spaces) // 2]
    most = USUAL_GAPS * usual if trace.gap is None else trace.gap
    for at, (a, b) in enumerate(pairwise(found)):
        if b[0] - a[0] > most * (1 + 1e-9):
            _refuse(
                trace,
                lines[at + 1],
                f"a gap of {number(round(b[0] - a[0], 3))} s before this row; usual are {number(round(usual, 3))} s",
                hint=f"fill it, or allow it: `gap {number(math.ceil(b[0] - a[0]))}s`",
            )


# --- the file ---------------------------------------------------------------------------------------------------


def _table(text: str, file: str) -> _Table:
    lines = [
        (at, line) for at, line in enumerate(text.splitlines(), 1) if line.strip() and not line.lstrip().startswith("#")
    ]
    if lines and lines[0][1].lstrip()[0] in "{[":
        return _json_lines(lines, file)
    return _csv(lines, file)


def _csv(lines: list[tuple[int, str]], file: str) -> _Table:
    first = lines[0][1] if lines else ""
    mark = max(";\t,", key=first.count)
    rows = []
    for at, line in lines:
        try:
            cells = next(csv.reader([line], delimiter=mark, strict=True)) if '"' in line else line.split(mark)
        except (csv.Error, StopIteration) as why:
            _refuse(Trace(file), at, f"not CSV: {why}")
        rows.append(_Row(at, [cell.strip() for cell in cells]))
    if rows and _has_names(rows):
        return _Table(tuple(rows[0].cells), rows[1:])
    return _Table((), rows)


def _has_names(rows: list[_Row]) -> bool:
    """The first row has words where the second has values; alone, it has no value at all."""
    is_value = [_is_number(cell.removesuffix("%")) or _is_time(cell) for cell in rows[0].cells]
    if len(rows) == 1:
        return not any(is_value)
    below = (_is_number(cell.removesuffix("%")) or _is_time(cell) for cell in rows[1].cells)
    return any(value and not word for word, value in zip(is_value, below, strict=False))


def _json_lines(lines: list[tuple[int, str]], file: str) -> _Table:
    maps: list[tuple[int, dict[str, Cell]]] = []
    rows: list[_Row] = []
    for at, line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as why:
            _refuse(Trace(file), at, f"not JSON: {why}", hint="JSON lines have one map or list in each line")
        if isinstance(value, dict) and not rows:
            maps.append((at, value))
        elif isinstance(value, list) and not maps:
            rows.append(_Row(at, value))
        else:
            what = (
                f"this is no {'map' if maps else 'list'}, as the line before is" if maps or rows else "this is no map"
            )
            _refuse(Trace(file), at, what, hint='such as {"t": 0, "cpu": 50}')
    if rows:
        return _Table((), rows)
    names = tuple(maps[0][1])
    return _Table(names, [_Row(at, [value.get(name) for name in names]) for at, value in maps])


# --- its columns ------------------------------------------------------------------------------------------------


def _columns(table: _Table, trace: Trace) -> tuple[int | None, int]:
    """The column of the time, None where there is none, and that of the level."""
    width = len(table.names) or max(len(row.cells) for row in table.rows)
    time: int | None
    if trace.time is not None:
        time = _column(trace.time, table, trace, width)
    elif table.names:
        known = [at for at, name in enumerate(table.names) if name.lower() in TIME_NAMES]
        time = known[0] if known else None
        if time is None and width > 1:
            _no_column("a column of the time", table, trace, f"it is none of {', '.join(TIME_NAMES)}: name it with t=")
    else:
        time = 0 if width > 1 else None
    if trace.column is not None:
        return time, _column(trace.column, table, trace, width)
    others = [at for at in range(width) if at != time]
    if not others:
        _no_column("a column of the level", table, trace, "there is only the time")
    return time, others[0]


def _column(wanted: str, table: _Table, trace: Trace, width: int) -> int:
    if wanted in table.names:
        return table.names.index(wanted)
    if wanted.isdecimal() and 1 <= int(wanted) <= width:
        return int(wanted) - 1
    return _no_column(f"a column {wanted!r}", table, trace, "name one of them, or give its number, from 1")


def _no_column(what: str, table: _Table, trace: Trace, hint: str) -> NoReturn:
    there = (
        ", ".join(table.names)[:200] if table.names else f"{max(len(row.cells) for row in table.rows)} without names"
    )
    raise BadProfile(f"the trace {trace.file} does not have {what}; its columns: {there}", hint=hint)


def _name(column: int, table: _Table) -> str:
    return repr(table.names[column]) if table.names else str(column + 1)


def _cell(row: _Row, column: int, table: _Table, trace: Trace) -> Cell:
    cell = row.cells[column] if column < len(row.cells) else None
    if cell is None or cell == "":
        _refuse(trace, row.line, f"a gap: column {_name(column, table)} is empty", hint="fill it, or leave the row out")
    return cell


def _moment(row: _Row, column: int, table: _Table, trace: Trace) -> float:
    cell = _cell(row, column, table, trace)
    if _is_number(cell):
        return float(cell)
    if not _is_time(cell):
        what = f"{cell!r:.60} in column {_name(column, table)} is no time"
        _refuse(trace, row.line, what, hint="write seconds, or 2026-01-31T12:00:00Z")
    moment = datetime.fromisoformat(cell)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _level(row: _Row, column: int, table: _Table, trace: Trace) -> float:
    cell = _cell(row, column, table, trace)
    text = cell.removesuffix("%").strip() if isinstance(cell, str) else cell
    if not _is_number(text):
        _refuse(trace, row.line, f"{cell!r:.60} in column {_name(column, table)} is no number")
    level = float(text) * trace.scale
    if not 0 <= level <= 100:
        scaled = f" ({cell} before `scale`)" if trace.scale != 1 else ""
        what = f"{number(level)}{scaled} in column {_name(column, table)} is outside 0 to 100"
        _refuse(trace, row.line, what, hint="levels are percent; `scale 0.5` halves them")
    return level + 0.0


def _is_number(cell: Cell) -> bool:
    if isinstance(cell, bool):
        return False
    try:
        return math.isfinite(float(cell))
    except (TypeError, ValueError, OverflowError):
        return False


def _is_time(cell: Cell) -> bool:
    try:
        datetime.fromisoformat(cell)
    except (TypeError, ValueError):
        return False
    return True


def together(found: Iterable[Points]) -> Iterator[Points]:
    """The traces of one profile, as long as they are not too many points together.

    Raises:
        BadProfile: they are.
    """
    total = 0
    for each in found:
        total += len(each)
        if total > MOST_POINTS:
            raise BadProfile(
                f"the traces of the profile have more than {MOST_POINTS} rows together",
                hint="thin them out, or use fewer",
            )
        yield each
