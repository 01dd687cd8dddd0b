"""``stoker key``: files closed to others, and nothing overwritten."""

from __future__ import annotations

import json
import os
import stat

import pytest

from stoker.cli.main import main
from stoker.protocol import keyfile

VARIABLES = ("STOKER_KEYS", "STOKER_SOCKET")


@pytest.fixture
def keys(tmp_path, monkeypatch):
    monkeypatch.setenv("STOKER_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("STOKER_SOCKET", str(tmp_path / "nobody.sock"))
    return tmp_path / "keys"


def told(capsys, *words):
    code = main(["key", *words[:1], "--json", *words[1:]])
    out = capsys.readouterr().out
    return code, json.loads(out)


def test_a_new_key_is_closed_to_others_whatever_the_umask(keys, capsys):
    before = os.umask(0)
    try:
        code, facts = told(capsys, "new", "laptop")
        assert told(capsys, "authorize", "laptop", "--role", "submit")[0] == 0
    finally:
        os.umask(before)
    assert code == 0
    assert facts["secret"] == str(keys / "laptop.key_secret")
    for file in (
        keys,
        keys / "laptop.key_secret",
        keys / "laptop.key",
        keys / "authorized",
        *(keys / "authorized").iterdir(),
    ):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_a_key_is_never_overwritten(keys, capsys):
    told(capsys, "new", "laptop")
    before = (keys / "laptop.key_secret").read_bytes()
    code, facts = told(capsys, "new", "laptop")
    assert (code, facts["error"]["code"]) == (1, "name-taken")
    assert (keys / "laptop.key_secret").read_bytes() == before


def test_what_is_printed_holds_no_secret_key(keys, capsys):
    main(["key", "new", "laptop"])
    main(["key", "authorize", "laptop", "--role", "admin"])
    main(["key", "list"])
    said = capsys.readouterr()
    secret = keyfile.parse((keys / "laptop.key_secret").read_text(), what="it").secret
    assert secret not in said.out + said.err
    assert secret not in (keys / "authorized" / "laptop.key").read_text()


def test_a_key_is_authorized_by_name_by_file_or_by_itself(keys, capsys, tmp_path):
    told(capsys, "new", "laptop")
    public = keyfile.parse((keys / "laptop.key").read_text(), what="it").public
    elsewhere = tmp_path / "desk.key"
    elsewhere.write_text((keys / "laptop.key").read_text())
    for who, more in (("laptop", ()), (str(elsewhere), ()), (public, ("--name", "anna"))):
        code, facts = told(capsys, "authorize", *more, "--role", "submit", "--", who)
        assert (code, facts["public"], facts["daemon"]) == (0, public, None)
        assert told(capsys, "revoke", facts["name"])[0] == 0
    assert not list((keys / "authorized").iterdir())


def test_the_list_shows_roles_and_where_the_secret_is(keys, capsys):
    told(capsys, "new", "server")
    told(capsys, "new", "laptop")
    told(capsys, "authorize", "laptop", "--role", "observe")
    (keys / "laptop.key_secret").unlink()
    _, facts = told(capsys, "list")
    shown = {key["name"]: (key["role"], key["secret"]) for key in facts["keys"]}
    assert shown == {"server": ("", True), "laptop": ("observe", False)}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("new", "../x"), 78),
        (("authorize", "nobody", "--role", "submit"), 4),
        (("authorize", "nobody", "--role", "king"), 2),
        (("authorize", "nobody"), 2),
        (("revoke", "nobody"), 4),
        (("revoke", "../../etc/passwd"), 78),
    ],
)
def test_what_cannot_be_done_is_said(keys, capsys, words, code):
    assert main(["key", *words]) == code
    said = capsys.readouterr().err
    assert "hint:" in said
    assert "Traceback" not in said


def test_one_key_has_one_name(keys, capsys):
    for name in ("one", "two"):
        told(capsys, "new", name)
    told(capsys, "authorize", "one", "--role", "submit")
    public = keyfile.parse((keys / "one.key").read_text(), what="it").public
    assert told(capsys, "authorize", public, "--name", "other", "--role", "admin")[1]["error"]["code"] == "name-taken"
    assert told(capsys, "authorize", "two", "--name", "one", "--role", "admin")[1]["error"]["code"] == "name-taken"
    assert told(capsys, "authorize", "one", "--role", "admin")[1]["role"] == "admin"
