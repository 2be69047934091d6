"""What is said of an error that nobody expected, and the file that tells the rest."""

from __future__ import annotations

import errno
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from senet import __version__
from senet.errors import SenetError
from senet.files import write_text

_PACKAGES = ("torch", "numpy", "pillow", "pyarrow", "numba", "rich", "safetensors", "torchvision", "timm")
_LONGEST = 200
_LIMITS = {
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n 4096) or use fewer --workers.",
    errno.EAGAIN: "No further process could be started: use fewer --workers.",
    errno.ENOMEM: "Out of memory: use fewer --workers or a smaller --batch-size.",
}
_OF_A_PATH = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR,
    errno.ENOENT, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.ENXIO, errno.ENODEV,
}  # fmt: skip
_LIMITS[errno.ENFILE] = _LIMITS[errno.EMFILE]


def expected(error: BaseException) -> str | None:
    """Return the sentence on what the machine or the user's files are to blame for, or ``None``."""
    if _out_of_memory(error):
        return "Out of memory: use a smaller --batch-size, --image-size or network, or fewer --workers."
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return "This user has no home directory: set HOME to a writable folder."
    if not isinstance(error, OSError):
        return None
    if error.errno in _LIMITS:
        return _LIMITS[error.errno]
    if error.errno in _OF_A_PATH and error.filename is not None:
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes | str) else error.filename
        shown = f"{str(name)[:_LONGEST]}…" if len(str(name)) > _LONGEST else name
        return f"{shown} cannot be used ({error.strerror}): choose another, or change its permissions."
    return None


def describe(error: BaseException, command: str) -> str:
    """Write the report of an unexpected error, and return the sentence that names it."""
    what = "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
    what = what if len(what) <= _LONGEST else f"{what[:_LONGEST]}…"
    start = f"Unexpected error ({what}): "
    path = write_report(error, command)
    if path is None:
        traceback.print_exception(error)
        return f"{start}the report could not be written, so its traceback is above; please report it."
    return f"{start}please report it with {path}, which contains the traceback (--debug prints it)."


def write_report(error: BaseException, command: str) -> Path | None:
    """Write traceback, versions and command to a file here or among temporary files, and return its path.

    ``None`` where neither can be written.
    """
    name = f"senet-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    text = "\n".join(
        [
            f"command: {command}",
            f"time: {time.strftime('%Y-%m-%d %H:%M:%S %z')}",
            *_versions(),
            "",
            "".join(traceback.format_exception(error)),
        ]
    )
    # Names may hold bytes that are not UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    for folder in _folders():
        try:
            write_text(folder / name, text)
        except SenetError:
            continue
        return folder / name
    return None


def _folders() -> Iterator[Path]:
    for find in (Path.cwd, lambda: Path(tempfile.gettempdir())):
        try:
            yield find()
        except OSError:  # the folder has been deleted, or there is none for temporary files
            continue


def _versions() -> Iterator[str]:
    yield f"senet: {__version__}"
    yield f"python: {platform.python_version()}, {platform.platform()}"
    for package in _PACKAGES:
        try:
            yield f"{package}: {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue


def _out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from senet.training.failures import is_out_of_memory

    return is_out_of_memory(error)
