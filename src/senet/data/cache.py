"""The user's cache folder: what was downloaded, and what took long to find out."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from senet.errors import SenetError
from senet.files import write_bytes, write_text

VARIABLE = "SENET_CACHE"
DIGEST_BYTES = 16


def cache_folder(kind: str) -> Path:
    """Return the folder for one kind of files, below ``$SENET_CACHE`` or ``~/.cache/senet``, made if missing.

    Raises:
        SenetError: it cannot be made.
    """
    given = os.environ.get(VARIABLE)
    try:
        folder = (Path(given) if given else Path.home() / ".cache" / "senet") / kind
    except RuntimeError as error:
        raise SenetError(
            f"This user has no home directory to keep the cache in: set HOME or {VARIABLE}."
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SenetError(
            f"The cache folder {folder} cannot be created ({error.strerror}): set {VARIABLE} to a folder "
            "you can write to."
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
            f"The cache folder {path.parent} is not writable ({error.strerror}): set {VARIABLE} to a "
            "folder you can write to."
        ) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def note_content(path: Path, digest: str | None = None) -> None:
    """Note beside a file what it holds, and by what a change to it shows at a glance.

    Args:
        path: the file.
        digest: of its content, where it is known.
    """
    # A cache that others filled may be read-only.
    with suppress(SenetError):
        write_text(_note_file(path), f"{_glance(path)} {digest or _file_digest(path)}")


def is_unchanged(path: Path) -> bool:
    """Tell at a glance whether a file is there and was not written to since `note_content`."""
    return path.exists() and _noted(path)[0] == _glance(path)


def is_intact(path: Path, check: Callable[[Path], None]) -> bool:
    """Tell whether a file that was written to, moved or never noted still holds what was noted.

    Args:
        path: the file.
        check: raises `SenetError` for a damaged file, of which nothing was noted.
    """
    _, known = _noted(path)
    digest = _file_digest(path)
    if not known:
        try:
            check(path)
        except SenetError:
            return False
    elif digest != known:
        return False
    note_content(path, digest)
    return True


def _note_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.digest")


def _noted(path: Path) -> tuple[str, str]:
    try:
        glance, _, digest = _note_file(path).read_text().rpartition(" ")
    except (OSError, UnicodeDecodeError):
        return "", ""
    return glance, digest


def _glance(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


def kept_table(kind: str, key: str, make: Callable[[], Any]) -> Any:
    """Return the pyarrow table that ``make`` returns, from the cache folder where it was made before.

    Several processes that want it wait for the one that makes it. A cache folder that cannot be written
    to is done without.

    Args:
        kind: folder in the cache.
        key: of the table; two different contents never share one.
        make: returns the table.
    """
    path = None
    with ExitStack() as stack:
        with suppress(SenetError):
            path = cache_folder(kind) / f"{key}.table"
            stack.enter_context(locked(path))
        if path is not None:
            # A table that can no longer be read, or was changed, is made again.
            with suppress(OSError):
                content = path.read_bytes()
                if content[:DIGEST_BYTES] == _digest(content[DIGEST_BYTES:]):
                    return pa.ipc.open_file(pa.BufferReader(content[DIGEST_BYTES:])).read_all()
        table = make()
        if path is not None:
            with suppress(SenetError):
                content = _to_bytes(table)
                write_bytes(path, _digest(content) + content)
    return table


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def _to_bytes(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
