"""The user's cache folder: what was downloaded, and what took long to find out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from senet.errors import SenetError

VARIABLE = "SENET_CACHE"


def cache_folder(kind: str) -> Path:
    """Return the folder for one kind of files, below ``$SENET_CACHE`` or ``~/.cache/senet``, made if missing.

    Raises:
        SenetError: it cannot be made.
    """
    given = os.environ.get(VARIABLE)
    folder = (Path(given) if given else Path.home() / ".cache" / "senet") / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SenetError(
            f"The cache folder {folder} cannot be made ({error.strerror}): set {VARIABLE} to a folder "
            "you may write to."
        ) from error
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time do what concerns the file ``path``; others wait.

    The lock is ``.<name>.lock`` beside it, and ends with the process that holds it, however that ends.
    Windows has no such locks; there nothing is held.

    Raises:
        SenetError: the folder cannot be written to.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    lock = path.with_name(f".{path.name}.lock")
    try:
        stream = lock.open("w")
    except OSError as error:
        raise SenetError(
            f"The cache folder {path.parent} cannot be written to ({error.strerror}): set {VARIABLE} to a "
            "folder you may write to."
        ) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
