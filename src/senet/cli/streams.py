"""Standard output and standard error that may be closed, full, or of an encoding with few characters."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, Self

# What senet writes beyond ASCII.
_SIMPLER = {
    "×": "x", "–": "-", "—": "-", "−": "-", "…": "...", "→": "->", "·": "*", "±": "+/-", "²": "2",
    "█": "#", "▉": "#", "▊": "#", "▋": "#", "▌": "#", "▍": "-", "▎": "-", "▏": "-", "━": "-",
}  # fmt: skip
_HANDLER = "senet.simpler"


class Streams:
    """While open, output that cannot be written is dropped, and nothing ends because of it.

    Args:
        complain: says a sentence on standard error.
        told: say at once that standard output is lost, and go on; otherwise `lost` says it.
    """

    def __init__(self, complain: Callable[[str], None], *, told: bool) -> None:
        self._complain, self._told = complain, told
        self._before = (sys.stdout, sys.stderr)
        self._out: _Guarded | None = None

    def __enter__(self) -> Self:
        _open_closed()
        codecs.register_error(_HANDLER, _simpler)
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:
                continue
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors=_HANDLER)
            setattr(sys, name, _Guarded(stream, self._say if name == "stdout" and self._told else None))
        self._out = sys.stdout if isinstance(sys.stdout, _Guarded) else None
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        sys.stdout, sys.stderr = self._before

    def close(self) -> None:
        """Send on what was written."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Guarded):
                stream.flush()

    def lost(self) -> bool:
        """Say that standard output was lost, where that is news, and return whether it is."""
        if self._out is None:
            return False
        self._out.flush()
        error = self._out.error
        # Whoever closed a pipe, `head` for example, has seen enough.
        if error is None or self._told or isinstance(error, BrokenPipeError):
            return False
        self._complain(f"Standard output cannot be written ({_reason(error)}): redirect it elsewhere.")
        return True

    def _say(self, error: Exception) -> None:
        self._complain(
            f"Standard output can no longer be written ({_reason(error)}); continuing without it, results "
            "are still written to files."
        )


class _Guarded:
    """A stream that drops what it cannot write."""

    def __init__(self, stream: Any, say: Callable[[Exception], None] | None) -> None:
        self._stream, self._say = stream, say
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        """Write, or drop; return how many characters that were."""
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Send on what was written."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        if self.error is not None:
            return
        self.error = error
        # What still is in the buffers must go somewhere, or Python complains of it when it ends.
        with contextlib.suppress(OSError, ValueError):
            number = self._stream.fileno()
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, number)
            os.close(nothing)
        if self._say is not None:
            self._say(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _open_closed() -> None:
    """Open what stands for a closed standard stream, or the next file would get its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _simpler(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    shown = (_SIMPLER.get(each) or each.encode("ascii", "backslashreplace").decode("ascii") for each in text)
    return "".join(shown), error.end


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
