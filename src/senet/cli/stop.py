"""Ctrl-C, SIGTERM and a closed terminal, as the whole program answers them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn, Self

EXIT_INTERRUPTED = 130
_AT_ONCE = b"\nsenet: Ended at once. What was saved before is kept.\n"
_SHOW_CURSOR = b"\x1b[?25h"


class Stop:
    """The first signal raises `KeyboardInterrupt`, the second Ctrl-C ends the program at once.

    While a network trains, `senet.training.interrupt.StopRequest` answers the first signal and passes a
    second Ctrl-C on to this.

    Args:
        ends: whether the program ends after this; then Ctrl-C ends it at once from there on.
    """

    def __init__(self, *, ends: bool) -> None:
        self.stopped = False
        self._ends, self._process = ends, os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _answered():
                self._before[number] = signal.signal(number, self._answer)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ends:
            self.stopped = True
            return
        for number, before in self._before.items():
            signal.signal(number, before)

    def _answer(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a fork of it has nothing to finish
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        passed_on = signal.getsignal(number) != self._answer
        if number == signal.SIGINT and (self.stopped or passed_on):
            _write(2, _AT_ONCE)
            end_at_once()
        if not self.stopped:
            self.stopped = True
            raise KeyboardInterrupt


def end_at_once() -> NoReturn:
    """End the program with exit code 130, without waiting for threads that still load or fetch something."""
    if "multiprocessing" in sys.modules:
        import multiprocessing

        for process in multiprocessing.active_children():
            process.kill()
    if os.isatty(1):
        _write(1, _SHOW_CURSOR)
    os._exit(EXIT_INTERRUPTED)


def _write(stream: int, text: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads it
        os.write(stream, text)


def _answered() -> list[int]:
    """Return the signals to answer."""
    numbers = [int(signal.SIGINT)]
    if "RANK" not in os.environ:  # torchrun ends its processes by SIGTERM, and says why
        numbers.append(signal.SIGTERM)
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # as nohup asks for
        numbers.append(hangup)
    return numbers
