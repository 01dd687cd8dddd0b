"""What the service goes through: killed with work in hand, drained, reloaded, limited, and started where it cannot."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from stoker.errors import DaemonLost

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

STATE = "/var/lib/stoker"
CONFIG = "/etc/stoker/config.toml"
WAIT = 60
INSIDE = {"executable": "/usr/bin/python3", "cwd": "/"}
"""What jobs of a client outside are to run with: its own Python is closed to the service's user."""


@pytest.fixture
def configured(machine):
    """Write another configuration for the length of a test."""
    before = machine.path(CONFIG).read_text()
    yield lambda text: machine.write(CONFIG, before + text)
    machine.write(CONFIG, before)


def command(*argv, **options):
    return {"command": {"argv": list(argv), "cwd": "/"}, **options}


def in_thread(call, *args):
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(call, *args)
    finally:
        pool.shutdown(wait=False)


def submit(machine, spec, wait=None):
    return machine.ask("submit", jobs=[spec], wait=wait)["result"]["jobs"][0]


# --- killed and back --------------------------------------------------------------------------------------------------


def test_killed_by_force_it_is_back_with_its_queue_and_clients_go_on_by_themselves(machine, service):
    with machine.client() as client:
        kept = client.options(durable=True, delay=2, detach=True, environment=INSIDE)
        waiting = [kept.submit(pow, number, 2) for number in range(5)]
        before = client.ping().pid
        results = [in_thread(job.result, WAIT) for job in waiting]
        machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", service)
        assert [result.result(WAIT) for result in results] == [0, 1, 4, 9, 16]
        assert client.ping().pid != before
    assert "Scheduled restart job" in machine.journal()


def test_a_restart_as_after_an_upgrade_keeps_the_queue_and_clients_wait_through_it(machine, service):
    with machine.client() as client:
        job = client.options(durable=True, delay=1, detach=True, environment=INSIDE).submit(pow, 7, 2)
        result = in_thread(job.result, WAIT)
        before = client.ping().pid
        machine.run("systemctl", "restart", service)
        assert client.ping().pid != before
        assert result.result(WAIT) == 49
    assert "Scheduled restart job" not in machine.journal()


def test_what_was_on_its_way_when_it_died_is_done_once_or_told_to_be_lost(machine, service):
    with machine.client() as client:
        client.ping()
        machine.run("systemctl", "kill", "--signal=STOP", "--kill-who=main", service)
        handed_in = in_thread(client.options(durable=True, name="once").run, ["true"])
        unsure = in_thread(client.options(name="unsure").call, "math:factorial", 5)
        machine.until("both on their way", lambda: client.connection.session.outstanding >= 2)
        machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", service)
        assert handed_in.result(WAIT).result(WAIT) == 0
        with pytest.raises(DaemonLost):
            unsure.result(WAIT)
    names = [job["name"] for job in machine.ask("jobs")["result"]["jobs"]]
    assert (names.count("once"), names.count("unsure")) == (1, 0)


def test_a_job_that_escapes_from_its_group_ends_with_the_daemon(machine, service):
    sign = f"{STATE}/escaped"
    leaves = f"setsid --fork sh -c 'touch {sign}; exec sleep 1234'; until [ -e {sign} ]; do :; done; rm {sign}"
    assert submit(machine, command("sh", "-c", leaves), wait=WAIT)["state"] == "done"
    machine.until("it sleeps", lambda: machine.run("ps", "-o", "pid=", "-C", "sleep", check=False))
    (escaped,) = machine.run("ps", "-o", "pid=", "-C", "sleep").split()
    assert int(escaped) in machine.members("/jobs")
    machine.run("systemctl", "stop", service)
    assert machine.run("ps", "-o", "pid=", "-C", "sleep", check=False) == ""


# --- stop, reload, status ---------------------------------------------------------------------------------------------


def test_stopping_lets_a_running_job_end_and_says_so(machine, service):
    submit(machine, command("sh", "-c", f"until [ -e {STATE}/go ]; do sleep 0.01; done; touch {STATE}/ended"))
    machine.until("it runs", lambda: machine.ask("jobs", states=["running"])["result"]["jobs"])
    machine.run("systemctl", "stop", "--no-block", service)
    machine.until("stopping", lambda: machine.show("ActiveState") == "deactivating")
    machine.until("it says so", lambda: machine.show("StatusText").startswith("Stopping"))
    assert machine.show("StatusText") == "Stopping: 1 job running may go on for 10 s"
    assert not machine.path(f"{STATE}/ended").exists()
    machine.write(f"{STATE}/go", "")
    machine.until("stopped", lambda: machine.show("ActiveState") == "inactive")
    assert machine.show("Result") == "success"
    assert machine.path(f"{STATE}/ended").exists()
    machine.run("rm", f"{STATE}/go", f"{STATE}/ended")


def test_a_grace_that_is_longer_than_the_units_timeout_is_kept(machine, configured):
    configured("shutdown_grace = 60.0\n")
    with machine.drop_in("[Service]\nTimeoutStopSec=1\n"):
        machine.run("systemctl", "start", "stokerd.service")
        submit(machine, command("sh", "-c", "sleep 3"))
        machine.until("it runs", lambda: machine.ask("jobs", states=["running"])["result"]["jobs"])
        machine.run("systemctl", "stop", "stokerd.service")
        assert machine.show("Result") == "success"
        assert "SIGKILL" not in machine.journal()


def test_reload_returns_when_the_new_configuration_is_in_effect(machine, service, configured):
    configured("\n[pool.side]\nworkers = 1\n")
    machine.run("systemctl", "reload", service)
    assert [pool["name"] for pool in machine.ask("status")["result"]["pools"]] == ["default", "side"]
    assert (machine.show("ActiveState"), machine.show("StatusText")) == (
        "active",
        "Serving at ipc:///run/stoker/control.sock: idle",
    )


def test_a_reload_of_a_wrong_configuration_fails_and_changes_nothing(machine, service, configured):
    before = machine.ask("status")["result"]["pools"]
    configured("\n[pool.third]\nwrkers = 1\n")
    assert machine.code("systemctl", "reload", service) != 0
    assert machine.show("ActiveState") == "active"
    assert "the new configuration is wrong" in machine.show("StatusText")
    assert "workers" in machine.journal(), "the reason is in the log"
    after = machine.ask("status")["result"]["pools"]
    assert [pool["name"] for pool in after] == [pool["name"] for pool in before]


def test_the_status_line_follows_the_work(machine):
    with machine.drop_in("[Service]\nWatchdogSec=1\n"):
        machine.run("systemctl", "start", "stokerd.service")
        machine.ask("start", kind="burner", name="heat", workers=1, load=5.0, seconds=600.0)
        machine.until("it is told", lambda: machine.show("StatusText").endswith(": 1 burner"))
        machine.ask("stop", names=["heat"])


# --- socket activation ------------------------------------------------------------------------------------------------


def test_a_job_sent_while_it_is_down_is_run_by_the_daemon_that_it_starts(machine, sockets):
    assert machine.show("ActiveState") == "inactive"
    with machine.client() as client:
        assert client.options(environment=INSIDE).submit(pow, 3, 4).result(WAIT) == 81
    machine.run("systemctl", "stop", "stokerd.service")
    told = machine.stoker("submit", "--socket", "/run/stoker/control.sock", "--", "echo", "hello")
    assert told == "hello"


def test_requests_that_find_it_killed_are_answered_by_the_next_one(machine, sockets):
    with machine.client() as client:
        first = client.ping().pid
        machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "stokerd.service")
        assert client.ping().pid != first


# --- limits -----------------------------------------------------------------------------------------------------------


def test_jobs_and_burners_are_in_groups_of_their_own(machine, service):
    machine.ask("start", kind="burner", name="heat", workers=1, load=5.0, seconds=600.0)
    submit(machine, command("sleep", "600"))
    machine.until("it runs", lambda: machine.ask("jobs", states=["running"])["result"]["jobs"])
    status = machine.ask("status")["result"]
    # the pids in the daemon's own words are those of its namespace, as everything that is run inside sees
    assert machine.members("/daemon") == [int(machine.show("MainPID"))]
    burning = [worker["pid"] for burner in status["burners"] for worker in burner["workers"]]
    assert sorted(machine.members("/burners")) == sorted(burning)
    workers = [worker["pid"] for pool in status["pools"] for worker in pool["workers"] if worker["pid"]]
    assert set(workers) <= set(machine.members("/jobs"))
    assert machine.members("") == []
    machine.ask("stop", names=["heat"])
    machine.ask("cancel", ids=[job["id"] for job in machine.ask("jobs", states=["running"])["result"]["jobs"]])


def test_a_memory_limit_of_the_unit_costs_the_job_and_not_the_daemon(machine, service):
    if (
        not machine.path("/sys/fs/cgroup/memory").exists()
        and "memory" not in machine.path("/sys/fs/cgroup/cgroup.controllers").read_text()
    ):
        pytest.skip("no memory controller in here")
    machine.run("systemctl", "set-property", "--runtime", service, "MemoryMax=300M", "MemorySwapMax=0")
    try:
        main = machine.show("MainPID")
        eater = "x = bytearray(1); data = []\nwhile True: data.append(b'x' * (16 << 20))"
        job = submit(machine, command("/usr/bin/python3", "-c", eater), wait=WAIT)
        assert job["state"] in ("failed", "worker-died"), job
        assert "SIGKILL" in json.dumps(job["error"]) or "memory" in json.dumps(job["error"]), job
        assert machine.show("MainPID") == main
        assert submit(machine, {"call": {"function": "math:factorial", "args": [5]}}, wait=WAIT)["value"] == 120
    finally:
        machine.run("systemctl", "revert", service)


def test_a_cpu_quota_of_the_unit_holds_what_it_runs(machine, service):
    if (
        not machine.path("/sys/fs/cgroup/cpu").exists()
        and "cpu" not in machine.path("/sys/fs/cgroup/cgroup.controllers").read_text()
    ):
        pytest.skip("no cpu controller in here")
    machine.run("systemctl", "set-property", "--runtime", service, "CPUQuota=20%")
    try:
        spin = "import time; e = time.monotonic() + 1\nwhile time.monotonic() < e: pass"
        assert submit(machine, command("/usr/bin/python3", "-c", spin), wait=WAIT)["state"] == "done"
        group = machine.show("ControlGroup")
        stat = next(
            path
            for top in ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup")
            if (path := machine.path(f"{top}{group}/cpu.stat")).exists()
        )
        figures = dict(line.split() for line in stat.read_text().splitlines())
        assert int(figures["nr_throttled"]) > 0, figures
    finally:
        machine.run("systemctl", "revert", service)


# --- where it cannot start --------------------------------------------------------------------------------------------


def refused(machine, code, *words):
    """It does not start, with this exit code, these words in the log, and not again and again."""
    assert machine.code("systemctl", "start", "stokerd.service") != 0
    assert machine.show("ExecMainStatus") == str(code)
    log = machine.journal()
    assert all(word in log for word in words), log
    assert "Traceback" not in log


def test_a_second_daemon_on_its_endpoint_is_refused_and_does_no_harm(machine, service):
    second = ["setpriv", "--reuid=stoker", "--regid=stoker", "--clear-groups", "/opt/stoker/bin/stokerd"]
    argv = [*second, "--socket", "/run/stoker/control.sock", "--state-dir", "/tmp/second"]
    told = machine.run(*argv, check=False)
    assert "/run/stoker/control.sock" in told
    assert machine.code(*argv) == 69
    assert str(machine.ask("ping")["result"]["pid"]) == machine.show("MainPID")


def test_a_read_only_state_directory_is_told_and_not_tried_again(machine):
    with machine.drop_in("[Service]\nReadOnlyPaths=/var/lib/stoker\n"):
        refused(machine, 73, "Read-only file system", "daemon.state_dir")
        assert machine.show("NRestarts") == "0"


def test_a_runtime_directory_that_is_missing_is_told_with_what_to_do(machine):
    with machine.drop_in("[Service]\nRuntimeDirectory=\nEnvironment=STOKER_SOCKET=/run/nowhere/control.sock\n"):
        refused(machine, 73, "/run/nowhere does not exist", "install -d")


def test_a_directory_of_somebody_else_is_refused(machine):
    machine.run("install", "-d", "-o", "nobody", "/run/theirs")
    with machine.drop_in("[Service]\nEnvironment=STOKER_SOCKET=/run/theirs/control.sock\n"):
        refused(machine, 77, "/run/theirs", "belongs to another user")


def test_a_full_disk_at_the_start_is_told_and_tried_again_until_there_is_room(machine):
    machine.stop()
    machine.run("mount", "-t", "tmpfs", "-o", "size=2m,mode=750,uid=stoker,gid=stoker", "full", STATE)
    try:
        machine.run("sh", "-c", f"dd if=/dev/zero of={STATE}/fill bs=64k 2>&-; true", check=False)
        machine.run("systemctl", "start", "--no-block", "stokerd.service")
        machine.until("tried again", lambda: int(machine.show("NRestarts")) > 0)
        log = machine.journal()
        assert "is full" in log
        assert "status=74" in log
        machine.run("rm", f"{STATE}/fill")
        machine.until("started", lambda: machine.show("ActiveState") == "active")
        assert machine.ask("ping")["result"]
    finally:
        machine.stop()
        machine.run("umount", STATE)
