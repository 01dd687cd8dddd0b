from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stokerd.forkserver import borrowed


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "lender" / "a_lent_package"
    directory.mkdir(parents=True)
    (directory / "__init__.py").write_text("from .inner import VALUE\n")
    (directory / "inner.py").write_text("VALUE = 'lent'\n")
    yield directory
    borrowed._lent.clear()
    for module in [name for name in sys.modules if name.startswith("a_lent_package")]:
        del sys.modules[module]


def test_what_the_environment_has_is_taken_from_it(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_lent_package.py").write_text("VALUE = 'own'\n")
    monkeypatch.syspath_prepend(tmp_path)
    borrowed.lend({"a_lent_package": str(package)})
    assert borrowed.borrow("a_lent_package").VALUE == "own"


def test_what_the_environment_lacks_is_loaded_from_the_lender_without_touching_the_path(package: Path) -> None:
    path = list(sys.path)
    borrowed.lend({"a_lent_package": str(package)})
    module = borrowed.borrow("a_lent_package")
    assert module.VALUE == "lent"
    assert borrowed.borrow("a_lent_package") is module
    assert sys.path == path


def test_what_nobody_has_is_an_import_error(package: Path) -> None:
    with pytest.raises(ImportError):
        borrowed.borrow("a_lent_package")


def test_a_lent_package_that_cannot_be_loaded_leaves_no_half_module(package: Path) -> None:
    (package / "__init__.py").write_text("raise ValueError('broken')\n")
    borrowed.lend({"a_lent_package": str(package)})
    with pytest.raises(ValueError, match="broken"):
        borrowed.borrow("a_lent_package")
    assert "a_lent_package" not in sys.modules
