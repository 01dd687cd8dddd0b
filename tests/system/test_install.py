"""``stoker service install``, ``status`` and ``uninstall`` on a real systemd."""

from __future__ import annotations

import json

import pytest
from tests.system.conftest import UNITS

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
STOKER = "/opt/stoker/bin/stoker"


def test_what_is_installed_twice_is_as_it_was_and_runs(machine):
    first = json.loads(machine.stoker("service", "install", "--json").splitlines()[0])
    assert (first["active"], first["endpoint"]) == ("active", "/run/stoker/control.sock")
    assert {entry["state"] for entry in first["files"]} == {"same"}
    again = json.loads(machine.stoker("service", "install", "--json").splitlines()[0])
    assert again["pid"] == first["pid"], "it went on undisturbed"
    assert machine.run("systemctl", "is-enabled", "stokerd.service") == "enabled"
    status = json.loads(machine.stoker("service", "status", "--json"))
    assert (status["answers"], status["pid"], status["enabled"]) == (True, first["pid"], "enabled")
    assert status["status"].startswith("Serving at ipc:///run/stoker/control.sock")
    machine.run("systemctl", "stop", "stokerd.service")
    assert machine.code(STOKER, "service", "status") == 1


def test_the_units_name_this_installation_and_members_of_the_group_may_use_the_socket(machine, service):
    assert "/venv/bin/stokerd" in machine.show("ExecStart")
    machine.run("useradd", "--no-create-home", "--groups", "stoker", "member")
    asked = ["setpriv", "--reuid=member", "--regid=member", "--init-groups", STOKER, "ping", "--socket"]
    assert machine.code(*asked, "/run/stoker/control.sock") == 0
    assert machine.code(*AS_NOBODY, STOKER, "ping", "--socket", "/run/stoker/control.sock") == 77


def test_a_dry_run_says_what_it_would_do_and_does_nothing(machine):
    told = machine.stoker("service", "install", "--instance", "dry", "--dry-run")
    assert "would write /etc/systemd/system/stokerd@.service" in told
    assert "would run systemctl --no-pager enable --now stokerd@dry.service" in told
    assert not machine.path("/etc/systemd/system/stokerd@.service").exists()
    assert machine.code(STOKER, "service", "status", "--instance", "dry") == 4


def test_instances_live_side_by_side_and_go_one_by_one(machine, service):
    try:
        for name in ("blue", "green"):
            machine.stoker("service", "install", "--instance", name)
        pids = {
            str(machine.ask("ping", path=f"/run/stoker-{name}/control.sock")["result"]["pid"])
            for name in ("blue", "green")
        }
        assert pids == {machine.show("MainPID", f"stokerd@{name}.service") for name in ("blue", "green")}
        assert machine.run("stat", "-c", "%U", "/var/lib/stoker-blue") == "stoker"
        machine.run("systemctl", "reload", "stokerd@blue.service")
        machine.stoker("service", "uninstall", "--instance", "blue")
        assert machine.path("/etc/systemd/system/stokerd@.service").exists(), "green needs it"
        assert machine.show("ActiveState", "stokerd@green.service") == "active"
    finally:
        for name in ("blue", "green"):
            machine.stoker("service", "uninstall", "--instance", name)
    assert not machine.path("/etc/systemd/system/stokerd@.service").exists()
    assert machine.show("ActiveState") == "active", "the one without a name is untouched"


def test_it_can_be_changed_to_socket_activation_and_back_while_it_runs(machine, service):
    machine.stoker("service", "install", "--socket")
    try:
        assert machine.show("ActiveState") == "inactive"
        assert "starts with the first request" in machine.stoker("service", "status")
        assert machine.stoker("ping", "--socket", "/run/stoker/control.sock")
        again = json.loads(machine.stoker("service", "install", "--socket", "--json").splitlines()[0])
        assert again["pid"] > 0, "the daemon that was started by a request goes on"
    finally:
        machine.stoker("service", "install")
    assert machine.show("ActiveState", "stokerd.socket") == "inactive"
    assert machine.stoker("ping", "--socket", "/run/stoker/control.sock")


def test_a_drop_in_is_installed_with_it_and_removed_with_it(machine, service):
    machine.stoker("service", "install", "--with", "relaxed-jobs")
    assert machine.show("NoNewPrivileges") == "no"
    machine.run("systemctl", "restart", "stokerd.service")
    assert machine.ask("ping")["result"]
    machine.stoker("service", "uninstall")
    assert machine.show("LoadState") == "not-found"
    assert machine.code(STOKER, "service", "status") == 4
    assert not machine.path("/etc/systemd/system/stokerd.service.d").exists()
    assert machine.path("/etc/stoker/config.toml").exists()
    assert "was not installed" in machine.stoker("service", "uninstall")
    machine.stoker("service", "install")
    assert machine.show("NoNewPrivileges") == "yes"


def test_with_tcp_it_serves_whoever_has_an_authorized_key(machine, service):
    before = machine.path("/etc/stoker/config.toml").read_text()
    machine.write("/etc/stoker/config.toml", before + 'tcp = "tcp://127.0.0.1:7411"\n')
    try:
        for name in ("server", "ada", "eve"):
            machine.stoker("key", "new", name)
        machine.stoker("key", "authorize", "ada", "--role", "submit")
        machine.stoker("service", "install", "--with", "tcp")
        assert machine.show("RestartPreventExitStatus").split() == ["64", "77", "78"]
        machine.run("systemctl", "restart", "stokerd.service")

        def asking(name, *words):
            keys = "/etc/stoker/keys"
            environ = [f"STOKER_KEY={keys}/{name}.key_secret", f"STOKER_SERVER_KEY={keys}/server.key"]
            return ["env", *environ, STOKER, *words, "--socket", "tcp://127.0.0.1:7411"]

        assert machine.run(*asking("ada", "submit", "math:factorial", "5")) == "120"
        assert machine.code(*asking("ada", "reload")) == 77, "that takes an admin"
        assert machine.code(*asking("eve", "ping")) == 77
    finally:
        machine.write("/etc/stoker/config.toml", before)
        machine.stop()
        machine.stoker("service", "uninstall")
        machine.stoker("service", "install")


def test_a_user_can_have_one_too(machine):
    machine.run("systemctl", "start", "user@0.service")
    user = ["env", "XDG_RUNTIME_DIR=/run/user/0"]
    try:
        told = machine.run(*user, STOKER, "service", "install", "--user")
        assert "Serving at ipc:///run/user/0/stoker/control.sock" in told
        pong = machine.ask("ping", path="/run/user/0/stoker/control.sock")["result"]
        main = machine.run(*user, "systemctl", "--user", "show", "--value", "--property", "MainPID", "stokerd.service")
        assert str(pong["pid"]) == main
        machine.run(*user, "systemctl", "--user", "reload", "stokerd.service")
        machine.run(*user, STOKER, "service", "install", "--user", "--instance", "two", "--socket")
        assert machine.ask("ping", path="/run/user/0/stoker-two/control.sock")["result"]["pid"] != pong["pid"]
        machine.run(*user, STOKER, "service", "uninstall", "--user", "--instance", "two")
        machine.run(*user, STOKER, "service", "uninstall", "--user")
        assert machine.code(*user, STOKER, "service", "status", "--user") == 4
        elsewhere = [*user, "XDG_CONFIG_HOME=/root/elsewhere"]  # of a shell; the manager was started without it
        machine.run(*elsewhere, STOKER, "service", "install", "--user")
        assert machine.code(*elsewhere, STOKER, "service", "status", "--user") == 0
        machine.run(*elsewhere, STOKER, "service", "uninstall", "--user")
        assert machine.code(*elsewhere, STOKER, "service", "status", "--user") == 4
    finally:
        machine.run("systemctl", "stop", "user@0.service")


def test_who_may_not_and_where_it_cannot_are_told_plainly(machine):
    refused = machine.run(*AS_NOBODY, STOKER, "service", "install", check=False)
    assert "takes root" in refused
    assert "--user" in refused
    assert machine.code(*AS_NOBODY, STOKER, "service", "install") == 77
    alone = [*AS_NOBODY, "env", "-u", "XDG_RUNTIME_DIR", STOKER, "service", "install", "--user"]
    assert machine.code(*alone) == 69
    assert "does not answer for this user" in machine.run(*alone, check=False)


def test_a_service_that_does_not_start_says_why(machine):
    before = machine.path("/etc/stoker/config.toml").read_text()
    machine.stop()
    machine.write("/etc/stoker/config.toml", "[daemon]\nsockt = 'x'\n")
    try:
        told = machine.stoker("service", "install", check=False)
        assert "/etc/stoker/config.toml:2" in told
        assert "journalctl -u stokerd.service" in told
        assert "Traceback" not in told
        status = machine.stoker("service", "status", check=False)
        assert "last result: exit-code" in status
        assert "/etc/stoker/config.toml:2" in status
    finally:
        machine.write("/etc/stoker/config.toml", before)
        machine.run("systemctl", "reset-failed", "stokerd.service")


@pytest.mark.parametrize("scope", [[], ["--user"]])
def test_verify_is_silent_where_it_is_installed(machine, scope):
    directory = "/etc/systemd/user" if scope else "/etc/systemd/system"
    if scope:
        machine.run("sh", "-c", f"cp /opt/stoker/share/stoker/systemd/user/* {directory}/")
    argv = ["systemd-analyze", *scope, "--man=no", "verify", *(f"{directory}/{unit}" for unit in UNITS)]
    assert machine.run("env", "XDG_RUNTIME_DIR=/run", *argv) == ""


def test_the_security_score_is_at_most_three(machine):
    words = machine.run("systemd-analyze", "security", "--no-pager", "stokerd.service").splitlines()[-1].split()
    assert 0 < float(words[words.index("stokerd.service:") + 1]) <= 3.0
