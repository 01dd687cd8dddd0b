"""The argument parser of one verb: argparse, made late, and wording its errors as Stoker does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

from stoker.cli import render, values
from stoker.cli.values import UsageError


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, exits and its look at the terminal.

    ``declared`` lists what was added, in order: completion scripts are made from it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.declared: list[argparse.Action] = []
        # A width that is given saves argparse the import of shutil at each add_argument.
        kwargs |= {"allow_abbrev": False, "conflict_handler": "resolve"}
        kwargs["formatter_class"] = partial(argparse.HelpFormatter, width=min(render.terminal_width(), 110) - 2)
        super().__init__(*args, **kwargs)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """As argparse's, and remembered; a name that was declared before is replaced."""
        action = super().add_argument(*names, **options)
        taken = set(action.option_strings)
        self.declared = [known for known in self.declared if not taken.intersection(known.option_strings)]
        self.declared.append(action)
        return action

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print.

        Raises:
            UsageError: always.
        """
        raise UsageError(message, hint=self._advice(message))

    def _advice(self, message: str) -> str:
        if message.startswith("unrecognized arguments: "):
            from difflib import get_close_matches

            word = message.removeprefix("unrecognized arguments: ").split()[0].split("=")[0]
            known = [name for action in self.declared for name in action.option_strings]
            if close := get_close_matches(word, known, n=1):
                return f"did you mean {close[0]}?"
        return f"see `{self.prog} --help`"


def make(words: str, help_line: str, module: Any) -> Parser:
    """The parser of one verb: the options that every verb has, then its own.

    Args:
        words: the verb as typed.
        help_line: its line of help.
        module: its module; ``arguments(parser)`` declares, and may replace a common option.
    """
    parser = Parser(prog=f"stoker {words}", description=f"{help_line[0].upper()}{help_line[1:]}.")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout; notes go to stderr")
    parser.add_argument(
        "--socket", metavar="ENDPOINT", help="the daemon's socket: a path, ipc://PATH or tcp://HOST:PORT"
    )
    parser.add_argument(
        "--timeout", metavar="TIME", type=values.positive_duration, help="give up waiting for an answer after this long"
    )
    module.arguments(parser)
    return parser


def parse(parser: Parser, argv: Sequence[str], *, after_dashes: bool) -> argparse.Namespace:
    """The arguments; options may stand between positionals.

    Args:
        parser: from :func:`make`.
        argv: what follows the verb.
        after_dashes: put what follows the first ``--`` in ``after_dashes`` as it is (None where there is no ``--``).

    Raises:
        UsageError: they are not right.
    """
    words, after = list(argv), None
    if after_dashes and "--" in words:
        at = words.index("--")
        words, after = words[:at], words[at + 1 :]
    namespace = parser.parse_intermixed_args(words)
    namespace.after_dashes = after
    return namespace
