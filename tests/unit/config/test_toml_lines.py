"""The scanner that knows on which line a key stands."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from stokerd.toml_lines import lines_of


def test_keys_and_tables_are_found_on_their_lines():
    text = '# top\na = 1\n[b.c]\nd = 2 # [no]\n"e f".g = 3\n\n[[h]]\ni = 4\n'
    assert lines_of(text) == {
        ("a",): 2,
        ("b",): 3,
        ("b", "c"): 3,
        ("b", "c", "d"): 4,
        ("b", "c", "e f"): 5,
        ("b", "c", "e f", "g"): 5,
        ("h",): 7,
        ("h", "i"): 8,
    }


def test_values_over_several_lines_do_not_pass_for_keys():
    text = (
        'a = """\nx = 1\n[y]\n"""\n'
        'b = [\n  "c = 1", # d = 2\n  [1,\n 2],\n]\n'
        "e = '''\nf = 1\n'''\n"
        'g = { h = "}" }\n'
        "i = 1\n"
    )
    assert {key: line for (key,), line in lines_of(text).items()} == {"a": 1, "b": 5, "e": 10, "g": 13, "i": 14}


def test_quotes_and_escapes_in_values_do_not_end_them_early():
    text = 'a = "\\"#[" \nb = \'\\\'\nc = """x\\"""" """"\nd = 1\n'.replace(' """"\n', "\n")
    tomllib.loads(text)
    assert lines_of(text)["d",] == text.splitlines().index("d = 1") + 1


words = st.text(st.sampled_from("abc \"'#[]{}=\\\n,."), max_size=12)


@given(st.lists(words, min_size=1, max_size=6))
def test_every_key_is_found_whatever_the_values_hold(values):
    lines: list[str] = []
    expected: dict[tuple[str, ...], int] = {}
    for index, value in enumerate(values):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        expected[f"key{index}",] = 1 + sum(line.count("\n") + 1 for line in lines)
        lines.append(f'key{index} = ["""{escaped}""", "{escaped}"]'.replace(f'"{escaped}"]', '"x"]'))
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)
    assert lines_of(text) == expected


@given(st.text(max_size=200))
def test_text_that_is_not_toml_ends_the_scan_and_nothing_else(text):
    assert isinstance(lines_of(text), dict)
