"""config.example.toml is complete, true and valid."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from stokerd.config import Config, as_map, load
from stokerd.config_tables import Tables

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"
NOT_DEFAULT = {("tag", "database", "most")}
"""Keys that have no default: the example shows a value."""
ONE_OF_TWO = {("burner", "heat", "load"), ("process", "web", "argv")}
"""Keys that must be given unless another is: the example shows a value."""


@pytest.fixture
def everything_on(tmp_path) -> Path:
    """The example with every setting that is off switched on."""
    path = tmp_path / "config.toml"
    path.write_text(re.sub(r"^#(?=\S)", "", EXAMPLE.read_text(), flags=re.MULTILINE))
    return path


def test_the_example_as_it_stands_is_the_same_as_no_file_at_all():
    environ = {"HOME": "/nowhere"}
    example, nothing = load(EXAMPLE, environ), load(None, environ)
    assert msgspec.structs.replace(example, source=None) == nothing


def test_the_example_with_everything_switched_on_is_valid(everything_on):
    config = load(everything_on, {})
    assert config.burner["heat"].load == 50.0
    assert config.process["web"].argv[0] == "python3"


def test_every_key_of_every_table_is_in_the_example_with_its_default(everything_on):
    written = tomllib.loads(everything_on.read_text())
    for table in msgspec.structs.fields(Tables):
        named = {name: get_args(table.type)[1] for name in written[table.name]} if get_args(table.type) else {}
        for name, kind in named.items() or [(None, table.type)]:
            entry = written[table.name][name] if name else written[table.name]
            _check_entry((table.name, *([name] if name else [])), entry, kind)


def _check_entry(at: tuple[str, ...], entry: dict[str, Any], kind: Any) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    assert set(entry) == set(fields), (
        f"{at} lacks {set(fields) - set(entry)}, has beyond them {set(entry) - set(fields)}"
    )
    for name, field in fields.items():
        if (*at, name) in NOT_DEFAULT:
            assert field.required
            continue
        if (*at, name) in ONE_OF_TWO:
            continue
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        assert entry[name] == (list(default) if isinstance(default, tuple) else default), (at, name)


def test_every_key_of_the_example_has_a_comment_above_it():
    lines = EXAMPLE.read_text().splitlines()
    for above, line in itertools.pairwise(lines):
        if re.match(r"#?\w+ = ", line):
            assert above.startswith("# "), line


def test_every_key_is_documented_in_its_struct():
    for table in msgspec.structs.fields(Tables):
        kind = (get_args(table.type) or (None, table.type))[1]
        for name in kind.__struct_fields__:
            assert f"{name}: " in _documentation(kind), (kind, name)


def test_what_is_shown_of_the_example_is_what_was_written(everything_on):
    shown = as_map(load(everything_on, {}))
    assert set(shown) == {field.name for field in msgspec.structs.fields(Tables)}
    assert not set(shown) & {"source", "overrides"}
    assert isinstance(load(None, {}), Config)


def _documentation(kind: type) -> str:
    """Its own, and that of the structs that it inherits keys from."""
    return "".join(base.__doc__ or "" for base in kind.__mro__ if base is not msgspec.Struct)
