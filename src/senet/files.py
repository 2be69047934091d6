"""Files written whole or not at all, and files that only grow."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import BinaryIO

from senet.errors import SenetError


def user_path(path: str | PurePath) -> Path:
    """Return a path that a user typed, with the home folder in the place of ``~``.

    Raises:
        SenetError: ``~`` names a user that does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise SenetError(
            f"{path} names the home folder of a user who does not exist on this machine: check the path."
        ) from error


def require_writable(path: Path) -> None:
    """Look, before work is spent on its content, whether the file ``path`` can be written.

    Raises:
        SenetError: a folder has that name, or its own folder is missing or must not be written to.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise SenetError(f"{path} cannot be written: choose a file in an existing folder.")
    _require_permission(path.parent, path)


def require_folder(path: Path) -> None:
    """Look, before work is spent on its content, whether the folder ``path`` is there or can be made.

    Raises:
        SenetError: a file stands in its place, or it or the folder it would be in must not be written to.
    """
    try:
        present = next(each for each in (path, *path.absolute().parents) if each.exists())
    except OSError as error:
        raise SenetError(_not_created(path, error)) from error
    if not present.is_dir():
        raise SenetError(f"{present} is a file: choose a folder with --out.")
    _require_permission(present, path)


def _require_permission(folder: Path, path: Path) -> None:
    as_now = os.access in os.supports_effective_ids
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=as_now):
        raise SenetError(f"{path} cannot be written (no permission): choose a folder you can write to.")


def previous_version(path: Path) -> Path:
    """Return where the version before the newest one of ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


@contextlib.contextmanager
def written_whole(path: Path, *, keep_previous: bool = False) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` when the context ends without an error.

    A crash at any moment leaves the old or the new file.

    Args:
        path: the file to write; its folder must exist.
        keep_previous: keep the old content beside it, under `previous_version`.

    Raises:
        SenetError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if keep_previous and path.exists():
            path.replace(previous_version(path))
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise SenetError(_explain(error, path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content``, the whole new file, as `written_whole` does."""
    with written_whole(path) as stream:
        stream.write(content)


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished file to ``path`` once its content has reached the disk.

    Raises:
        SenetError: the disk is full or the folder cannot be written; both files are as they were.
    """
    try:
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise SenetError(_explain(error, path)) from error


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text as `write_bytes` writes bytes; `encoded` says what of names that are not UTF-8."""
    write_bytes(path, encoded(content))


def encoded(content: str) -> bytes:
    r"""Return UTF-8; what of a name is not UTF-8 becomes an escape such as ``\udcff``, valid in JSON."""
    return content.encode("utf-8", "backslashreplace")


def write_once(path: Path, content: str) -> bool:
    """Write UTF-8 text to ``path`` unless there is such a file, and tell whether it was written.

    Of several processes that do so at once, on one machine or on several that share a file system,
    exactly one writes, and none ever sees half a file.

    Raises:
        SenetError: the disk is full or the folder cannot be written.
    """
    own = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}")
    try:
        with own.open("wb") as stream:
            stream.write(encoded(content))
            stream.flush()
            os.fsync(stream.fileno())
        return _link(own, path)
    except OSError as error:
        raise SenetError(_explain(error, path)) from error
    finally:
        with contextlib.suppress(OSError):  # missing, or on a file system that became read-only
            own.unlink()


def make_folder(path: Path) -> None:
    """Create ``path`` and its parents where missing.

    Raises:
        SenetError: the folder cannot be created, or a file stands in its place.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SenetError(_not_created(path, error)) from error


def _not_created(path: Path, error: OSError) -> str:
    return f"The folder {path} cannot be created ({error.strerror}): choose another with --out."


def _link(source: Path, path: Path) -> bool:
    """Give ``source`` the name ``path`` unless it is taken, and tell whether it was free."""
    try:
        path.hardlink_to(source)
    except FileExistsError:
        return False
    except OSError:  # some file systems, FAT for one, know no second name for a file
        if path.exists():
            return False
        source.replace(path)
    _sync_folder(path.parent)
    return True


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
            f"The disk is full: {path} could not be written. What was there before is unchanged; free "
            "some space and run the same command again to resume."
        )
    return f"{path} could not be written ({error.strerror}): choose a folder you can write to."


class AppendedFile:
    """A file that only grows, as a log does; after a crash it is cut back to a size known to be good."""

    def __init__(self, path: Path, size: int) -> None:
        """Open ``path`` and cut off what stands behind its first ``size`` bytes.

        Raises:
            SenetError: the file cannot be opened for writing.
        """
        self._path = path
        try:
            # Unbuffered, so that nothing is left to be written, and to fail, when the file is closed.
            self._stream = path.open("r+b", buffering=0)
            self._stream.truncate(size)
            self._stream.seek(size)
        except OSError as error:
            raise SenetError(_explain(error, path)) from error

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._stream.tell()

    def append(self, text: str) -> None:
        """Write ``text`` at the end.

        Raises:
            SenetError: the disk is full.
        """
        rest = text.encode()
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            raise SenetError(_explain(error, self._path)) from error

    def sync(self) -> None:
        """Wait until everything is on the disk, so that a power cut cannot take it away.

        Raises:
            SenetError: the disk is full.
        """
        try:
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise SenetError(_explain(error, self._path)) from error

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
