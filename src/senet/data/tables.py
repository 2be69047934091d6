"""Tables in the Hugging Face image layout: a struct of bytes and path, and a label."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from senet.data.decode import UnreadableImage
from senet.data.labels import TEXT_TYPES, StoredLabels
from senet.data.source import EncodedSource, Indices
from senet.data.split import listed, part_of
from senet.errors import SenetError

# In any case; of several, the first is taken.
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")
SPLIT_COLUMNS = ("split", "Split", "subset", "partition", "set")


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


class Columns(NamedTuple):
    """What is read of a table.

    Attributes:
        image: name of the column of pictures.
        label: name of the column of labels.
        split: name of a column of text that may tell parts apart, or ``None``.
        note: a sentence on the first two and on what is ignored.
    """

    image: str
    label: str
    split: str | None
    note: str

    @property
    def read(self) -> list[str]:
        """The names of the columns that are read."""
        return [name for name in (self.image, self.label, self.split) if name is not None]


def columns_of(schema: Any, file: str) -> Columns:
    """Return the columns of pictures and of labels.

    They are known by their names, or else by being the only ones that hold pictures (a struct of bytes) and
    Hugging Face's class labels.

    Raises:
        SenetError: there are none, or several of one name.
    """
    pictures = [field.name for field in schema if _field_type(field.type, "bytes") is not None]
    features = features_of(schema, file)
    labels = [name for name, each in features.items() if _is(each, "ClassLabel") and name in schema.names]
    image = _column(schema, IMAGE_COLUMNS, pictures, "image", file)
    label = _column(schema, LABEL_COLUMNS, labels, "label", file)
    others = [name for name in schema.names if name not in (image, label)]
    ignored = f"; ignored: {listed(others)}" if others else ""
    telling = [
        n for n in SPLIT_COLUMNS if n in others and str(_value_type(schema.field(n).type)) in TEXT_TYPES
    ]
    note = f" Columns used: {listed([image, label])}{ignored}."
    return Columns(image, label, telling[0] if telling else None, note)


def _value_type(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def require_one_part(table: Any, columns: Columns, file: str) -> None:
    """Raise `SenetError` where a column tells several parts, so that no test image is trained on."""
    if columns.split is None:
        return
    values = [str(value) for value in table[columns.split].unique().to_pylist()]
    told = sorted(value for value in values if part_of(value) is not None)
    if len({part_of(value) for value in told}) > 1:
        raise SenetError(
            f"{file} contains several splits ({listed(told)} in its column {columns.split!r}): write one "
            "file per split, named train.… and test.…, or remove that column to let senet split the "
            "images at random."
        )


def _column(schema: Any, allowed: Sequence[str], typed: Sequence[str], kind: str, file: str) -> str:
    named = [name for wanted in allowed for name in schema.names if name.lower() == wanted]
    found = named or (typed if len(typed) == 1 else [])
    if not found:
        raise SenetError(
            f"{file} has no {kind} column: it has {listed(schema.names)}, but needs one of {listed(allowed)}."
        )
    if schema.names.count(found[0]) > 1:
        raise SenetError(f"{file} has several columns named {found[0]!r}: give each a different name.")
    return found[0]


def _field_type(kind: Any, name: str) -> Any:
    """Return the type of a struct's field, or ``None``."""
    index = kind.get_field_index(name) if pa.types.is_struct(kind) else -1
    return kind.field(index).type if index >= 0 else None


def _is(feature: object, kind: str) -> bool:
    return isinstance(feature, Mapping) and feature.get("_type") == kind


def contents_and_paths(column: Any, file: str) -> tuple[Any, Any]:
    """Return the picture files and their names, ``None`` where not known, of an image column.

    Raises:
        SenetError: the column is of another type.
    """
    kind = column.type
    paths = pa.chunked_array([pa.nulls(len(column), pa.string())])
    if _field_type(kind, "bytes") is not None:
        if str(_field_type(kind, "path")) in TEXT_TYPES:
            paths = pc.struct_field(column, "path").cast(pa.string())
        column = pc.struct_field(column, "bytes")
    if pa.types.is_null(column.type) or pa.types.is_binary(_value_type(column.type)):
        column = column.cast(pa.binary())
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return column, paths
    raise SenetError(
        f"The image column of {file} must have Hugging Face's image type, struct<bytes: binary, path: "
        f"string>, not {kind}."
    )


def read_json(text: str | bytes, where: str) -> Mapping[str, Any]:
    """Return a description in JSON.

    Raises:
        SenetError: it is damaged, nested too deeply, or no JSON object.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SenetError(f"{where} is not valid JSON ({short(error)}): repair or remove it.") from error
    return _object(content, where)


def _object(content: object, where: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise SenetError(
            f"{where} must be a JSON object, not a {type(content).__name__}: repair or remove it."
        )
    return content


def features_of(schema: Any, file: str) -> Mapping[str, Any]:
    """Return what Hugging Face's `datasets` wrote into a schema about each column.

    Raises:
        SenetError: it is damaged.
    """
    where = f"The column metadata in {file} (key 'huggingface')"
    text = (schema.metadata or {}).get(b"huggingface")
    return {} if text is None else features_in(read_json(text, where).get("info"), where)


def features_in(info: object, where: str) -> Mapping[str, Any]:
    """Return the part on columns of Hugging Face's description of a data set (``dataset_info.json``).

    Raises:
        SenetError: it has another shape.
    """
    features = None if info is None else _object(info, where).get("features")
    return {} if features is None else _object(features, where)


def class_names(feature: object, where: str) -> tuple[str, ...] | None:
    """Return the class names in Hugging Face's description of a column, or ``None``.

    Raises:
        SenetError: they are no list of names, or a name is there twice or empty.
    """
    names = feature.get("names") if isinstance(feature, Mapping) else None
    if names is None or names == []:
        return None
    if not isinstance(names, list) or any(isinstance(n, bool) or not isinstance(n, str | int) for n in names):
        raise SenetError(f"{where} has class names that are not a list of strings: repair or remove it.")
    texts = tuple(str(name) for name in names)
    require_distinct_names(texts, where)
    return texts


def require_distinct_names(names: Sequence[str], where: str) -> None:
    """Raise `SenetError` when a class has no name or that of another."""
    twice = next((name for number, name in enumerate(names) if not name or name in names[:number]), None)
    if twice is not None:
        problem = f"has the class {twice!r} twice" if twice else "has a class without a name"
        raise SenetError(f"{where} {problem}: give each class a different name.")


def joined(columns: Sequence[Any]) -> Any:
    """Put columns, of text or bytes where they differ, one after the other without copying their values."""
    kinds = {column.type for column in columns}
    kind = columns[0].type if len(kinds) == 1 else pa.large_binary()
    return pa.chunked_array([chunk for column in columns for chunk in column.cast(kind).chunks], kind)


def agreeing(
    files: Sequence[str], names: Sequence[tuple[str, ...] | None], labels: Sequence[Any], kind: str
) -> tuple[str, ...] | None:
    """Return the class names that all files of a part give.

    Raises:
        SenetError: they give different ones, or labels of different types.
    """
    if len(set(names)) > 1:
        raise SenetError(
            f"The {kind} files {listed(files)} have different class names: they must be the same."
        )
    if len({str(column.type) for column in labels}) > 1:
        raise SenetError(
            f"The {kind} files {listed(files)} have labels of different types: they must be the same."
        )
    return names[0]


def short(error: Exception) -> str:
    """Return an error's text on one line, shortened."""
    return " ".join(str(error).split())[:160] or type(error).__name__
