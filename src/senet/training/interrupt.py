"""Ctrl-C, SIGTERM and SIGHUP, turned into a request that the loop answers between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, ClassVar, Self


class StopRequest:
    """While open, Ctrl-C, SIGTERM or a closed terminal (SIGHUP) only sets ``requested``.

    A second Ctrl-C is passed on to whoever answered it before, in Python by `KeyboardInterrupt`. A second
    SIGTERM is not: torchrun sends it to all processes when one of them has ended, and a checkpoint may be on
    its way.

    Stopping between two steps lets the loop save its state first. Outside the main thread Python
    allows no signal handlers, so nothing is caught there.
    """

    open: ClassVar[int] = 0
    """How many of them are open: whether something is under way that saves its state before it stops."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        StopRequest.open += 1
        if threading.current_thread() is threading.main_thread():
            for number in _answered():
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        StopRequest.open -= 1
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            before = self._previous.get(signal.SIGINT)
            if callable(before):
                before(number, frame)
            raise KeyboardInterrupt
        self.requested = True


def _answered() -> list[signal.Signals]:
    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none, and nohup has it ignored
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        numbers.append(hangup)
    return numbers
