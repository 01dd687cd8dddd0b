from __future__ import annotations

import functools
import importlib.util
import math
import os.path
import pickle
import subprocess
import sys
import textwrap
import threading
import traceback

import pytest

from stoker.errors import CannotPack
from stoker.functions import Packer, by_name, pack_value


@pytest.mark.parametrize(
    ("function", "reference"),
    [
        (math.factorial, "math:factorial"),
        (os.path.join, "posixpath:join"),
        (abs, "builtins:abs"),
        (int, "builtins:int"),
        (functools.partial, "functools:partial"),
        (textwrap.TextWrapper.wrap, "textwrap:TextWrapper.wrap"),
    ],
)
def test_what_can_be_imported_travels_by_name(function, reference):
    packed = Packer().pack(function)
    assert packed.function == reference
    assert packed.blob is None


def closure(value):
    def inner():
        return value

    return inner


@pytest.mark.parametrize(
    "function",
    [lambda: 1, closure(2), functools.partial(abs, -1), "abc".upper],
    ids=["lambda", "closure", "partial", "bound"],
)
def test_everything_else_travels_by_value(function):
    packed = Packer().pack(function)
    assert packed.function.startswith("sha256:")
    assert pickle.loads(packed.blob)() == function()


def test_a_name_that_leads_to_another_object_is_not_used(monkeypatch):
    replaced = textwrap.dedent
    monkeypatch.setattr(textwrap, "dedent", lambda text: text)
    assert by_name(replaced) is None


def test_a_function_whose_name_is_taken_over_later_is_packed_anew(monkeypatch):
    packer, original = Packer(), textwrap.indent
    assert packer.pack(original).blob is None
    monkeypatch.setattr(textwrap, "indent", lambda text, prefix: text)
    assert packer.pack(original).blob is not None


def test_a_module_that_no_importer_finds_travels_by_value(tmp_path):
    source = tmp_path / "hidden_module.py"
    source.write_text("K = 3\ndef f(x):\n    return x * K\n")
    spec = importlib.util.spec_from_file_location("hidden_module", source)
    module = importlib.util.module_from_spec(spec)
    sys.modules["hidden_module"] = module
    try:
        spec.loader.exec_module(module)
        packed = Packer().pack(module.f)
    finally:
        del sys.modules["hidden_module"]
    run = subprocess.run(
        [sys.executable, "-c", "import pickle, sys; print(pickle.load(sys.stdin.buffer)(5))"],
        input=packed.blob,
        capture_output=True,
    )
    assert run.stdout == b"15\n", run.stderr


def test_an_unchanged_function_is_pickled_once():
    packer = Packer()
    function = closure(41)
    assert packer.pack(function) is packer.pack(function)


def test_a_changed_cell_is_noticed():
    packer = Packer()
    value = 1

    def inner():
        return value

    before = packer.pack(inner)
    value = 2
    after = packer.pack(inner)
    assert (pickle.loads(before.blob)(), pickle.loads(after.blob)()) == (1, 2)


def test_a_list_in_a_cell_that_grew_is_noticed():
    packer, values = Packer(), [1]
    function = closure(values)
    before = packer.pack(function)
    values.append(2)
    assert pickle.loads(packer.pack(function).blob)() == [1, 2]
    assert packer.pack(function).function != before.function


def namespace_function(source):
    names = {"__name__": "__main__", "__builtins__": __builtins__}
    exec(source, names)
    return names


def test_a_changed_global_is_noticed_and_an_unrelated_one_is_not():
    packer = Packer()
    names = namespace_function("A = 1\nB = 1\ndef f():\n    return A\n")
    before = packer.pack(names["f"])
    names["B"] = 2
    assert packer.pack(names["f"]) is before
    names["A"] = 2
    assert pickle.loads(packer.pack(names["f"]).blob)() == 2


def test_a_changed_callee_is_noticed():
    packer = Packer()
    names = namespace_function("def g():\n    return 1\ndef f():\n    return g()\n")
    packer.pack(names["f"])
    exec("def g():\n    return 2\n", names)
    assert pickle.loads(packer.pack(names["f"]).blob)() == 2


def test_changed_defaults_are_noticed():
    packer = Packer()
    function = namespace_function("def f(x=1):\n    return x\n")["f"]
    packer.pack(function)
    function.__defaults__ = (2,)
    assert pickle.loads(packer.pack(function).blob)() == 2


def test_what_is_not_callable_is_refused():
    with pytest.raises(CannotPack, match="not callable"):
        Packer().pack("math:factorial")


def test_a_closure_over_a_lock_is_refused_with_the_reason():
    with pytest.raises(CannotPack, match="cannot be pickled"):
        Packer().pack(closure(threading.Lock()))


def test_arguments_that_cannot_travel_are_refused():
    with pytest.raises(CannotPack, match="arguments"):
        pack_value(((threading.Lock(),), {}))


def test_a_lambda_among_the_arguments_travels():
    (function,), _ = pickle.loads(pack_value(((lambda x: x + 1,), {})))
    assert function(1) == 2


def test_an_instance_of_a_class_from_main_travels_by_value():
    program = """
        import sys
        from stoker.functions import pack_value
        class Point:
            def __init__(self, x): self.x = x
        sys.stdout.buffer.write(pack_value(Point(7)))
    """
    packed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        env={"PYTHONPATH": ":".join(entry for entry in sys.path if entry)},
    )
    assert pickle.loads(packed.stdout).x == 7, packed.stderr


def test_a_function_that_travels_by_value_keeps_its_file_so_that_tracebacks_show_its_source():
    def fails():
        raise RuntimeError("for the traceback")

    blob = Packer().pack(fails).blob
    assert blob is not None
    with pytest.raises(RuntimeError) as told:
        pickle.loads(blob)()
    assert 'raise RuntimeError("for the traceback")' in "".join(traceback.format_tb(told.tb))
