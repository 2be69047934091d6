"""The ``senet`` command.

Imports no torch before a command needs it, so that ``senet --help`` answers at once.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Self

from senet import __version__
from senet.cli import bench, compare, evaluate, insert, models, recipes, train
from senet.cli.options import Parser
from senet.errors import SenetError, TrainingInterrupted
from senet.text import printable

COMMANDS = (compare, train, evaluate, recipes, insert, models, bench)
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
_SECONDS_FOR_THE_FIRST = 2.0


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="senet",
        description="Squeeze-and-Excitation for PyTorch: put it in, prove what it buys, pay nothing for it.",
        epilog="'senet COMMAND --help' tells more. 'senet compare' alone runs the main job in minutes.",
    )
    parser.add_argument("--version", action="version", version=f"senet {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        sub = commands.add_parser(command.NAME, help=command.SUMMARY, description=command.DESCRIPTION)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for bad input, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = shlex.join(["senet", *words])
    with _CtrlC() as ctrl_c:
        try:
            arguments = build_parser().parse_args(words)
            arguments.command = command
            arguments.run(arguments)
        except TrainingInterrupted as stop:
            _complain(f"{stop} To go on: {command}")
            return EXIT_INTERRUPTED
        except SenetError as error:
            _complain(str(error))
            return EXIT_BAD_INPUT
        except BrokenPipeError:
            # Whoever read the output, `head` for example, has seen enough.
            sys.stderr.close()
            return 0
        except BaseException:
            # An interrupted import, for one, ends as an ImportError.
            if not ctrl_c.pressed:
                raise
            _complain(f"Stopped. What was finished is kept. To go on: {command}")
            return EXIT_INTERRUPTED
    return 0


class _CtrlC:
    """Remembers that Ctrl-C was pressed, besides raising `KeyboardInterrupt` as usual."""

    def __init__(self) -> None:
        self.pressed = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._previous)

    def _press(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        raise KeyboardInterrupt


def _complain(text: str) -> None:
    number = os.environ.get("RANK", "0")
    if number == "0":
        print(f"senet: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201
        return
    # What all processes of torchrun complain of, the first one says; torchrun then ends the others. What only
    # this one complains of must be said here.
    time.sleep(_SECONDS_FOR_THE_FIRST)
    print(f"senet, process {number}: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
