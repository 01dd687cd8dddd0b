from __future__ import annotations

from pathlib import Path

from stoker.protocol.models import Environment
from stokerd.forkserver.launch import lent_packages, variables, why_not


def test_private_variables_of_the_daemon_stay_with_it_and_the_environments_own_win() -> None:
    own = {
        "PATH": "/bin", "NOTIFY_SOCKET": "s", "LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_USEC": "1", "A": "below"
    }  # fmt: skip
    environment = Environment(executable="/bin/python", cwd="/", env={"A": "above", "B": "new"})
    assert variables(environment, own) == {"PATH": "/bin", "A": "above", "B": "new"}


def test_a_package_is_lent_by_the_directory_of_its_code() -> None:
    lent = lent_packages(("msgpack", "no_such_package"))
    assert list(lent) == ["msgpack"]
    assert (Path(lent["msgpack"]) / "__init__.py").is_file()


def test_what_could_not_be_executed_is_told_apart_from_where() -> None:
    environment = Environment(executable="/x/python", cwd="/y")
    assert "interpreter /x/python: gone" in why_not(environment, FileNotFoundError(2, "gone", "/x/python"))
    assert "working directory /y: gone" in why_not(environment, FileNotFoundError(2, "gone", "/y"))
    assert "embedded null byte" in why_not(environment, ValueError("embedded null byte"))
