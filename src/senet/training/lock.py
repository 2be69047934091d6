"""One run folder, one process."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        SenetError: another process holds the folder.
    """
    if not needed:
        yield
        return
    make_folder(folder)
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with (folder / ".lock").open("w") as stream:
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise SenetError(
                        f"Another senet is working in {folder}: wait for it, or name another with --out."
                    ) from error
                time.sleep(0.2)
        yield
