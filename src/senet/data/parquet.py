"""Parquet files in the Hugging Face image layout."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from senet.data.labels import StoredLabels, from_column
from senet.data.parts import SplitFiles, files_named, make_parts, split_files
from senet.data.source import ImageData
from senet.data.tables import (
    TablePart,
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

# A name or a text that is not UTF-8 is a ValueError.
READ_ERRORS = (pa.ArrowException, OSError, UnicodeDecodeError)


def open_parquet_folder(root: Path, *, test_fraction: float, seed: int) -> ImageData:
    """Open a folder of parquet files at any depth.

    Raises:
        SenetError: as `open_parquet_files`.
    """
    files = split_files(visible_files(root, ".parquet"), "parquet")
    return open_parquet_files(root, files, test_fraction=test_fraction, seed=seed)


def visible_files(root: Path, suffix: str) -> list[str]:
    """Return the files of this suffix at any depth, relative to ``root``, none of them hidden.

    Raises:
        SenetError: there are none.
    """
    found = [path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() == suffix]
    visible = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    files = sorted(path.as_posix() for path in visible if (root / path).is_file())
    if not files:
        raise SenetError(f"There are no {suffix} files in {root}, only folders or links with that suffix.")
    return files


def open_parquet_files(root: Path, files: SplitFiles, *, test_fraction: float, seed: int) -> ImageData:
    """Read parquet files (paths relative to ``root``) into memory.

    Raises:
        SenetError: damaged files, columns that are not there, labels outside the classes, classes
            without training images, or files larger than the memory that is free.
    """
    _require_memory(root, files.train + files.test)
    return make_parts(root, files, partial(_read, root), test_fraction=test_fraction, seed=seed)


def _read(root: Path, files: Sequence[str]) -> TablePart:
    contents, paths, labels, places, names, notes = [], [], [], [], [], []
    for file in files:
        try:
            schema = pq.read_schema(root / file)
            columns = columns_of(schema, file)
            # Text that is none passes otherwise.
            table = _read_columns(root / file, columns.read)
            table.validate(full=True)
        except READ_ERRORS as error:
            raise _unreadable(root / file, error) from error
        require_one_part(table, columns, file)
        of_file, paths_of_file = contents_and_paths(table[columns.image], file)
        if table.num_rows and of_file.null_count == table.num_rows:
            raise SenetError(
                f"The image column of {file} contains no images, only {_example(paths_of_file)}: write "
                "the file again with the bytes of the images in it."
            )
        contents.append(of_file)
        paths.append(paths_of_file)
        labels.append(table[columns.label])
        places.append((file, table.num_rows))
        feature = features_of(schema, file).get(columns.label)
        names.append(class_names(feature, f"The column metadata in {file}"))
        notes.append(columns.note)
    agreed = agreeing(files, names, labels, "parquet")
    where = files_named(files)
    values = from_column(joined(labels), where)
    return TablePart(
        contents=joined(contents),
        paths=joined(paths),
        places=places,
        stored=StoredLabels(
            values=values, class_names=agreed, where=where, note="".join(dict.fromkeys(notes))
        ),
    )


def _read_columns(path: Path, columns: list[str]) -> Any:
    # One row group after the other: `read_table` looks for more in the names of folders (split=train/).
    with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
        return parquet.read(columns=columns)


def _example(paths: Any) -> str:
    named = paths.drop_null()
    return f"paths such as {named[0].as_py()}" if len(named) else "empty values"


def _unreadable(path: Path, error: Exception) -> SenetError:
    return SenetError(
        f"{path} cannot be read as a parquet file ({short(error)}): it is damaged, so copy or download it "
        "again."
    )


def _require_memory(root: Path, files: Sequence[str]) -> None:
    needed = 0
    for file in files:
        try:
            metadata = pq.read_metadata(root / file)
        except READ_ERRORS as error:
            raise _unreadable(root / file, error) from error
        needed += sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    free = available_memory()
    if free is not None and needed > free:
        raise SenetError(
            f"The images in {root} need {needed / 1000000000.0:.1f} GB of memory but only "
            f"{free / 1000000000.0:.1f} GB are free: unpack them into class folders, which are read from "
            "disk, or use fewer files."
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
