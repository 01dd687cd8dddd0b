"""How many threads BLAS and OpenMP get: as many as the job has slots, unless the user has said."""

from __future__ import annotations

import pytest

from stokerd.pool.threads import VARIABLES, Threads


def test_the_number_follows_the_slots():
    environ: dict[str, str] = {}
    threads = Threads(environ)
    for slots in (1, 4, 1):
        threads.follow(slots)
        assert environ == dict.fromkeys(VARIABLES, str(slots))


@pytest.mark.parametrize("name", VARIABLES)
def test_what_the_user_has_said_is_left_as_it_is(name):
    environ = {name: "3", "PATH": "/bin"}
    threads = Threads(environ)
    threads.follow(1)
    threads.follow(8)
    assert environ == {name: "3", "PATH": "/bin"}


def test_the_rest_of_the_environment_is_not_touched():
    environ = {"PATH": "/bin"}
    Threads(environ).follow(2)
    assert environ.pop("PATH") == "/bin"
    assert set(environ) == set(VARIABLES)
