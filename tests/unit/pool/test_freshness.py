"""Whether a user's source has changed since it was imported."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stokerd.pool.freshness import Sources


@pytest.fixture
def module(tmp_path, monkeypatch) -> Iterator[Path]:
    """The file of a user's module that can be imported and has not been."""
    path = tmp_path / "users_module_for_freshness.py"
    path.write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    sys.modules.pop(path.stem, None)


@pytest.fixture(params=["kernel", "stamps"])
def sources(request) -> Iterator[Sources]:
    """With the kernel's word, and where it has no watch left."""
    made = Sources()
    if request.param == "stamps":
        made._inotify = -1
    yield made
    if made._inotify >= 0:
        os.close(made._inotify)


def imported(sources: Sources, path: Path) -> None:
    importlib.invalidate_caches()
    importlib.import_module(path.stem)
    sources.note_imports()


def change(path: Path) -> None:
    path.write_text("VALUE = 22\n")


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_text("VALUE = 2\n")
    other.replace(path)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("how", [change, replace, Path.unlink])
def test_a_source_that_changes_is_noticed(sources, module, how):
    imported(sources, module)
    assert not sources.changed()
    how(module)
    assert sources.changed()


def test_a_neighbour_in_the_same_directory_is_nobody_s_business(sources, module):
    imported(sources, module)
    module.with_name("other.py").write_text("")
    module.with_name("notes.txt").write_text("")
    assert not sources.changed()


def test_what_nothing_was_imported_from_is_not_watched(sources, module):
    sources.note_imports()
    change(module)
    assert not sources.changed()


def test_what_was_imported_before_the_worker_began_is_not_watched(module):
    importlib.invalidate_caches()
    importlib.import_module(module.stem)
    sources = Sources()
    sources.note_imports()
    change(module)
    assert not sources.changed()
    assert sources._inotify == -2


def test_neither_the_standard_library_nor_installed_packages_are_watched(sources, tmp_path, monkeypatch):
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "installed_for_freshness.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(packages))
    made = Sources()
    monkeypatch.delitem(sys.modules, "this", raising=False)
    sys.modules.pop("sndhdr", None)
    for name in ("installed_for_freshness", "json.tool"):
        sys.modules.pop(name, None)
        importlib.import_module(name)
    made.note_imports()
    assert made._stamps == {}
    assert not made.changed()
    del sys.modules["installed_for_freshness"]


def test_a_directory_that_can_t_be_watched_has_its_files_looked_at(module, monkeypatch):
    sources = Sources()
    first = module.with_name("first_for_freshness.py")
    first.write_text("")
    try:
        imported(sources, first)
        assert sources._inotify >= 0
        sources._directories.clear()
        monkeypatch.setattr("stokerd.pool.freshness._libc", NoWatches(sources))
        imported(sources, module)
        assert sources._inotify == -1
        change(first)
        assert sources.changed()
    finally:
        sys.modules.pop(first.stem, None)


class NoWatches:
    """The kernel's functions on a system whose watches are all taken."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def inotify_add_watch(self, *_: object) -> int:
        return -1


def test_a_source_that_changed_before_the_job_that_imported_it_ended_is_noticed(sources, module, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    importlib.invalidate_caches()
    importlib.import_module(module.stem)
    change(module)
    sources.note_imports()
    assert sources.changed()


def test_a_source_that_was_compiled_before_and_has_not_changed_is_not_taken_for_another(sources, module, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    importlib.invalidate_caches()
    importlib.import_module(module.stem)
    del sys.modules[module.stem]
    imported(sources, module)
    assert not sources.changed()


def test_a_compiled_file_that_no_import_renews_does_not_make_its_source_another(sources, module, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    importlib.invalidate_caches()
    importlib.import_module(module.stem)
    del sys.modules[module.stem]
    change(module)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    imported(sources, module)
    assert not sources.changed()
