from __future__ import annotations

import os
import sys

from stoker import environment


def test_the_library_says_its_path_as_it_is(monkeypatch):
    monkeypatch.setattr(sys, "path", ["", "/a", "/b.zip"])
    assert environment.of_library() == {
        "executable": sys.executable,
        "cwd": os.getcwd(),
        "path": [os.getcwd(), "/a", "/b.zip"],
    }


def test_the_command_line_puts_the_working_directory_first(monkeypatch):
    monkeypatch.setattr(sys, "path", ["/usr/bin", "/a"])
    assert environment.of_command_line()["path"] == [os.getcwd(), "/a"]


def test_a_removed_working_directory_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert environment.of_library()["cwd"] == "/"
