"""All commands, and the parser that knows them."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Sequence

from senet import __version__
from senet.cli import bench, compare, evaluate, insert, models, recipes, train
from senet.cli.options import Parser
from senet.errors import SenetError, nearest

COMMANDS = (compare, train, evaluate, recipes, insert, models, bench)


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="senet",
        description="Squeeze-and-Excitation for PyTorch: add it to a network, and measure what it gains and "
        "costs.",
        epilog="'senet COMMAND --help' lists the options of a command. 'senet compare' without arguments "
        "compares two small networks in minutes.",
    )
    parser.add_argument("--version", action="version", version=f"senet {__version__}")
    _add_debug(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        sub = commands.add_parser(command.NAME, help=command.SUMMARY, description=command.DESCRIPTION)
        command.add_arguments(sub)
        _add_debug(sub)
        sub.set_defaults(run=command.run)
    return parser


def _add_debug(parser: Parser) -> None:
    # `main` takes it out of the words wherever it stands: it serves where these cannot be parsed as well.
    parser.add_argument("--debug", action="store_true", help="print the traceback of an unexpected error")


def parse(words: Sequence[str]) -> Namespace:
    """Return the arguments of one command; ``senet`` and ``senet help COMMAND`` print help and exit.

    Raises:
        SenetError: a word is empty, or no command or option is called like that.
        SystemExit: help or the version was printed.
    """
    _check_words(words)
    names = [command.NAME for command in COMMANDS]
    if not words or words[0] == "help":
        words = [*words[1:2], "--help"]
    if not words[0].startswith("-") and words[0] not in names:
        raise SenetError(
            f"There is no command {words[0]!r}; choose {', '.join(names[:-1])} or "
            f"{names[-1]}.{nearest(words[0], names, most=1)}"
        )
    return build_parser().parse_args(words)


def _check_words(words: Sequence[str]) -> None:
    for number, word in enumerate(words, start=1):
        before = f" (after {words[number - 2]})" if number > 1 else ""
        if not word.strip() or re.fullmatch(r"--[\w-]+=\s*", word):
            raise SenetError(
                f"Argument {number}{before} is empty, perhaps because of an unset shell variable: give it "
                "a value or leave it out."
            )
        if "\0" in word:
            raise SenetError(f"Argument {number}{before} contains a NUL character: remove it.")
