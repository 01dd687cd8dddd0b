"""One interpreter with several names has one environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from stokerd.control.jobspec import interpreter


@pytest.fixture
def bin_directory(tmp_path: Path) -> Path:
    (tmp_path / "real").touch()
    (tmp_path / "python3").symlink_to("real")
    (tmp_path / "python").symlink_to("python3")
    (tmp_path / "python3.11").symlink_to("python3")
    (tmp_path / "pypy").touch()
    return tmp_path


@pytest.mark.parametrize("name", ["python", "python3", "python3.11"])
def test_the_names_of_one_interpreter_in_one_directory_are_one(bin_directory: Path, name: str) -> None:
    assert interpreter(str(bin_directory / name)) == str(bin_directory / "python3")


def test_another_interpreter_in_the_same_directory_keeps_its_name(bin_directory: Path) -> None:
    assert interpreter(str(bin_directory / "pypy")) == str(bin_directory / "pypy")


def test_a_virtual_environments_link_is_not_followed_out_of_it(bin_directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "venv"
    other.mkdir()
    (other / "python").symlink_to(bin_directory / "python3")
    assert interpreter(str(other / "python")) == str(other / "python")


def test_an_interpreter_that_is_not_there_is_left_for_the_forkserver_to_complain_about() -> None:
    assert interpreter("/no/such/python") == "/no/such/python"
