"""Key files: text in, keys out; nothing else gets through."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import zmq
import zmq.auth
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import BadKey
from stoker.protocol import keyfile
from stoker.protocol.keyfile import KeyFile
from stoker.protocol.roles import Role

PUBLIC, SECRET = (part.decode() for part in zmq.curve_keypair())


@pytest.mark.parametrize("role", [None, *Role])
@pytest.mark.parametrize("secret", ["", SECRET], ids=["public", "secret"])
def test_what_is_written_is_read(role, secret):
    key = KeyFile(PUBLIC, secret, role)
    assert keyfile.parse(keyfile.form(key, name="me"), what="it") == key


def test_the_files_are_those_of_zeromqs_own_tools(tmp_path):
    (tmp_path / "ours.key_secret").write_text(keyfile.form(KeyFile(PUBLIC, SECRET), name="me"))
    assert zmq.auth.load_certificate(tmp_path / "ours.key_secret") == (PUBLIC.encode(), SECRET.encode())
    _, theirs = zmq.auth.create_certificates(tmp_path, "theirs")
    found = keyfile.parse(Path(theirs).read_text(), what="it")
    assert (found.public.encode(), found.secret.encode()) == zmq.auth.load_certificate(theirs)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "curve\n",
        'curve\n    public-key = "short"\n',
        f'metadata\n    public-key = "{PUBLIC}"\n',
        f'curve\n    public-key = "{"#" * 40}"\n',
        f'curve\n    public-key = "{PUBLIC}"\n    secret-key = "no"\n',
        f'metadata\n    role = "king"\ncurve\n    public-key = "{PUBLIC}"\n',
    ],
    ids=range(7),
)
def test_what_is_no_key_is_refused_and_not_quoted(text):
    with pytest.raises(BadKey) as caught:
        keyfile.parse(text, what="the file")
    assert "the file" in caught.value.message
    assert caught.value.hint
    assert PUBLIC not in str(caught.value)


@given(st.text())
def test_whatever_is_in_a_file_is_a_key_or_an_error(text):
    with contextlib.suppress(BadKey):
        assert keyfile.is_key(keyfile.parse(text, what="it").public)


@given(st.binary(min_size=32, max_size=32))
def test_every_key_of_zeromqs_is_one(secret):
    from zmq.utils import z85

    assert keyfile.is_key(z85.encode(secret).decode())


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a\n", "ü", "x" * 129])
def test_a_name_that_leads_elsewhere_is_none(name):
    with pytest.raises(BadKey):
        keyfile.checked_name(name)
