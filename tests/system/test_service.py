"""The service under a real systemd: started, stopped, killed, hung, and started by a request."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def processes(machine) -> list[int]:
    """What runs in the service's control group, as its own pid namespace counts."""
    return [pid for group in ("", "/daemon", "/jobs", "/burners") for pid in machine.members(group)]


def test_it_is_started_when_its_socket_answers(machine, service):
    assert machine.show("ActiveState") == "active"
    assert machine.show("StatusText")
    pong = machine.ask("ping")["result"]
    assert str(pong["pid"]) == machine.show("MainPID")


def test_it_runs_as_its_own_user_and_keeps_its_directories(machine, service):
    main = machine.show("MainPID")
    assert machine.run("ps", "-o", "user=", "-p", main) == "stoker"
    assert machine.run("stat", "-c", "%U %a", "/run/stoker/control.sock", "/var/lib/stoker") == "stoker 660\nstoker 750"


def test_it_runs_a_job(machine, service):
    job = {"call": {"function": "math:factorial", "args": [20]}}
    reply = machine.ask("submit", jobs=[job], wait=60.0)
    assert reply["result"]["jobs"][0]["value"] == 2432902008176640000, (reply, machine.journal())


def test_it_logs_json_with_priorities_to_the_journal(machine, service):
    lines = machine.run("journalctl", "-o", "json", "-u", "stokerd.service", "_COMM=stokerd")
    assert '"PRIORITY":"6"' in lines
    assert '\\"event\\"' in lines


def test_stopping_is_announced_and_leaves_nothing_behind(machine, service):
    machine.run("systemctl", "stop", "stokerd.service")
    assert (machine.show("ActiveState"), machine.show("Result")) == ("inactive", "success")
    assert processes(machine) == []
    assert not machine.path("/run/stoker/control.sock").exists()
    assert "SIGKILL" not in machine.journal()


def test_killed_it_is_back_and_none_of_its_processes_is_left_over(machine, service):
    before = machine.show("MainPID")
    children = set(processes(machine))
    machine.run("kill", "-KILL", before)
    machine.until("a new daemon", lambda: machine.show("MainPID") not in ("0", before))
    machine.until("ready again", lambda: machine.show("ActiveState") == "active")
    assert str(machine.ask("ping")["result"]["pid"]) == machine.show("MainPID")
    assert not children & set(processes(machine))


HANGS_ON_ORDER = (
    "import signal, sys, time; from stokerd.__main__ import main;"
    " signal.signal(signal.SIGUSR1, lambda *_: time.sleep(9999)); sys.exit(main([]))"
)
"""The daemon, whose loop can be made to hang: its other threads live on, and so does the process."""


def test_a_daemon_whose_loop_hangs_is_noticed_by_the_watchdog_and_replaced(machine):
    start = f'ExecStart=\nExecStart=/opt/stoker/bin/python3 -c "{HANGS_ON_ORDER}"'
    with machine.drop_in(f"[Service]\nWatchdogSec=1\nTimeoutAbortSec=1\n{start}\n"):
        machine.run("systemctl", "start", "stokerd.service")
        before = machine.show("MainPID")
        machine.run("kill", "-USR1", before)
        machine.until("a new daemon", lambda: machine.show("MainPID") not in ("0", before))
        machine.until("ready again", lambda: machine.show("ActiveState") == "active")
        assert "Watchdog timeout" in machine.journal()
        assert machine.ask("ping")["result"]


def test_a_daemon_that_lives_is_left_alone_by_the_watchdog(machine):
    with machine.drop_in("[Service]\nWatchdogSec=1\n"):
        machine.run("systemctl", "start", "stokerd.service")
        seen: set[str] = set()

        def five_signs() -> bool:
            seen.add(machine.show("WatchdogTimestampMonotonic"))
            return len(seen) > 5

        machine.until("five signs of life", five_signs)
        assert machine.show("NRestarts") == "0"


def test_a_request_sent_while_it_is_down_starts_it_and_is_answered(machine, sockets):
    assert machine.show("ActiveState") == "inactive"
    assert machine.run("stat", "-c", "%U:%G %a", "/run/stoker/control.sock") == "root:stoker 660"
    pong = machine.ask("ping")["result"]
    machine.until("started", lambda: machine.show("ActiveState") == "active")
    assert str(pong["pid"]) == machine.show("MainPID")
    machine.run("systemctl", "stop", "stokerd.service")
    assert machine.path("/run/stoker/control.sock").exists(), "the socket is systemd's, and waits for the next"
    assert str(machine.ask("ping")["result"]["pid"]) == machine.show("MainPID")


def test_a_wrong_configuration_is_told_and_not_tried_again_and_again(machine):
    before = machine.path("/etc/stoker/config.toml").read_text()
    machine.stop()
    machine.write("/etc/stoker/config.toml", "[daemon]\nsockt = 'x'\n")
    try:
        assert "failed" in machine.run("systemctl", "start", "stokerd.service", check=False)
        assert machine.show("ExecMainStatus") == "78"
        assert machine.show("NRestarts") == "0"
        assert "/etc/stoker/config.toml:2" in machine.journal()
        assert "socket" in machine.journal()
    finally:
        machine.write("/etc/stoker/config.toml", before)
        machine.run("systemctl", "reset-failed", "stokerd.service")


def test_the_example_configuration_starts_it(machine):
    with machine.drop_in("[Service]\nEnvironment=STOKER_CONFIG=/opt/stoker/share/stoker/config.example.toml\n"):
        machine.run("systemctl", "start", "stokerd.service")
        assert machine.ask("ping")["result"]


def test_the_box_is_not_this_machine(machine):
    assert machine.run("cat", "/proc/1/comm") == "systemd"
    assert str(Path("/proc/self/ns/pid").readlink()) != machine.run("readlink", "/proc/self/ns/pid")
