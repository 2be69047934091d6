"""The ``senet`` command: runs one command and says in one sentence what ended it.

Little is imported here, so that Ctrl-C is answered from the first moment and ``senet --help`` at once.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from senet.cli.stop import EXIT_INTERRUPTED, Stop, end_at_once
from senet.cli.streams import Streams
from senet.errors import SenetError, TrainingInterrupted
from senet.text import printable
from senet.training import parent  # noqa: F401 -- remembers which process started this one

__all__ = ["EXIT_BAD_INPUT", "EXIT_DEFECT", "EXIT_INTERRUPTED", "main"]

EXIT_BAD_INPUT = 2
EXIT_DEFECT = 70
# What these put out is in their files as well, so they go on where nobody can read it any more.
_WRITE_FILES = {"train", "compare", "bench", "insert"}
_SECONDS_FOR_THE_FIRST = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for bad input, 70 for a defect, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    told = bool(words) and words[0] in _WRITE_FILES
    if argv is None:
        warnings.formatwarning = _warning
    with Stop(ends=argv is None) as stop, Streams(_complain, told=told) as streams:
        try:
            _run(words)
        except SystemExit:  # help was printed
            if streams.lost():
                return EXIT_BAD_INPUT
            raise
        except BaseException as error:  # noqa: BLE001 -- the last net: whatever it is ends as one sentence
            code = _answer(error, words, stopped=stop.stopped, debug=debug)
            if stop.stopped and argv is None:
                streams.close()
                end_at_once()
            return code
        return EXIT_BAD_INPUT if streams.lost() else 0


def _run(words: list[str]) -> None:
    from senet.cli.commands import parse

    arguments = parse(words)
    arguments.command = _command(words)
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise SenetError("The working directory has been deleted: change to another one with cd.") from error
    try:
        arguments.run(arguments)
    except SystemExit as end:
        raise SenetError(
            f"Code outside senet called sys.exit({end.code!r}): if it is a module of yours, put its "
            "script code under if __name__ == '__main__'."
        ) from end


def _answer(error: BaseException, words: list[str], *, stopped: bool, debug: bool) -> int:
    """Say in one sentence what ended the command, and return the exit code."""
    if isinstance(error, TrainingInterrupted):
        _complain(f"{error} To resume: {_command(words)}")
        return EXIT_INTERRUPTED
    if isinstance(error, SenetError):
        _complain(str(error))
        return EXIT_BAD_INPUT
    # An interrupted import, for one, ends as an ImportError.
    if stopped or isinstance(error, KeyboardInterrupt):
        _complain(f"Stopped. Finished work is kept. To resume: {_command(words)}")
        return EXIT_INTERRUPTED
    from senet.cli.crash import describe, expected

    if debug:
        import traceback

        traceback.print_exception(error)
    sentence = expected(error)
    if sentence is not None:
        _complain(sentence)
        return EXIT_BAD_INPUT
    _complain(describe(error, _command(words)))
    return EXIT_DEFECT


_python_warning = warnings.formatwarning


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Return a warning of senet's as a sentence, without a line of code; any other as Python shows it."""
    if filename.startswith(str(Path(__file__).parents[1])):
        return f"senet: {printable(str(message))}\n"
    return _python_warning(message, category, filename, lineno, line)


def _command(words: list[str]) -> str:
    import shlex

    return shlex.join(["senet", *words])


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
