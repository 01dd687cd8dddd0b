"""Every verb in one line: what ``stoker --help`` prints and what is imported for it."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """One verb.

    Args:
        words: as typed; two where the verb has kinds (``start burner``).
        help: one line.
    """

    words: str
    help: str

    @property
    def module(self) -> str:
        """The module that carries it out."""
        return f"stoker.cli.commands.{self.words.replace(' ', '_')}"


VERBS: tuple[Verb, ...] = (
    Verb("up", "start a daemon for yourself, if none runs"),
    Verb("down", "end the daemon and wait until it is gone"),
    Verb("ping", "ask whether the daemon answers"),
    Verb("status", "what runs, at this moment"),
    Verb("metrics", "what runs, as metrics for a scraper"),
    Verb("start burner", "start a named CPU load"),
    Verb("start process", "start a named, supervised process"),
    Verb("start pool", "create a named pool of workers"),
    Verb("start", "start by its name what is down and known"),
    Verb("restart", "stop processes and start them again"),
    Verb("set", "change the size, load or time limit of what runs"),
    Verb("stop", "stop burners, processes and pools, and wait until they are gone"),
    Verb("burn", "put N cores under load, in the foreground, until Ctrl-C"),
    Verb("plan", "show what a load profile will do, before it does"),
    Verb("record", "write this machine's own load as a trace that a profile can replay"),
    Verb("submit", "run a function or a command in the pool"),
    Verb("map", "call a function once per line of input, in the pool"),
    Verb("jobs", "list jobs"),
    Verb("job", "everything about one job"),
    Verb("wait", "wait until jobs have ended"),
    Verb("result", "print a job's value, waiting for it if need be"),
    Verb("cancel", "cancel jobs, running ones too"),
    Verb("retry", "queue jobs again that ended without a value"),
    Verb("drain", "let a pool take no new jobs, and wait until it has none left"),
    Verb("limit", "how many jobs with a tag may run at a time"),
    Verb("queue put", "put items in a shared queue"),
    Verb("queue get", "take items from a shared queue, waiting for the first"),
    Verb("queue status", "how many items wait in a shared queue"),
    Verb("lock", "run a command while holding a shared lock"),
    Verb("logs", "what a job or a supervised process wrote"),
    Verb("events", "what changed: recent events, or the live stream"),
    Verb("config check", "validate a configuration file"),
    Verb("config show", "the configuration in effect"),
    Verb("config diff", "what the file would change, and what is not as configured"),
    Verb("reload", "have the daemon read its configuration again"),
    Verb("service install", "make the daemon a service of systemd, and start it"),
    Verb("service uninstall", "stop that service and remove its units"),
    Verb("service status", "whether the service runs, and answers"),
    Verb("key new", "make a pair of keys for tcp"),
    Verb("key authorize", "let a key connect over tcp, with a role"),
    Verb("key revoke", "keep a key out, at once"),
    Verb("key list", "the keys for tcp, and who is connected with them"),
    Verb("trace", "where the time of one job goes, hop by hop"),
    Verb("doctor", "check what Stoker needs of this machine"),
    Verb("api", "print the whole protocol as an OpenRPC document"),
    Verb("completion", "print a completion script for your shell"),
    Verb("demo", "a tour on a private daemon, under a minute"),
)


def find(first: str, second: str | None) -> Verb | None:
    """The verb that these words begin with, one word or two; None where there is none.

    A verb that has kinds, and stands alone too, is not meant by what looks like one of its kinds.
    """
    for verb in VERBS:
        if verb.words == first and not _is_half_a_verb(first, second):
            return verb
        if second is not None and verb.words == f"{first} {second}":
            return verb
    return None


def _is_half_a_verb(first: str, second: str | None) -> bool:
    close = kinds(first)
    if not close:
        return False
    if second is None or second.startswith("-"):
        return second not in ("-h", "--help")
    from difflib import get_close_matches

    return bool(get_close_matches(second, close, n=1, cutoff=0.8))


def kinds(first: str) -> list[str]:
    """The second words that ``first`` takes; empty for a verb of one word."""
    return [verb.words.split(" ", 1)[1] for verb in VERBS if verb.words.startswith(f"{first} ")]


def firsts() -> list[str]:
    """Every first word, in order."""
    return list(dict.fromkeys(verb.words.split(" ", 1)[0] for verb in VERBS))
