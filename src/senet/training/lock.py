"""One run folder, one process."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from senet.errors import SenetError
from senet.files import make_folder


@contextmanager
def lock_folder(folder: Path, *, patience_seconds: float = 10.0, needed: bool = True) -> Iterator[None]:
    """Hold ``folder`` for this process while the context is open.

    Args:
        folder: made where it is missing.
        patience_seconds: how long to wait for another process.
        needed: whether this process uses the folder; of those that share a training, only the first does.

    The worker processes of a run that was killed hold its lock for a moment longer, hence the
    patience. Windows has no such locks; there nothing is held.

    Raises:
        SenetError: another process holds the folder, it cannot be written, or its file system knows no locks.
    """
    if not needed:
        yield
        return
    make_folder(folder)
    if sys.platform == "win32":
        yield
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context((folder / ".lock").open("w"))
            _lock(stream, folder, patience_seconds)
        except OSError as error:
            raise SenetError(
                f"The folder {folder} cannot be locked ({error.strerror}), so two runs could write to it "
                "at once: choose a writable folder on a file system with file locking, with --out."
            ) from error
        yield


def _lock(stream: TextIO, folder: Path, patience_seconds: float) -> None:
    import fcntl

    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise SenetError(
                    f"Another senet process is using {folder}: wait for it to end, or choose another "
                    "folder with --out."
                ) from error
            time.sleep(0.2)
