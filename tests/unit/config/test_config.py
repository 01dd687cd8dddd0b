"""What is read, what wins over what, and what is said of a file that is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stoker.errors import BadEndpoint, ConfigError
from stokerd.config import as_map, changes, load, load_again, value


@pytest.fixture
def write(tmp_path):
    """Write a configuration and return its path."""

    def written(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return written


def refusal(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert caught.value.exit_code == 78
    return caught.value


# --- where from ---------------------------------------------------------------------------------------------------


def test_without_a_file_all_is_default_and_the_default_pool_exists():
    config = load(None, {"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/7"})
    assert config.source is None
    assert config.pool["default"].workers == "auto"
    assert config.daemon.socket == "ipc:///run/user/7/stoker/control.sock"
    assert config.daemon.state_dir == "/home/u/.local/state/stoker"


def test_the_users_file_is_read_when_it_is_there(tmp_path):
    (tmp_path / "stoker").mkdir()
    (tmp_path / "stoker/config.toml").write_text("[daemon]\nnice = 3\n")
    config = load(None, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert config.daemon.nice == 3
    assert config.source == tmp_path / "stoker/config.toml"


def test_a_service_has_its_directories_from_systemd(tmp_path):
    (tmp_path / "config.toml").write_text("[pool.default]\nworkers = 3\n")
    environ = {
        "CONFIGURATION_DIRECTORY": str(tmp_path),
        "RUNTIME_DIRECTORY": "/run/stoker",
        "STATE_DIRECTORY": "/var/lib/stoker:/var/lib/other",
    }
    config = load(None, environ)
    assert config.pool["default"].workers == 3
    assert (config.daemon.socket, config.daemon.state_dir) == ("ipc:///run/stoker/control.sock", "/var/lib/stoker")


def test_a_file_named_by_the_environment_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load(None, {"STOKER_CONFIG": str(tmp_path / "none.toml")})


def test_the_command_line_wins_over_the_environment_which_wins_over_the_file(write):
    path = write('[daemon]\nsocket = "/tmp/file.sock"\n')
    assert load(path, {}).daemon.socket == "ipc:///tmp/file.sock"
    environ = {"STOKER_SOCKET": "/tmp/environ.sock"}
    assert load(path, environ).daemon.socket == "ipc:///tmp/environ.sock"
    assert load(path, environ, {"socket": "/tmp/option.sock"}).daemon.socket == "ipc:///tmp/option.sock"


def test_an_endpoint_of_the_command_line_that_cannot_be_is_a_usage_error():
    with pytest.raises(BadEndpoint):
        load(None, {}, {"socket": "/" + "x" * 200})


def test_loading_again_reads_the_file_as_it_is_now_and_keeps_the_command_line(write):
    first = load(write("[daemon]\nshutdown_grace = 5\n"), {}, {"idle_exit": 7.0})
    write("[daemon]\nshutdown_grace = 6\nidle_exit = 1\n")
    again = load_again(first, {})
    assert (again.daemon.shutdown_grace, again.daemon.idle_exit) == (6.0, 7.0)


# --- what is wrong ------------------------------------------------------------------------------------------------


def test_a_typo_is_told_with_its_line_and_the_nearest_key(write):
    error = refusal(write("# first\n[daemon]\nsockt = 'x'\n"))
    assert error.data["line"] == 3
    assert error.data["key"] == "daemon.sockt"
    assert error.data["path"].endswith("config.toml")
    assert "socket" in error.hint
    assert ":3: daemon.sockt" in error.message


def test_an_unknown_table_is_told_with_the_nearest_table(write):
    error = refusal(write("[bruners]\n"))
    assert (error.data["line"], error.hint) == (1, 'did you mean "burners"?')


@pytest.mark.parametrize(
    ("text", "key", "line", "expected"),
    [
        ('[daemon]\nshutdown_grace = "10s"', "daemon.shutdown_grace", 2, "a number (seconds) from 0 to 31536000"),
        ("[daemon]\nidle_exit = nan", "daemon.idle_exit", 2, "a number (seconds)"),
        ("[daemon]\nidle_exit = -1", "daemon.idle_exit", 2, "-1, where a number (seconds) from 0"),
        ("[daemon]\nnice = true", "daemon.nice", 2, "true, where an integer from -20 to 19"),
        ('[daemon]\nlog_level = "warn"', "daemon.log_level", 2, '"debug", "error", "info" or "warning"'),
        ('[daemon]\nmode = "rw"', "daemon.mode", 2, "octal permissions"),
        ("[limits]\n\nhead_bytes = 1.5", "limits.head_bytes", 3, "an integer (bytes) from 1024"),
        ('[pool.default]\nworkers = "many"', "pool.default.workers", 2, '"auto" or an integer from 0 to 1024'),
        ("[pool.default]\nworkers = 1025", "pool.default.workers", 2, '"auto" or an integer from 0 to 1024'),
        ("[burner.heat]\nload = 101", "burner.heat.load", 2, "a number from 0 to 100"),
        ("[burner.heat]\nload = 1\ncpus = [\n0,\n-1]", "burner.heat.cpus", 3, "item 1 is -1"),
        ("[burner.heat]\nworkers = 2", "burner.heat", 1, "the key 'load' is missing"),
        ("[process.web]\nargv = []", "process.web.argv", 2, "a list that is not empty"),
        ("[process.web]\ncwd = '/'", "process.web", 1, "neither argv nor call"),
        ("[process.web]\nargv = ['a']\ncall = 'a:b'", "process.web", 1, "both given"),
        ("[process.web]\ncall = 'a'", "process.web.call", 2, "not package.module:function"),
        ("[process.web]\nargv = ['a']\nenv = {A = 1}", "process.web.env", 3, "a table of text"),
        ("[process.web]\nargv = ['a']\ncwd = 'here'", "process.web.cwd", 3, "not an absolute path"),
        ("[process.web]\nargv = ['a']\nready = 'tcp:http'", "process.web.ready", 3, "is not notify, tcp:PORT"),
        ("[process.web]\nargv = ['a']\nready = 'unix:here'", "process.web.ready", 3, "is not notify, tcp:PORT"),
        (
            "[process.web]\nargv = ['a']\nready = 'notify'\nready_command = ['b']",
            "process.web.ready_command",
            4,
            "two kinds of readiness",
        ),
        ("[process.web]\nargv = ['a']\nready_command = ['']", "process.web.ready_command", 3, "name is empty"),
        ("[process.web]\nargv = ['a']\nready_timeout = 0", "process.web.ready_timeout", 3, "a number (seconds)"),
        (
            "[process.web]\nargv = ['a']\nrlimits = {nofiles = 1}",
            "process.web.rlimits",
            3,
            "no resource limit 'nofiles'",
        ),
        ("[process.web]\nargv = ['a']\nrlimits = {nofile = 'x'}", "process.web.rlimits", 3, 'numbers or "unlimited"'),
        ("[process.web]\nargv = ['a']\nfatal_codes = [0]", "process.web.fatal_codes", 3, "item 0 is 0"),
        ("[process.web]\nargv = ['a']\nbackoff = 60", "process.web.backoff", 3, "longer than the longest"),
        ("[process.web]\nargv = ['a']\nuser = 'no-such'", "process.web.user", 3, "there is no user 'no-such'"),
        ("[process.web]\nargv = ['a']\ngroup = 'no-such'", "process.web.group", 3, "there is no group 'no-such'"),
        ("[process.web]\nargv = ['a']\ninstances = 0", "process.web.instances", 3, "an integer from 1 to 1024"),
        ("[process.web]\nargv = ['a']\nafter = ['db']", "process.web.after", 3, "there is no process 'db'"),
        ("[process.'web:2']\nargv = ['a']", "process.web:2", 1, "is a name of an instance"),
        (
            "[process.a]\nargv = ['a']\nafter = ['b']\n[process.b]\nargv = ['b']\nrequires = ['a']",
            "process.a",
            1,
            "wait for each other: a → b → a",
        ),
        ("[pool.'no name']", "pool.no name", 1, "is not a name"),
        ("[pool.x]\ninitializer = 'setup'", "pool.x.initializer", 2, "is not package.module:function"),
        ("[pool.x]\ninitargs = [1]", "pool.x.initargs", 2, "no initializer"),
        ("[pool.x]\ninitializer = 'a:b'\ninitargs = [2030-01-31]", "pool.x.initargs", 3, "not a MessagePack value"),
        ("[pool]\nworkers = 3", "pool.workers", 2, "where a table is expected"),
        ("pool = 3", "pool", 1, "where tables are expected"),
        ("daemon = []", "daemon", 1, "where a table is expected"),
        ("[daemon]\nsocket = 'ftp://x'", "daemon.socket", 2, "scheme"),
        ("[limits]\nmessage_bytes = 2048\nhead_bytes = 4096", "limits.head_bytes", 3, "larger than its message"),
        ("[pool.x]\n[burner.x]\nload = 1", "burner.x", 2, "belongs to a pool already"),
        ("[burner.default]\nload = 1", "burner.default", 1, "belongs to a pool already"),
    ],
)
def test_what_is_not_allowed_is_told_with_key_line_and_what_is(write, text, key, line, expected):
    error = refusal(write(text + "\n"))
    assert (error.data["key"], error.data["line"]) == (key, line)
    assert expected in error.message


def test_all_problems_are_told_at_once_the_first_by_line_foremost(write):
    error = refusal(write("[limits]\nframes = 0\n[daemon]\nnice = 99\nmood = 1\n"))
    assert [problem["line"] for problem in error.data["problems"]] == [2, 4, 5]
    assert error.data["line"] == 2
    assert "(and 2 more)" in error.message


@pytest.mark.parametrize(
    ("content", "line", "expected"),
    [
        (b"[daemon]\nnice = 1\nnice = 2\n", 3, "not TOML"),
        (b"[daemon]\nsocket = /run/x\n", 2, "not TOML"),
        (b"[daemon\n", 1, "not TOML"),
        (b"[daemon]\nsocket = '\xff'\n", None, "not UTF-8"),
    ],
)
def test_a_file_that_is_not_toml_is_told_with_its_line(tmp_path, content, line, expected):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    error = refusal(path)
    assert error.data["line"] == line
    assert expected in error.message


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    assert "Is a directory" in refusal(tmp_path).message
    assert "No such file" in refusal(tmp_path / "none").message


def test_a_guard_that_cannot_be_read_is_refused_with_its_line(write):
    error = refusal(write("[burner.heat]\nload = 10\nguards = ['load>8:cap', 'load<8:cap']\n"))
    assert error.data["line"] == 3
    assert "guard 'load<8:cap', column 5: expected '>' after load" in error.message


# --- shown and compared -------------------------------------------------------------------------------------------


def test_what_a_processs_environment_holds_is_never_shown(write):
    config = load(write("[process.web]\nargv = ['a']\nenv = {TOKEN = 'hunter2'}\n"), {})
    assert as_map(config)["process"]["web"]["env"] == {"TOKEN": "(not shown)"}
    assert "hunter2" not in str(as_map(config))


def test_nothing_differs_between_a_file_and_itself(write):
    config = load(write("[burner.heat]\nload = 10\n"), {})
    assert changes(config, load_again(config, {})) == []


def test_the_changes_name_keys_and_whole_tables_and_which_of_them_wait_for_a_restart(write):
    old = load(write("[burner.heat]\nload = 10\n"), {})
    new = load(write("[daemon]\nshutdown_grace = 5\nmode = '0660'\n[pool.default]\nworkers = 2\nnice = 1\n"), {})
    found = changes(old, new)
    assert [str(key) for key in found if key.live] == [
        "burner.heat",
        "daemon.shutdown_grace",
        "pool.default.nice",
        "pool.default.workers",
    ]
    assert [str(key) for key in found if not key.live] == ["daemon.mode"]


def test_a_change_is_shown_by_both_values_and_a_table_by_what_is_not_default(write):
    old = load(write("[process.web]\nargv = ['true']\nenv = {TOKEN = 'hunter2'}\n[limits]\nframes = 3\n"), {})
    new = load(write("[limits]\nframes = 4\n"), {})
    frames, web = changes(old, new)
    assert (value(old, frames), value(new, frames)) == (3, 4)
    assert (value(old, web), value(new, web)) == ({"argv": ("true",), "env": {"TOKEN": "(not shown)"}}, None)


def test_a_name_with_dots_in_it_is_one_name(write):
    old = load(write("[process.'a.b.c']\nargv = ['true']\n"), {})
    new = load(write("[process.'a.b.c']\nargv = ['true']\ngrace = 1\n"), {})
    assert changes(old, new) == [("process", "a.b.c", "grace")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(write):
    path = write("")
    path.chmod(0)
    assert "Permission denied" in refusal(path).message
