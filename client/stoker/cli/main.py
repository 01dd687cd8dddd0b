"""The ``stoker`` command: find the verb, import it and nothing else, run it, word what goes wrong.

No traceback ever reaches a user: whatever a verb raises ends here as a message, a hint and an exit code.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from stoker.cli import verbs
from stoker.cli.output import Output
from stoker.cli.values import UsageError
from stoker.errors import EXIT_FAILED, StokerError

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
_WITH_VALUE = ("--socket", "--timeout")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code.

    Args:
        argv: what follows ``stoker``; None: that of this process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    out = Output(json="--json" in (words[: words.index("--")] if "--" in words else words))
    try:
        code = _run(words, out)
        sys.stdout.flush()
    except StokerError as error:
        return _report(error, out)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except Exception as bug:
        return _report(_internal(bug), out)
    return code


def _run(words: list[str], out: Output) -> int:
    before, rest = _split(words)
    if not rest or rest == ["help"]:
        return _without_verb(before, asked=bool(rest))
    if rest[0] == "help":
        before, rest = [], [*rest[1:], "--help"]
    verb = _verb(rest)
    module = importlib.import_module(verb.module)
    from stoker.cli import parser as parsing

    parser = parsing.make(verb.words, verb.help, module)
    arguments = [*before, *rest[len(verb.words.split()) :]]
    try:
        args = parsing.parse(parser, arguments, after_dashes=getattr(module, "AFTER_DASHES", False))
    except SystemExit as done:  # argparse has printed its help
        return int(done.code or 0)
    code: int = module.run(args, out)
    return code


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Options before the verb, and the verb with what follows."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in _WITH_VALUE else 1
    return words[:at], words[at:]


def _verb(rest: list[str]) -> verbs.Verb:
    first, second = rest[0], rest[1] if len(rest) > 1 else None
    if verb := verbs.find(first, second):
        return verb
    if kinds := verbs.kinds(first):
        wrong = (
            f"`stoker {first}` has no kind {second!r}"
            if second and not second.startswith("-")
            else f"`stoker {first}` what?"
        )
        raise UsageError(wrong, hint=f"one of: {', '.join(f'stoker {first} {kind}' for kind in kinds)}")
    raise UsageError(f"there is no verb {first!r}", hint=_nearest(first) or "`stoker --help` lists all verbs")


def _nearest(word: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, verbs.firsts(), n=1, cutoff=0.5)
    return f"did you mean `stoker {close[0]}`?" if close else ""


def _without_verb(before: list[str], *, asked: bool) -> int:
    if "--version" in before:
        from stoker import __version__

        print(f"stoker {__version__}")
        return 0
    unknown = [word for word in before if word.startswith("-") and word not in ("-h", "--help", "--json", *_WITH_VALUE)]
    if unknown:
        raise UsageError(f"unknown option {unknown[0]}", hint="`stoker --help` lists all verbs")
    text = _help()
    if asked or "-h" in before or "--help" in before:
        print(text)
        return 0
    print(text, file=sys.stderr)
    return UsageError.exit_code


def _help() -> str:
    width = max(len(verb.words) for verb in verbs.VERBS)
    lines = [f"  {verb.words:<{width}}  {verb.help}" for verb in verbs.VERBS]
    return "\n".join(
        (
            "usage: stoker VERB …",
            "",
            "Python's multiprocessing as a system service: a pool, exact CPU load, supervised processes.",
            "",
            *lines,
            "",
            "Every verb has --help, --json, --socket ENDPOINT and --timeout TIME.",
            "Exit codes: 0 ok; 1 failed; 2 usage; 4 no such object; 69 no daemon; 75 timeout or busy; 77 refused.",
        )
    )


def _report(error: StokerError, out: Output) -> int:
    try:
        out.failure(error)
    except BrokenPipeError:
        return _reader_left()
    return error.exit_code


def _reader_left() -> int:
    # The interpreter flushes stdout once more at its end: let it have somewhere to go.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return EXIT_BROKEN_PIPE


def _internal(bug: Exception) -> StokerError:
    if os.environ.get("STOKER_TRACEBACK"):
        import traceback

        traceback.print_exception(bug)
    return _Internal(
        f"this is a bug in the command: {type(bug).__name__}: {bug}",
        hint="run it again with STOKER_TRACEBACK=1 set to see where, and report that",
    )


class _Internal(StokerError):
    """The command line itself failed."""

    code = "internal-error"
    exit_code = EXIT_FAILED
