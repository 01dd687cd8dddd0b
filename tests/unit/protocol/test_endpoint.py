"""What a user may write for an endpoint, and what comes of it."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import BadEndpoint
from stoker.protocol import endpoint
from stoker.protocol.endpoint import MAX_IPC_PATH, Endpoint, parse


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/run/x.sock", "/run/x.sock"),
        ("ipc:///run/x.sock", "/run/x.sock"),
        ("/run/a/../x.sock", "/run/x.sock"),
        ("x.sock", os.path.abspath("x.sock")),
        ("ipc://x.sock", os.path.abspath("x.sock")),
        ("~/x.sock", os.path.expanduser("~/x.sock")),
    ],
)
def test_a_path_is_made_absolute(text: str, path: str) -> None:
    found = parse(text)
    assert found.path == path
    assert str(found) == found.url == f"ipc://{path}"
    assert parse(found.url) == found


@pytest.mark.parametrize("text", ["http://x", "inproc://x", "ipc://tcp://x:1", "udp://1.2.3.4:5"])
def test_another_scheme_is_refused(text: str) -> None:
    with pytest.raises(BadEndpoint, match="scheme") as caught:
        parse(text)
    assert "ipc://PATH" in caught.value.hint


@pytest.mark.parametrize("text", ["", "ipc://"])
def test_nothing_is_refused(text: str) -> None:
    with pytest.raises(BadEndpoint, match="empty"):
        parse(text)


def test_a_path_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(BadEndpoint, match="zero byte"):
        parse("/run/x\0.sock")


def test_the_longest_path_is_the_one_whose_event_socket_still_fits() -> None:
    room = MAX_IPC_PATH - len("/.events.sock")
    longest = "/" + "x" * room + ".sock"
    assert len(parse(longest).events.removeprefix("ipc://")) == MAX_IPC_PATH
    for too_long in ("/" + "x" * (room + 1) + ".sock", "/" + "é" * (room // 2 + 1) + ".sock"):
        with pytest.raises(BadEndpoint, match="too long") as caught:
            parse(too_long)
        assert "shorter" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("/run/control.sock", "ipc:///run/control.events.sock"),
        ("/run/control", "ipc:///run/control.events.sock"),
        ("tcp://host:5000", "tcp://host:5001"),
        ("tcp://[::1]:5000", "tcp://[::1]:5001"),
    ],
)
def test_the_event_socket_is_beside_the_control_socket(text: str, events: str) -> None:
    assert parse(text).events == events


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:5000", "tcp://[::1]:1", "tcp://host.example:65534"])
def test_a_tcp_endpoint_has_no_path(text: str) -> None:
    assert parse(text) == Endpoint(text)
    assert parse(text).path is None


@pytest.mark.parametrize(
    "text",
    [
        *("tcp://", "tcp://host", "tcp://host:", "tcp://:1", "tcp://host:0", "tcp://host:65535", "tcp://host:99999"),
        *("tcp://host:1x", "tcp://a b:1", "tcp://host:1/x", "tcp://host:1\n", "tcp://::1:1", "tcp://host:-1"),
    ],
)
def test_what_is_not_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(BadEndpoint, match="tcp endpoint"):
        parse(text)


@given(st.text(max_size=150))
def test_any_text_is_an_endpoint_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except BadEndpoint:
        return
    assert found.url.startswith(("ipc:///", "tcp://"))
    assert found.events != found.url


def test_the_argument_goes_before_the_environment() -> None:
    assert endpoint.chosen("/a", {"STOKER_SOCKET": "/b"}) == Endpoint("ipc:///a")
    assert endpoint.chosen(None, {"STOKER_SOCKET": "/b"}) == Endpoint("ipc:///b")
    assert endpoint.chosen("", {"STOKER_SOCKET": ""}) is None
    with pytest.raises(BadEndpoint):
        endpoint.chosen(None, {"STOKER_SOCKET": "http://x"})


def test_a_users_own_endpoint_is_in_the_runtime_directory_or_beside_the_temporary_files() -> None:
    assert endpoint.default({"XDG_RUNTIME_DIR": "/run/user/7"}, 7).path == "/run/user/7/stoker/control.sock"
    assert endpoint.default({}, 7).path == "/tmp/stoker-7/control.sock"
    assert endpoint.default({"TMPDIR": "/var/tmp"}, 7).path == "/var/tmp/stoker-7/control.sock"
    with pytest.raises(BadEndpoint, match="too long"):
        endpoint.default({"XDG_RUNTIME_DIR": "/" + "x" * 100}, 7)


def test_state_and_configuration_are_where_xdg_says() -> None:
    assert endpoint.user_state_dir({"XDG_STATE_HOME": "/s"}) == "/s/stoker"
    assert endpoint.user_state_dir({"HOME": "/h"}) == "/h/.local/state/stoker"
    assert endpoint.user_config({"XDG_CONFIG_HOME": "/c"}) == "/c/stoker/config.toml"
    assert endpoint.user_config({"HOME": "/h"}) == "/h/.config/stoker/config.toml"
