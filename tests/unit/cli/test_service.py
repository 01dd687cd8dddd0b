"""``stoker service`` where there is no systemd to run one, and what it would write; tests/system has the rest."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stoker.cli.service import files, installation, layout, systemctl
from stoker.cli.service.layout import Service
from stoker.cli.service.trouble import CannotInstall, NoServiceManager
from stoker.cli.values import UsageError
from stoker.errors import PermissionRefused, StartFailed

ENVIRON = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": "/run/user/7"}
PROGRAMS = Path("/srv/venv/bin")


def written(service, version=252, drop_ins=()):
    source = layout.templates()
    return dict(layout.contents(service, source, PROGRAMS, version, drop_ins, ENVIRON))


@pytest.mark.skipif(systemctl.RUNNING.exists(), reason="systemd runs here")
@pytest.mark.parametrize("verb", ["install", "uninstall", "status"])
def test_without_systemd_it_says_so(stoker, verb):
    code, out, err = stoker("service", verb)
    assert (code, out) == (69, "")
    assert "not systemd" in err
    assert "stokerd" in err, "what to do instead"


@pytest.mark.parametrize("name", ["a/b", "-x", "a b", "x" * 33, "a@b", "ä"])
def test_a_name_that_cannot_be_part_of_a_unit_is_refused(stoker, name):
    code, _, err = stoker("service", "status", f"--instance={name}")
    assert code == 2
    assert "cannot be the name of an instance" in err
    with pytest.raises(UsageError):
        Service(instance=name)


def test_a_drop_in_that_does_not_exist_is_refused_with_those_that_do(stoker):
    code, _, err = stoker("service", "install", "--with", "nonsense")
    assert code == 2
    assert "relaxed-jobs" in err


@pytest.mark.parametrize(
    ("service", "path", "endpoint"),
    [
        (Service(), "/etc/systemd/system/stokerd.service", "/run/stoker/control.sock"),
        (Service(instance="blue"), "/etc/systemd/system/stokerd@.service", "/run/stoker-blue/control.sock"),
        (Service(user=True), "/home/ada/.config/systemd/user/stokerd.service", "/run/user/7/stoker/control.sock"),
    ],
)
def test_the_units_name_this_installation_and_no_other(service, path, endpoint):
    made = written(service)
    assert f"ExecStart={PROGRAMS}/stokerd" in made[Path(path)]
    assert f"ExecReload={PROGRAMS}/stoker reload" in made[Path(path)]
    assert not any("/opt/stoker/bin" in text for text in made.values())
    assert service.endpoint(ENVIRON) == endpoint
    assert (Path("/etc/sysusers.d/stoker.conf") in made) is not service.user


def test_growing_pauses_are_for_the_systemd_that_knows_them():
    drop_in = Path("/etc/systemd/system/stokerd.service.d/backoff.conf")
    assert drop_in not in written(Service(), 253)
    assert "RestartSteps" in written(Service(), 254)[drop_in]


def test_a_drop_in_goes_where_the_unit_of_that_instance_looks():
    made = written(Service(instance="blue"), drop_ins=("relaxed-jobs",))
    assert Path("/etc/systemd/system/stokerd@blue.service.d/relaxed-jobs.conf") in made


def test_an_installation_in_a_path_that_units_cannot_name_is_refused():
    source = layout.templates()
    with pytest.raises(CannotInstall, match="cannot name plainly"):
        list(layout.contents(Service(), source, Path("/srv/my venv/bin"), 252, (), ENVIRON))


def test_an_installation_that_is_closed_to_the_services_user_is_refused(tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(sys, "executable", str(closed / "python3"))
    with pytest.raises(CannotInstall, match="closed to others"):
        installation.check_open(closed)


def test_files_are_put_whole_and_only_where_they_differ(tmp_path):
    path = tmp_path / "deep" / "stokerd.service.d" / "a.conf"
    assert files.state(path, "one") == "new"
    files.put(path, "one")
    assert files.state(path, "one") == "same"
    assert files.state(path, "two") == "changed"
    assert (path.stat().st_mode & 0o777, os.listdir(path.parent)) == (0o644, ["a.conf"])
    assert files.drop(path)
    assert not files.drop(path)
    assert not path.parent.exists()


def test_a_file_that_cannot_be_put_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotInstall, match="cannot be written"):
        files.put(tmp_path / "file" / "a.conf", "text")


@pytest.fixture
def fake_systemctl(tmp_path, monkeypatch):
    """A machine where systemd runs, with this script for systemctl."""

    def made(script):
        program = tmp_path / "systemctl"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setattr(systemctl, "RUNNING", tmp_path)

    return made


def test_what_systemctl_complains_of_is_told(fake_systemctl):
    fake_systemctl("echo 'first'; echo 'Unit is masked.' >&2; exit 1")
    with pytest.raises(StartFailed, match=r"Unit is masked\."):
        systemctl.Systemctl(user=False).do("enable", "x.service")


@pytest.mark.parametrize(
    ("ours", "home"),
    [
        ({}, "/home/ada/.config"),
        ({"XDG_CONFIG_HOME": "/etc/xdg"}, "/etc/xdg"),
        ({"XDG_CONFIG_HOME": "/x"}, "/home/ada/.config"),
    ],
)
def test_a_users_units_lie_where_the_users_manager_looks(fake_systemctl, ours, home):
    fake_systemctl(
        "echo /home/ada/.config/systemd/user.control /run/user/7/systemd/transient "
        "/home/ada/.config/systemd/user /etc/xdg/systemd/user /usr/lib/systemd/user"
    )
    environ = systemctl.Systemctl(user=True).environ({**ENVIRON, **ours})
    assert Service(user=True).units(environ) == Path(home, "systemd/user")
    assert systemctl.Systemctl(user=False).environ(ours) == ours


def test_a_user_without_a_manager_is_told_how_to_have_one(fake_systemctl):
    fake_systemctl("echo 'Failed to connect to bus' >&2; exit 1")
    with pytest.raises(NoServiceManager, match="Failed to connect to bus") as told:
        systemctl.Systemctl(user=True)
    assert "enable-linger" in told.value.hint


def test_the_machines_service_takes_root(fake_systemctl, monkeypatch):
    fake_systemctl("true")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PermissionRefused, match="takes root"):
        systemctl.Systemctl(user=False).require_root()


def test_a_program_that_is_not_there_is_told():
    with pytest.raises(StartFailed, match="there is no program no-such-program"):
        systemctl.tool("no-such-program")
