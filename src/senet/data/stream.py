"""Parquet shards elsewhere, each fetched when its first image is needed.

Labels are read beforehand, by asking for parts of the files; the images of a shard then come at once
and are kept as an Arrow file, from which every process reads them in any order.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from senet.data.cache import cache_folder, kept_table
from senet.data.decode import UnreadableImage
from senet.data.grouped_order import WINDOW_GROUPS
from senet.data.labels import StoredLabels, from_column
from senet.data.parts import SplitFiles, files_named, make_parts
from senet.data.replaced import ReplacedImages
from senet.data.shard_cache import ShardCache
from senet.data.source import EncodedSource, ImageData, Indices
from senet.data.tables import (
    agreeing,
    class_names,
    columns_of,
    contents_and_paths,
    features_of,
    joined,
    require_one_part,
    short,
)
from senet.errors import SenetError
from senet.text import counted

# Changes whenever what is kept would come out differently.
VERSION = 3
AT_A_TIME = 16
PAUSES = (1.0, 10.0)
# Shards a process keeps open: those that are mixed, and as many of the test images.
MOST_OPEN = 2 * WINDOW_GROUPS
GIGABYTE = 1_000_000_000

Result = TypeVar("Result")
# Returns an fsspec file system; each process calls it for its own.
OpenFiles = Callable[[], Any]


@dataclass(frozen=True)
class RemoteShard:
    """One parquet file that lies elsewhere.

    Attributes:
        file: its name for people.
        path: in the file system.
        key: a hash of path and version.
        rows: images in it.
        size: bytes of the images.
    """

    file: str
    path: str
    key: str
    rows: int
    size: int


class StreamedSource(EncodedSource):
    """Picture files in shards that are fetched as they are needed; each shard is one of its ``groups``."""

    def __init__(
        self,
        shards: Sequence[RemoteShard],
        labels: Indices,
        classes: Sequence[str],
        open_files: OpenFiles,
        cache: ShardCache,
    ) -> None:
        self.labels = labels
        self.classes = tuple(classes)
        rows = [shard.rows for shard in shards]
        self.groups = np.repeat(np.arange(len(shards), dtype=np.int64), rows)
        self._starts = np.concatenate([[0], np.cumsum(rows)])
        self._shards = tuple(shards)
        self.version = " ".join(shard.key for shard in shards)
        self._open_files = open_files
        self._cache = cache
        self._opened: dict[int, tuple[Any, Any]] = {}

    def content(self, index: int) -> memoryview:
        """Return the bytes of one picture, fetching its shard first where it is not there.

        Raises:
            UnreadableImage: the image has no bytes.
            SenetError: the shard cannot be fetched.
        """
        assert self.groups is not None
        shard = int(self.groups[index])
        row = index - int(self._starts[shard])
        for _ in range(2):
            contents, sums = self._opened.get(shard) or self._open(shard)
            buffer = contents[row].as_buffer()
            if buffer is None:
                raise UnreadableImage(self.name(index), "its bytes are missing from the file")
            if zlib.crc32(buffer) == sums[row].as_py():
                return memoryview(buffer)
            self._cache.remove(self._shards[shard].key)
            del self._opened[shard]
        raise SenetError(
            f"{self.name(index)} in {self._cache.folder} is damaged even after downloading it again: "
            "check the disk, or set SENET_CACHE to a folder on another one."
        )

    def _open(self, number: int) -> tuple[Any, Any]:
        shard = self._shards[number]
        table = self._cache.open(shard.key, shard.size, partial(_fetch, self._open_files, shard))
        contents, _ = contents_and_paths(table.column(0), shard.file)
        while len(self._opened) >= MOST_OPEN:
            del self._opened[next(iter(self._opened))]
        self._opened[number] = contents, table.column(1)
        return self._opened[number]

    def name(self, index: int) -> str:
        """Return "train-00000.parquet row 7"."""
        assert self.groups is not None
        shard = int(self.groups[index])
        return f"{self._shards[shard].file} row {index - int(self._starts[shard])}"

    def names(self, indices: Indices) -> list[str]:
        """Return the names of many images at once."""
        assert self.groups is not None
        shards = self.groups[indices]
        rows = (indices - self._starts[shards]).tolist()
        return [
            f"{self._shards[shard].file} row {row}" for shard, row in zip(shards.tolist(), rows, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Leave open shards behind: whoever unpickles the source opens its own."""
        return {**self.__dict__, "_opened": {}}


@dataclass(frozen=True)
class _StreamedPart:
    shards: Sequence[RemoteShard]
    stored: StoredLabels
    open_files: OpenFiles
    cache: ShardCache

    def source(self, labels: Indices, classes: tuple[str, ...]) -> StreamedSource:
        return StreamedSource(self.shards, labels, classes, self.open_files, self.cache)


def open_stream(
    open_files: OpenFiles,
    root: str,
    files: SplitFiles,
    *,
    cache_gb: float | None,
    test_fraction: float,
    seed: int,
) -> ImageData:
    """Read the labels of parquet files elsewhere, and return images that are fetched shard by shard.

    Args:
        open_files: returns an fsspec file system; must be picklable.
        root: folder in the file system.
        files: of each part, relative to ``root``.
        cache_gb: gigabytes of shards to keep on the disk; ``None`` takes what is free there but for 1 GB.
        test_fraction: of each class, where there is no test part.
        seed: of that split.

    Raises:
        SenetError: a file cannot be read, ``cache_gb`` is too small for the shards that are mixed, or as
            `make_parts`.
    """
    limit = None if cache_gb is None else int(cache_gb * GIGABYTE)
    cache = ShardCache(cache_folder("stream"), limit)

    file_system = open_files()

    def read(names: tuple[str, ...]) -> _StreamedPart:
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            described = list(pool.map(partial(_describe, file_system, root), names))
        shards = [shard for shard, _, _, _ in described]
        _require_room(shards, cache_gb)
        labels = [column for _, column, _, _ in described]
        agreed = agreeing(names, [given for _, _, given, _ in described], labels, "parquet")
        where = files_named(names)
        values = from_column(joined(labels), where)
        stored = StoredLabels(
            values=values,
            class_names=agreed,
            where=where,
            note="".join(dict.fromkeys(note for _, _, _, note in described)),
        )
        return _StreamedPart(shards, stored, open_files, cache)

    return make_parts(Path(root), files, read, test_fraction=test_fraction, seed=seed, wrap=ReplacedImages)


def _require_room(shards: Sequence[RemoteShard], cache_gb: float | None) -> None:
    needed = (WINDOW_GROUPS + 1) * max(shard.size for shard in shards) / GIGABYTE
    if cache_gb is not None and cache_gb < needed:
        raise SenetError(
            f"cache_gb must be at least {needed:.3g}, not {cache_gb:g}: the images of {WINDOW_GROUPS} "
            "shards are shuffled together while the next shard is downloaded."
        )


def _describe(file_system: Any, root: str, file: str) -> tuple[RemoteShard, Any, tuple[str, ...] | None, str]:
    """Return a shard, its label column, its class names and a note on its columns."""
    path = f"{root}/{file}"
    version = _patiently(path, lambda: file_system.ukey(path))
    key = hashlib.blake2b(f"{VERSION}\0{path}\0{version}".encode(), digest_size=16).hexdigest()
    table = kept_table("labels", key, lambda: _patiently(path, lambda: _read_labels(file_system, path, file)))
    size = int(table.schema.metadata[b"image bytes"])
    shard = RemoteShard(file=file, path=path, key=key, rows=table.num_rows, size=size)
    feature = features_of(table.schema, file).get(table.schema.names[0])
    names = class_names(feature, f"The column metadata in {file}")
    return shard, table.column(0), names, table.schema.metadata[b"note"].decode()


def _read_labels(file_system: Any, path: str, file: str) -> Any:
    """Return the label column as a table, with the bytes that the images take in its metadata."""
    # Without a cache exactly the parts that are needed are asked for.
    with file_system.open(path, "rb", cache_type="none") as stream:
        parquet = pq.ParquetFile(stream)
        columns = columns_of(parquet.schema_arrow, file)
        contents_and_paths(parquet.schema_arrow.empty_table()[columns.image], file)
        telling = [columns.label] if columns.split is None else [columns.label, columns.split]
        table = parquet.read(columns=telling)
        require_one_part(table, columns, file)
        table = table.select([columns.label])
        size = sum(size for _, size in _image_chunks(parquet.metadata, columns.image))
    kept = {"image bytes": str(size), "note": columns.note}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **kept})


def _image_chunks(metadata: Any, image_column: str) -> list[tuple[str, int]]:
    """Return name and uncompressed bytes of the columns that hold picture files, over all row groups."""
    found = []
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            if chunk.path_in_schema in (image_column, f"{image_column}.bytes"):
                found.append((chunk.path_in_schema, chunk.total_uncompressed_size))
    return found


def _fetch(open_files: OpenFiles, shard: RemoteShard, target: BinaryIO) -> None:
    """Write the images of a shard and their checksums to an Arrow file, one row group after the other."""
    file_system = open_files()

    def open_parquet(metadata: Any = None) -> Any:
        stream = file_system.open(shard.path, "rb", cache_type="none")
        return pq.ParquetFile(stream, metadata=metadata)

    first = _patiently(shard.path, open_parquet)
    image_column = columns_of(first.schema_arrow, shard.file).image
    chunks = _image_chunks(first.metadata, image_column)
    leaf = chunks[0][0] if chunks else image_column

    def row_group(number: int) -> Any:
        with open_parquet(first.metadata) as parquet:
            return parquet.read_row_group(number, columns=[leaf])

    if first.metadata.num_rows != shard.rows:
        raise SenetError(
            f"{shard.path} now has {counted(first.metadata.num_rows, 'row')} but had {shard.rows:,} when "
            "its labels were read: the file changed, so run the command again."
        )
    writer = None
    for number in range(first.metadata.num_row_groups):
        table = _patiently(shard.path, partial(row_group, number))
        contents, _ = contents_and_paths(table.column(0), shard.file)
        buffers = (content.as_buffer() for content in contents)
        sums = [0 if buffer is None else zlib.crc32(buffer) for buffer in buffers]
        table = table.append_column("crc32", pa.array(sums, pa.uint32()))
        if writer is None:
            writer = pa.ipc.new_file(target, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    first.close()


def _patiently(path: str, ask: Callable[[], Result]) -> Result:
    """Ask again after a pause where it fails.

    Raises:
        SenetError: the file is not there, or asking fails again and again.
    """
    for pause in (*PAUSES, None):
        try:
            return ask()
        except (SenetError, NameError, TypeError, AttributeError, AssertionError):
            raise  # told already, or a defect of senet, which no patience mends
        except Exception as error:
            # Errors of the network belong to the HTTP client, which differs by version.
            lasting = isinstance(error, FileNotFoundError | PermissionError | pa.ArrowInvalid)
            if pause is None or lasting:
                raise SenetError(
                    f"{path} could not be read ({short(error)}): check the network and run the same "
                    "command again to resume."
                ) from error
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")
