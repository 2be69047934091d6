"""Parquet files in the Hugging Face image layout: a struct of bytes and path, and a label."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from senet.data.decode import UnreadableImage
from senet.data.source import EncodedSource, ImageData, Indices, Subset, require_labels_in_range
from senet.data.split import (
    TEST_NAMES,
    TRAIN_NAMES,
    listed,
    require_every_class,
    require_two_classes,
    stratified_split,
    without_test_images,
)
from senet.errors import SenetError

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")


class ParquetSource(EncodedSource):
    """Picture files held in memory as Arrow buffers, which forked workers share.

    Args:
        contents: N binary values (a pyarrow ChunkedArray).
        paths: N file names, ``None`` where not known.
        places: per file, its name and number of rows, in the order of ``contents``.
        labels: (N,) int64.
        classes: names.
    """

    def __init__(
        self,
        contents: Any,
        paths: Any,
        places: Sequence[tuple[str, int]],
        labels: Indices,
        classes: Sequence[str],
    ) -> None:
        self.labels = labels
        self.classes = tuple(classes)
        self._contents = contents
        self._paths = paths
        self._files = [file for file, _ in places]
        self._ends = np.cumsum([rows for _, rows in places])

    def content(self, index: int) -> memoryview:
        """Return the bytes of one picture, without copying them."""
        buffer = self._contents[index].as_buffer()
        if buffer is None:
            raise UnreadableImage(self.name(index), "its bytes are missing from the parquet file")
        return memoryview(buffer)

    def name(self, index: int) -> str:
        """Return "train-00000.parquet row 7 (cat.jpg)"."""
        file = int(np.searchsorted(self._ends, index, side="right"))
        row = index - (int(self._ends[file - 1]) if file else 0)
        path = self._paths[index].as_py()
        return f"{self._files[file]} row {row}" + (f" ({path})" if path else "")


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """Which parquet files hold which part; ``test`` is empty where the training part must be split."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Table:
    contents: Any
    paths: Any
    places: list[tuple[str, int]]
    labels: Any
    class_names: tuple[str, ...] | None
    where: str


def split_files(files: Sequence[str]) -> SplitFiles:
    """Sort parquet files into parts by their names, as in ``data/train-00000-of-00002.parquet``.

    The file's own first word counts, then the folders from the nearest up. A validation part is
    preferred over a test part. Files without any such word are one whole.

    Raises:
        SenetError: there is a test part without a training part.
    """
    roles = {file: _role(file) for file in sorted(files)}
    if not any(roles.values()):
        return SplitFiles(train=tuple(roles), test=(), others=())
    train = tuple(file for file, role in roles.items() if role in TRAIN_NAMES)
    if not train:
        raise SenetError(
            f"None of the parquet files {listed(list(roles))} is a training part: name it train-….parquet."
        )
    test_role = next((role for role in TEST_NAMES if role in roles.values()), None)
    test = tuple(file for file, role in roles.items() if test_role is not None and role == test_role)
    return SplitFiles(train=train, test=test, others=tuple(f for f in roles if f not in train + test))


def open_parquet_folder(root: Path, *, test_fraction: float, seed: int) -> ImageData:
    """Open a folder of parquet files at any depth.

    Raises:
        SenetError: as `open_parquet_files`.
    """
    found = [path.relative_to(root) for path in root.rglob("*.parquet")]
    visible = [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]
    return open_parquet_files(root, split_files(visible), test_fraction=test_fraction, seed=seed)


def open_parquet_files(root: Path, files: SplitFiles, *, test_fraction: float, seed: int) -> ImageData:
    """Read parquet files (paths relative to ``root``) into memory.

    Raises:
        SenetError: damaged files, columns that are not there, labels outside the classes, classes
            without training images, or files larger than the memory that is free.
    """
    _require_memory(root, files.train + files.test)
    table = _read(root, files.train)
    classes, labels = _training_labels(table)
    train = ParquetSource(table.contents, table.paths, table.places, labels, classes)
    if not files.test:
        chosen, rest, sentence = stratified_split(labels, classes, test_fraction=test_fraction, seed=seed)
        parts: tuple[ParquetSource | Subset, ...] = (Subset(train, chosen), Subset(train, rest))
    else:
        table = _read(root, files.test)
        test_labels = _test_labels(table, classes)
        parts = (train, ParquetSource(table.contents, table.paths, table.places, test_labels, classes))
        sentence = (
            f"The parts as given: {len(parts[0]):,} training images from {_part(files.train)} and "
            f"{len(parts[1]):,} test images from {_part(files.test)}."
        ) + without_test_images(test_labels, classes)
    if files.others:
        sentence += f" Not used: {listed(files.others)}."
    return ImageData(
        name=root.name,
        location=str(root),
        train=parts[0],
        test=parts[1],
        classes=classes,
        split=sentence,
        own_test=bool(files.test),
    )


def _part(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"{len(files)} files ({files[0]} …)"


def _role(file: str) -> str | None:
    for part in reversed(Path(file).with_suffix("").parts):
        word = re.split(r"[^a-z]", part.lower(), maxsplit=1)[0]
        if word in TRAIN_NAMES + TEST_NAMES:
            return word
    return None


def _read(root: Path, files: Sequence[str]) -> _Table:
    tables, places, names = [], [], []
    for file in files:
        try:
            schema = pq.read_schema(root / file)
            image_column = _column(schema, IMAGE_COLUMNS, "image", file)
            label_column = _column(schema, LABEL_COLUMNS, "label", file)
            table = pq.read_table(root / file, columns=[image_column, label_column])
        except (pa.ArrowException, OSError) as error:
            raise SenetError(f"{root / file} cannot be read as a parquet file ({_short(error)}).") from error
        contents, paths = _contents_and_paths(table[image_column], file)
        tables.append((contents, paths, table[label_column]))
        places.append((file, table.num_rows))
        names.append(_class_names(schema, label_column))
    if len(set(names)) > 1:
        raise SenetError(f"The parquet files {listed(files)} name different classes, and they must agree.")
    if len({str(labels.type) for _, _, labels in tables}) > 1:
        raise SenetError(f"The parquet files {listed(files)} have labels of different types.")
    contents, paths, labels = (_joined(columns) for columns in zip(*tables, strict=True))
    return _Table(
        contents=contents,
        paths=paths,
        places=places,
        labels=labels,
        class_names=names[0],
        where=_part(files),
    )


def _joined(columns: Sequence[Any]) -> Any:
    """Put columns one after the other without copying them."""
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)


def _column(schema: Any, allowed: Sequence[str], kind: str, file: str) -> str:
    for name in allowed:
        if name in schema.names:
            return name
    raise SenetError(
        f"{file} has no {kind} column: its columns are {listed(schema.names)}, and one of {listed(allowed)} "
        "is needed."
    )


def _contents_and_paths(column: Any, file: str) -> tuple[Any, Any]:
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        contents = pc.struct_field(column, "bytes")
        if kind.get_field_index("path") >= 0:
            return contents, pc.struct_field(column, "path").cast(pa.string())
        column = contents
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return column, pa.chunked_array([pa.nulls(len(column), pa.string())])
    raise SenetError(
        f"The image column of {file} is of type {kind}, and the Hugging Face image layout is needed: "
        "struct<bytes: binary, path: string>."
    )


def _class_names(schema: Any, label_column: str) -> tuple[str, ...] | None:
    """Return the names that Hugging Face's ClassLabel wrote into the schema."""
    try:
        description = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = description["info"]["features"][label_column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(str(name) for name in names) if isinstance(names, list) and names else None


def _training_labels(table: _Table) -> tuple[tuple[str, ...], Indices]:
    """Return the class names, decided by the training part, and its labels."""
    values = _plain_labels(table)
    if values.dtype.kind == "i" and table.class_names is not None:
        classes = table.class_names
        require_labels_in_range(values, classes, table.where)
        labels = values
        require_every_class(labels, classes, table.where)
    else:
        if values.dtype.kind == "i" and len(values):
            # Without names the numbers themselves are the names; only negative ones mean "no class".
            require_labels_in_range(values, range(int(values.max()) + 1), table.where)  # type: ignore[arg-type]
        distinct, positions = np.unique(values, return_inverse=True)
        classes = tuple(str(value) for value in distinct)
        labels = positions.astype(np.int64)
    require_two_classes(classes, table.where)
    return classes, labels


def _test_labels(table: _Table, classes: tuple[str, ...]) -> Indices:
    """Return the labels of the test part under the mapping of the training part."""
    values = _plain_labels(table)
    if values.dtype.kind == "i" and table.class_names is not None:
        if table.class_names != classes:
            raise SenetError(
                f"{table.where} names other classes than the training part, and they must agree."
            )
        require_labels_in_range(values, classes, table.where)
        labels: Indices = values
        return labels
    position = {name: index for index, name in enumerate(classes)}
    unknown = sorted({str(value) for value in values.tolist()} - set(position))
    if unknown:
        raise SenetError(f"{table.where} has images of {listed(unknown)} and the training part has none.")
    return np.array([position[str(value)] for value in values.tolist()], dtype=np.int64)


def _plain_labels(table: _Table) -> Any:
    """Return labels as int64 or as strings, one per image."""
    labels, kind = table.labels, table.labels.type
    if pa.types.is_dictionary(kind):
        labels, kind = labels.cast(kind.value_type), kind.value_type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise SenetError(
            f"Labels in {table.where} are of type {kind}: one whole number or name per image is needed."
        )
    if labels.null_count:
        raise SenetError(f"{labels.null_count:,} images in {table.where} have no label: remove those rows.")
    if pa.types.is_integer(kind):
        return np.asarray(labels.to_numpy()).astype(np.int64)
    return np.array(labels.to_pylist(), dtype=str)


def _require_memory(root: Path, files: Sequence[str]) -> None:
    needed = 0
    for file in files:
        try:
            metadata = pq.read_metadata(root / file)
        except (pa.ArrowException, OSError) as error:
            raise SenetError(f"{root / file} cannot be read as a parquet file ({_short(error)}).") from error
        needed += sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    free = available_memory()
    if free is not None and needed > free:
        raise SenetError(
            f"The images in {root} take {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free: "
            "unpack them into class folders, which are read from disk, or use fewer files."
        )


def available_memory() -> int | None:
    """Return bytes of memory a program may still take, containers' limits included; ``None`` if unknown."""
    free = None
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        match = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        free = int(match[1]) * 1024 if match else None
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        within = int(limit.read_text()) - int(used.read_text())
        free = within if free is None else min(free, within)
    return free


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
