"""Tables in the Hugging Face image layout: a struct of bytes and path, and a label."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from senet.data.decode import UnreadableImage
from senet.data.labels import StoredLabels
from senet.data.source import EncodedSource, Indices
from senet.data.split import listed
from senet.errors import SenetError

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")


class TableSource(EncodedSource):
    """Picture files that are values of an Arrow column, in memory or mapped from disk.

    Forked workers share them.

    Args:
        part: contents, paths and the files they come from.
        labels: (N,) int64.
        classes: names.
    """

    def __init__(self, part: TablePart, labels: Indices, classes: Sequence[str]) -> None:
        self.labels = labels
        self.classes = tuple(classes)
        self._part = part
        self._ends = np.cumsum([rows for _, rows in part.places])

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is mapped from disk: whoever unpickles the source maps it anew."""
        if self._part.reopen is None:
            return self.__dict__
        return {**self.__dict__, "_part": replace(self._part, contents=None, paths=None)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._part.reopen is not None:
            contents, paths = self._part.reopen()
            self._part = replace(self._part, contents=contents, paths=paths)

    def content(self, index: int) -> bytes | memoryview:
        """Return the bytes of one picture, without copying them where the table holds them."""
        buffer = self._part.contents[index].as_buffer()
        if buffer is not None:
            return memoryview(buffer)
        path = self._part.paths[index].as_py()
        if path is None or self._part.outside is None:
            raise UnreadableImage(self.name(index), "its bytes are missing from the file")
        try:
            content: bytes = (self._part.outside / path).read_bytes()
            return content
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UnreadableImage(self.name(index), f"the file cannot be opened ({reason})") from error

    def name(self, index: int) -> str:
        """Return "train-00000.parquet row 7 (cat.jpg)"."""
        file = int(np.searchsorted(self._ends, index, side="right"))
        row = index - (int(self._ends[file - 1]) if file else 0)
        return _name(self._part.places[file][0], row, self._part.paths[index].as_py())

    def names(self, indices: Indices) -> list[str]:
        """Return the names of many images at once."""
        files = np.searchsorted(self._ends, indices, side="right")
        rows = indices - np.concatenate([[0], self._ends])[files]
        paths = self._part.paths.take(pa.array(indices)).to_pylist()
        places = self._part.places
        numbered = zip(files.tolist(), rows.tolist(), paths, strict=True)
        return [_name(places[file][0], row, path) for file, row, path in numbered]


def _name(file: str, row: int, path: str | None) -> str:
    return f"{file} row {row} ({path})" if path else f"{file} row {row}"


@dataclass(frozen=True, kw_only=True)
class TablePart:
    """The rows of one part.

    Attributes:
        contents: N binary values (a pyarrow ChunkedArray).
        paths: N file names, ``None`` where not known.
        places: per file, its name and number of rows, in the order of ``contents``.
        stored: the labels.
        outside: folder that paths are relative to where the bytes lie in files of their own;
            ``None`` where such files are not looked for.
        reopen: returns contents and paths anew where they are mapped from disk, so that a pickled source
            need not carry them.
    """

    contents: Any
    paths: Any
    places: Sequence[tuple[str, int]]
    stored: StoredLabels
    outside: Path | None = None
    reopen: Callable[[], tuple[Any, Any]] | None = None

    def source(self, labels: Indices, classes: tuple[str, ...]) -> TableSource:
        """Return the images under a class mapping."""
        return TableSource(self, labels, classes)


def columns_of(schema: Any, file: str) -> tuple[str, str]:
    """Return the names of the image column and of the label column.

    Raises:
        SenetError: there is none of the names that are allowed.
    """
    return _column(schema, IMAGE_COLUMNS, "image", file), _column(schema, LABEL_COLUMNS, "label", file)


def _column(schema: Any, allowed: Sequence[str], kind: str, file: str) -> str:
    for name in allowed:
        if name in schema.names:
            return name
    raise SenetError(
        f"{file} has no {kind} column: its columns are {listed(schema.names)}, and one of {listed(allowed)} "
        "is needed."
    )


def contents_and_paths(column: Any, file: str) -> tuple[Any, Any]:
    """Return the picture files and their names, ``None`` where not known, of an image column.

    Raises:
        SenetError: the column is of another type.
    """
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


def schema_class_names(schema: Any, label_column: str) -> tuple[str, ...] | None:
    """Return the names that Hugging Face's ClassLabel wrote into the schema."""
    try:
        description = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    except ValueError:
        return None
    return feature_class_names(description.get("info"), (label_column,))


def feature_class_names(info: object, columns: Sequence[str]) -> tuple[str, ...] | None:
    """Return the class names in Hugging Face's description of a data set (``dataset_info.json``)."""
    features = info.get("features") if isinstance(info, Mapping) else None
    for column in columns:
        feature = features.get(column) if isinstance(features, Mapping) else None
        names = feature.get("names") if isinstance(feature, Mapping) else None
        if isinstance(names, list) and names:
            return tuple(str(name) for name in names)
    return None


def joined(columns: Sequence[Any]) -> Any:
    """Put columns one after the other without copying them."""
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)


def agreeing(
    files: Sequence[str], names: Sequence[tuple[str, ...] | None], labels: Sequence[Any], kind: str
) -> tuple[str, ...] | None:
    """Return the class names that all files of a part give.

    Raises:
        SenetError: they give different ones, or labels of different types.
    """
    if len(set(names)) > 1:
        raise SenetError(f"The {kind} files {listed(files)} name different classes, and they must agree.")
    if len({str(column.type) for column in labels}) > 1:
        raise SenetError(f"The {kind} files {listed(files)} have labels of different types.")
    return names[0]


def short(error: Exception) -> str:
    """Return an error's text on one line, shortened."""
    return " ".join(str(error).split())[:160] or type(error).__name__
