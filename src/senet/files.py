"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from senet.errors import SenetError


def previous_version(path: Path) -> Path:
    """Return where the version before the newest one of ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write_bytes(path: Path, content: bytes, *, keep_previous: bool = False) -> None:
    """Write ``content`` to ``path`` so that a crash at any moment leaves the old or the new file.

    Args:
        path: the file to write; its folder must exist.
        content: the whole new content.
        keep_previous: keep the old content beside it, under `previous_version`.

    Raises:
        SenetError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if keep_previous and path.exists():
            path.replace(previous_version(path))
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise SenetError(_explain(error, path)) from error


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary file to write what is too large for `write_bytes`; it becomes ``path`` at the end.

    Nothing is left behind where the block raises.

    Raises:
        SenetError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        yield temporary
        put_in_place(temporary, path)
    except OSError as error:
        raise SenetError(_explain(error, path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished file to ``path`` once its content has reached the disk."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text as `write_bytes` writes bytes."""
    write_bytes(path, content.encode())


def make_folder(path: Path) -> None:
    """Create ``path`` and its parents where missing.

    Raises:
        SenetError: the folder cannot be created, or a file stands in its place.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SenetError(
            f"The folder {path} cannot be created ({error.strerror}): name another with --out."
        ) from error


def _sync_folder(folder: Path) -> None:
    # Without this the rename itself may be lost in a power cut. Windows cannot open folders.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _explain(error: OSError, path: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: {path} could not be written. What was there before is untouched; "
            "free some space and run the same command again to go on."
        )
    return f"{path} could not be written ({error.strerror}): choose a folder you may write to."
