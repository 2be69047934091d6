"""Arrow files as Hugging Face's ``datasets`` leaves them: in its cache, or written by ``save_to_disk``.

They are mapped from disk, so that data sets larger than memory are read in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from senet.data.ipc import mapped_table
from senet.data.labels import StoredLabels, from_column
from senet.data.parquet import visible_files
from senet.data.parts import SplitFiles, files_named, make_parts, split_files
from senet.data.source import ImageData
from senet.data.split import listed
from senet.data.tables import (
    TablePart,
    agreeing,
    class_names,
    columns_of,
    contents_and_paths,
    features_in,
    features_of,
    joined,
    read_json,
    require_one_part,
    short,
)
from senet.errors import SenetError

# Results of `map`, and files being written, which lie beside the data in the cache of `datasets`.
BESIDE = ("cache-", "tmp")


def open_arrow_folder(root: Path, *, test_fraction: float, seed: int) -> ImageData:
    """Open a folder of Arrow files at any depth: of ``save_to_disk``, or of the cache of ``datasets``.

    Raises:
        SenetError: as `open_arrow_files`, or files of one part lie in several folders.
    """
    found = [file for file in visible_files(root, ".arrow") if _belongs(root, file)]
    if not found:
        raise SenetError(
            f"{root} contains only the cache files that the datasets library writes (cache-….arrow): give "
            "the folder of the dataset itself."
        )
    files = split_files(found, "Arrow")
    for part in (files.train, files.test):
        folders = sorted({str(PurePosixPath(file).parent) for file in part})
        if len(folders) > 1:
            raise SenetError(
                f"The Arrow files in {root} are spread over several folders ({listed(folders)}), which "
                "may be different datasets: give one of those folders."
            )
    return open_arrow_files(root, files, test_fraction=test_fraction, seed=seed)


def open_arrow_files(root: Path, files: SplitFiles, *, test_fraction: float, seed: int) -> ImageData:
    """Map Arrow files (paths relative to ``root``), of the stream or the file format, from disk.

    Raises:
        SenetError: damaged files, columns that are not there, labels outside the classes, or classes
            without training images.
    """
    return make_parts(root, files, partial(_read, root), test_fraction=test_fraction, seed=seed)


def _belongs(root: Path, file: str) -> bool:
    """Tell the files of a data set from those that `datasets` keeps beside them."""
    path = root / file
    state = _json(path.parent / "state.json")
    if not state:
        return not path.name.startswith(BESIDE)
    if state.get("_indices_files"):
        raise SenetError(
            f"The dataset in {path.parent} selects its rows through an indices file, a format of old "
            "versions of the datasets library: load it there and save it again with save_to_disk."
        )
    listed_files = state.get("_data_files")
    files = listed_files if isinstance(listed_files, list) else []
    return path.name in {str(each.get("filename")) for each in files if isinstance(each, Mapping)}


def _json(path: Path) -> Mapping[str, Any]:
    try:
        return read_json(path.read_bytes(), str(path)) if path.is_file() else {}
    except OSError as error:
        raise SenetError(f"{path} cannot be read ({short(error)}): repair or remove it.") from error


@dataclass(frozen=True)
class _Mapped:
    """The columns of one part's files, mapped from disk."""

    contents: Any
    paths: Any
    labels: list[Any]
    rows: list[int]
    names: list[tuple[str, ...] | None]
    note: str


def _read(root: Path, files: Sequence[str]) -> TablePart:
    mapped = _map(root, files)
    agreed = agreeing(files, mapped.names, mapped.labels, "Arrow")
    where = files_named(files)
    values = from_column(joined(mapped.labels), where)
    return TablePart(
        contents=mapped.contents,
        paths=mapped.paths,
        places=list(zip(files, mapped.rows, strict=True)),
        stored=StoredLabels(values=values, class_names=agreed, where=where, note=mapped.note),
        outside=root,
        reopen=partial(_contents_and_paths, root, files),
    )


def _contents_and_paths(root: Path, files: Sequence[str]) -> tuple[Any, Any]:
    mapped = _map(root, files)
    return mapped.contents, mapped.paths


def _map(root: Path, files: Sequence[str]) -> _Mapped:
    contents, paths, labels, rows, names, notes = [], [], [], [], [], []
    for file in files:
        table, schema = mapped_table(root / file, partial(_wanted, file))
        columns = columns_of(schema, file)
        require_one_part(table, columns, file)
        of_file, paths_of_file = contents_and_paths(table[columns.image], file)
        contents.append(of_file)
        paths.append(paths_of_file)
        labels.append(table[columns.label])
        rows.append(table.num_rows)
        notes.append(columns.note)
        names.append(_class_names(schema, columns.label, root / file))
    return _Mapped(joined(contents), joined(paths), labels, rows, names, "".join(dict.fromkeys(notes)))


def _wanted(file: str, schema: Any) -> list[str]:
    return columns_of(schema, file).read


def _class_names(schema: Any, label: str, path: Path) -> tuple[str, ...] | None:
    """Return the class names from the schema, or else from the description beside the file."""
    own = class_names(features_of(schema, path.name).get(label), f"The column metadata in {path.name}")
    beside = path.parent / "dataset_info.json"
    described = features_in(_json(beside), str(beside)).get(label)
    return own or class_names(described, str(beside))
