"""The unit files as such: systemd-analyze has nothing to say about them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
INSTALLED = re.compile("/opt/stoker/bin/stoker(d?)")

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


@pytest.fixture
def verify(tmp_path):
    """Verify units of a directory, with an executable that exists here in place of the installed one."""

    def verified(directory: Path, *options: str) -> str:
        for unit in [*directory.glob("*.service"), *directory.glob("*.socket")]:
            (tmp_path / unit.name).write_text(INSTALLED.sub("/bin/true", unit.read_text()))
        argv = ["systemd-analyze", *options, "--man=no", "--generators=no", "verify"]
        units = sorted(str(unit) for unit in tmp_path.glob("stokerd*") if unit.is_file())
        assert units
        done = subprocess.run([*argv, *units], capture_output=True, text=True, timeout=60, check=False)
        return f"{done.returncode}: {done.stdout}{done.stderr}"

    return verified


@needs_systemd
def test_verify_has_nothing_to_say_about_the_system_units(verify):
    assert verify(UNITS) == "0: "


@needs_systemd
def test_verify_has_nothing_to_say_about_the_user_units(verify, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert verify(UNITS / "user", "--user") == "0: "


@needs_systemd
def test_verify_does_notice_a_mistake(verify, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    text = (UNITS / "stokerd.service").read_text()
    (broken / "stokerd.service").write_text(text.replace("Type=notify", "Type=notfy"))
    assert verify(broken) != "0: "


@needs_systemd
@pytest.mark.parametrize("name", ["relaxed-jobs", "tcp"])
def test_verify_has_nothing_to_say_about_a_drop_in(verify, tmp_path, name):
    drop_in = UNITS / "drop-ins" / f"{name}.conf"
    (tmp_path / "stokerd.service.d").mkdir()
    (tmp_path / "stokerd.service.d/10.conf").write_text(drop_in.read_text())
    assert verify(UNITS) == "0: "


@pytest.mark.parametrize("directory", [UNITS, UNITS / "user"])
@pytest.mark.parametrize("name", ["stokerd.service", "stokerd.socket", "stokerd-events.socket"])
def test_an_instance_is_the_plain_unit_with_other_directories(directory, name):
    def settings(text):
        return [line for line in text.splitlines() if line and not line.startswith("#")]

    first, _, kind = name.rpartition(".")
    instance = (directory / f"{first}@.{kind}").read_text()
    plain = settings(instance.replace("@%i", "").replace("Stoker %i", "Stoker").replace("-%i", ""))
    own = {
        "ExecStart=/opt/stoker/bin/stokerd --state-dir %h/.local/state/stoker": "ExecStart=/opt/stoker/bin/stokerd",
        "RuntimeDirectory=stoker": "",
        "RuntimeDirectoryMode=0700": "",
        "RuntimeDirectoryPreserve=yes": "",
        "ConfigurationDirectory=stoker": "",
    }
    if directory.name == "user":  # a user's plain daemon finds its directories without being told
        plain = [changed for line in plain if (changed := own.get(line, line))]
    assert plain == settings((directory / name).read_text())


@pytest.mark.parametrize("directory", [UNITS, UNITS / "user"])
def test_the_time_to_stop_is_longer_than_the_grace_of_the_jobs(directory):
    stop = next(
        float(line.partition("=")[2])
        for line in (directory / "stokerd.service").read_text().splitlines()
        if line.startswith("TimeoutStopSec=")
    )
    example = tomllib.loads((UNITS.parent / "config.example.toml").read_text())
    assert stop > example["daemon"]["shutdown_grace"] + 5


def test_every_unit_says_what_it_is():
    for unit in [*UNITS.rglob("*.service"), *UNITS.rglob("*.socket")]:
        assert unit.read_text().startswith("# "), unit
        assert re.search("^Description=Stoker( %i)?: ", unit.read_text(), re.MULTILINE), unit
