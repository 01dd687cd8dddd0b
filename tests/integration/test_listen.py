"""``client.listen`` and autostart, on real daemons."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest

import stoker
from stoker.errors import ConnectionClosed, DaemonLost, DeadlineExceeded

WAIT = 60


@pytest.fixture
def client(daemon):
    with stoker.Client(daemon.endpoint) as client:
        yield client


def test_events_come_numbered_without_a_gap(client):
    client.submit(abs, 0).result()
    with client.listen() as listener:
        for number in range(20):
            client.submit(abs, number).result()
        heard = []
        while sum(happening.topic == "job.ended" for happening in heard) < 20:
            heard.append(listener.get(WAIT))
    assert [happening.seq for happening in heard] == list(range(heard[0].seq, heard[0].seq + len(heard)))
    assert not any(happening.missed for happening in heard)


def test_only_the_topics_that_were_asked_for_come(client):
    with client.listen(["pool."]) as listener:
        client.submit(abs, 1).result()
        client.start_pool("side", workers=1)
        happening = listener.get(WAIT)
        assert (happening.topic, happening.facts["name"]) == ("pool.changed", "side")


def test_silence_is_a_timeout_and_a_closed_listener_says_so(client):
    listener = client.listen(["burner."])
    with pytest.raises(DeadlineExceeded):
        listener.get(0.05)
    listener.close()
    listener.close()
    with pytest.raises(ConnectionClosed):
        listener.get(0.05)


def test_a_listener_hears_of_the_daemons_death(start_daemon):
    daemon = start_daemon()
    client = stoker.Client(daemon.endpoint)
    with client.listen(["burner."]) as listener:
        daemon.kill()
        with pytest.raises(DaemonLost):
            listener.get(WAIT)
    client.close()


PROGRAM = """
import json, sys, stoker
with stoker.Client() as client:
    offset = 4
    print(json.dumps([client.ping().pid, client.submit(lambda x: x + offset, 38).result()]))
"""


def test_two_programs_at_once_start_one_private_daemon_between_them(short_path):
    environ = {key: value for key, value in os.environ.items() if not key.startswith("STOKER_")}
    environ |= {
        "XDG_RUNTIME_DIR": str(short_path),
        "XDG_STATE_HOME": str(short_path / "state"),
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    programs = [
        subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [program.communicate(timeout=WAIT) for program in programs]
    pids = set()
    try:
        pids = {json.loads(out)[0] for out, _ in said}
        assert [json.loads(out)[1] for out, _ in said] == [42, 42, 42], said
        assert len(pids) == 1
        assert sum("started a private daemon" in err for _, err in said) == 1
        assert (short_path / "stoker").stat().st_mode & 0o777 == 0o700
    finally:
        for pid in pids:
            private = psutil.Process(pid)
            private.send_signal(signal.SIGTERM)
            private.wait(WAIT)
