"""``stoker completion``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli.output import Output
from stoker.cli.parser import Parser

SHELLS = ("bash", "zsh", "fish")


def arguments(parser: Parser) -> None:
    """SHELL."""
    parser.add_argument("shell", choices=SHELLS, help='bash: eval "$(stoker completion bash)" in ~/.bashrc')


def run(args: Namespace, out: Output) -> int:
    """Print the script of one shell."""
    from stoker.cli import shells

    script = {"bash": shells.bash, "zsh": shells.zsh, "fish": shells.fish}[args.shell](shells.tables())
    out.show({"shell": args.shell, "script": script}, script)
    return 0
