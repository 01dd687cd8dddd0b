from __future__ import annotations

import sys
from pathlib import Path

from stoker import environment


def test_the_library_says_its_path_as_it_is(monkeypatch):
    monkeypatch.setattr(sys, "path", ["", "/a", "/b.zip"])
    assert environment.of_library() == {
        "executable": sys.executable,
        "cwd": str(Path.cwd()),
        "path": [str(Path.cwd()), "/a", "/b.zip"],
    }


def test_the_command_line_puts_the_working_directory_first(monkeypatch):
    monkeypatch.setattr(sys, "path", ["/usr/bin", "/a"])
    assert environment.of_command_line()["path"] == [str(Path.cwd()), "/a"]


def test_a_removed_working_directory_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert environment.of_library()["cwd"] == "/"
