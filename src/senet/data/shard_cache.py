"""Shards kept on the disk for all processes, within a limit."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from senet.data.cache import locked
from senet.data.ipc import mapped_table
from senet.errors import SenetError
from senet.files import written_whole

# Bytes that are left free on the disk.
RESERVE = 1_000_000_000
SUFFIX = ".arrow"


@dataclass(frozen=True)
class ShardCache:
    """A folder of shards; the least recently opened ones make room for new ones.

    A shard that is removed stays readable for the processes that have it open, and takes space until
    they close it. While several processes fetch a shard each, the limit may be exceeded by those.

    Attributes:
        folder: holds nothing else.
        limit: bytes; ``None`` takes what the disk has free but for `RESERVE`.
    """

    folder: Path
    limit: int | None

    def open(self, name: str, size: int, make: Callable[[BinaryIO], None]) -> Any:
        """Return a shard's pyarrow table, mapped from disk.

        Args:
            name: of the shard; two different contents never share one.
            size: bytes to make room for.
            make: writes the shard as an Arrow IPC file where it is not there yet; one process at a time does.

        Raises:
            SenetError: the disk is full, the shard is damaged as soon as it is written, or as ``make``.
        """
        path = self.folder / f"{name}{SUFFIX}"
        made = False
        while True:
            try:
                table, _ = mapped_table(path, lambda schema: schema.names)
                os.utime(path)
            except (SenetError, FileNotFoundError):
                # Another process may remove the file at any moment before it is open; a damaged one is
                # made again, once.
                if made and path.exists():
                    raise
            else:
                return table
            with locked(path):
                self._remove_damaged(path)
                if not path.exists():
                    self._make_room(size)
                    with written_whole(path) as stream:
                        make(stream)
                    made = True

    def remove(self, name: str) -> None:
        """Remove a shard that proved damaged, so that it is made again."""
        (self.folder / f"{name}{SUFFIX}").unlink(missing_ok=True)

    @staticmethod
    def _remove_damaged(path: Path) -> None:
        # Looked at again under the lock: what is there now may be another process's new one.
        try:
            mapped_table(path, lambda schema: schema.names)
        except SenetError:
            path.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        with locked(self.folder / "room"):
            found = []
            for path in self.folder.glob(f"*{SUFFIX}"):
                with contextlib.suppress(FileNotFoundError):
                    found.append((path.stat(), path))
            lacking = size + RESERVE - shutil.disk_usage(self.folder).free
            if self.limit is not None:
                lacking = max(lacking, size + sum(status.st_size for status, _ in found) - self.limit)
            for status, path in sorted(found, key=lambda each: each[0].st_mtime_ns):
                if lacking <= 0:
                    break
                path.unlink(missing_ok=True)
                lacking -= status.st_size
