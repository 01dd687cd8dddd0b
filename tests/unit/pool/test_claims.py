"""What workers say they have begun with: believed where it can be, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from stokerd.pool.claims import SIZE, Claims, boot, write_to


@pytest.fixture
def claims(tmp_path) -> Claims:
    return Claims(tmp_path / "claims")


def test_what_a_worker_began_with_is_found_by_another_daemon(claims, tmp_path):
    word = write_to(claims.path("d1-1"))
    assert claims.begun(claims.name("d1-1")) == 0
    word[0] = 1 << 40
    word.release()
    assert Claims(tmp_path / "claims").begun(claims.name("d1-1")) == 1 << 40


def test_a_worker_that_could_not_make_its_file_says_nothing(claims):
    assert claims.begun(claims.name("d1-7")) is None


@pytest.mark.parametrize("content", [b"", b"1234567", b"123456789", b"x" * 4096])
def test_a_file_that_was_cut_short_or_written_over_says_nothing(claims, content):
    Path(claims.path("d1-1")).write_bytes(content)
    assert claims.begun(claims.name("d1-1")) is None


def test_something_else_in_the_place_of_a_file_says_nothing(claims):
    Path(claims.path("d1-1")).mkdir()
    assert claims.begun(claims.name("d1-1")) is None


def test_of_another_boot_of_the_machine_nothing_is_believed(claims, tmp_path):
    other = f"{'0' * 8}-d1-1"
    assert not other.startswith(boot())
    (tmp_path / "claims" / other).write_bytes((5).to_bytes(SIZE, "little"))
    assert claims.begun(other) is None
    assert claims.begun("") is None


def test_a_word_is_forgotten_once_and_again_without_a_complaint(claims):
    write_to(claims.path("d1-1")).release()
    claims.forget("d1-1")
    claims.forget("d1-1")
    assert not Path(claims.path("d1-1")).exists()


def test_all_are_cleared_also_those_of_other_boots(claims, tmp_path):
    write_to(claims.path("d1-1")).release()
    (tmp_path / "claims" / "odd").write_bytes(b"")
    claims.clear()
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_link_that_somebody_laid_is_not_followed(claims, tmp_path):
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    Path(claims.path("d1-1")).symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        write_to(claims.path("d1-1"))
    assert target.read_bytes() == b"precious"


def test_the_folder_and_the_files_are_the_user_s_alone(claims, tmp_path):
    write_to(claims.path("d1-1")).release()
    assert (tmp_path / "claims").stat().st_mode & 0o077 == 0
    assert Path(claims.path("d1-1")).stat().st_mode & 0o077 == 0
