"""Ctrl-C and SIGTERM, turned into a request that the loop answers between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self


class StopRequest:
    """While open, Ctrl-C or SIGTERM only sets ``requested``; a second Ctrl-C stops at once.

    A second SIGTERM does not: torchrun sends it to all processes when one of them has ended, and a
    checkpoint may be on its way.

    Stopping between two steps lets the loop save its state first. Outside the main thread Python
    allows no signal handlers, so nothing is caught there.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
