"""Ends a process soon after the one that started it, such as torchrun, has died.

Imports nothing heavy: the parent is the one there was when this was first imported.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from senet.training.interrupt import StopRequest

PARENT = os.getppid()
EXIT_ORPHANED = 130
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_SAVE = 60.0
_ORPHANED = b"senet: The process that started this one has died: run the same command again to resume.\n"


@contextmanager
def ends_with_parent() -> Iterator[None]:
    """While open, end this process when its parent has died, wherever it is waiting.

    A training has `SECONDS_TO_SAVE` to notice by itself and save; anything else ends at once.
    """
    over = threading.Event()
    threading.Thread(target=_watch, args=(over,), name="parent", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(over: threading.Event) -> None:
    while not over.wait(SECONDS_BETWEEN_LOOKS):
        if os.getppid() == PARENT:
            continue
        if StopRequest.open and over.wait(SECONDS_TO_SAVE):
            return
        with suppress(OSError):  # nobody may read it any more
            os.write(2, _ORPHANED)
        os._exit(EXIT_ORPHANED)
