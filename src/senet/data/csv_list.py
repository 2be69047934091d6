"""A CSV list of picture files and their labels: ``image,label`` and, where wanted, ``split``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from senet.data.folder import FileSource
from senet.data.labels import StoredLabels, from_texts
from senet.data.parts import SplitFiles, make_parts
from senet.data.source import ImageData, Indices
from senet.data.split import TEST_NAMES, TRAIN_NAMES, listed
from senet.errors import SenetError

IMAGE_COLUMNS = ("path", "image", "file", "filename")
LABEL_COLUMNS = ("label", "class")
SPLIT_COLUMN = "split"


class _Row(NamedTuple):
    line: int
    file: str
    label: str
    part: str


@dataclass(frozen=True)
class _CsvPart:
    root: Path
    rows: Sequence[_Row]
    stored: StoredLabels

    def source(self, labels: Indices, classes: tuple[str, ...]) -> FileSource:
        return FileSource(self.root, (row.file for row in self.rows), labels, classes)


def open_csv(path: Path, *, test_fraction: float, seed: int) -> ImageData:
    """Open a CSV file with a header: a column path, image, file or filename, and a column label or class.

    Paths are absolute or relative to the CSV's folder. A column ``split`` tells the parts apart (train;
    val, validation or test); other columns are not read. Files that are missing count as unreadable images.

    Raises:
        SenetError: a column is missing, a row is bad (named by its line), or as `make_parts`.
    """
    rows = _read(path)
    parts = {row.part for row in rows}
    test_part = next((name for name in TEST_NAMES if name in parts), None)
    if parts == {""}:
        files = SplitFiles(train=("",), test=(), others=())
    elif test_part is None or not parts & set(TRAIN_NAMES):
        raise SenetError(
            f"The column {SPLIT_COLUMN} of {path} has only {listed(sorted(parts))}: both train and val (or "
            "test) are needed; without that column the images are split here."
        )
    else:
        train = tuple(sorted(parts & set(TRAIN_NAMES)))
        others = tuple(sorted(parts - set(train) - {test_part}))
        files = SplitFiles(train=train, test=(test_part,), others=others)

    def part(names: tuple[str, ...]) -> _CsvPart:
        chosen = [row for row in rows if row.part in names]
        where = f"{path.name} ({names[0]})" if names[0] else path.name
        values = from_texts([row.label for row in chosen], where)
        return _CsvPart(path.parent, chosen, StoredLabels(values=values, class_names=None, where=where))

    return make_parts(path, files, part, test_fraction=test_fraction, seed=seed)


def _read(path: Path) -> list[_Row]:
    try:
        # Spreadsheets begin their files with a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            rows = _rows(reader, path)
    except UnicodeDecodeError as error:
        raise SenetError(f"{path} is not in UTF-8: save it again as CSV in UTF-8.") from error
    except csv.Error as error:
        raise SenetError(f"Line {reader.line_num} of {path} is not CSV ({error}): correct it.") from error
    except OSError as error:
        raise SenetError(f"{path} cannot be opened ({error.strerror}).") from error
    if not rows:
        raise SenetError(f"{path} lists no images: a header and one row per image are needed.")
    _require_distinct(rows, path)
    return rows


def _rows(reader: csv._reader, path: Path) -> list[_Row]:  # type: ignore[name-defined]
    header = [name.strip().lower() for name in next(reader, [])]
    image, label = (_column(header, allowed, path) for allowed in (IMAGE_COLUMNS, LABEL_COLUMNS))
    split = header.index(SPLIT_COLUMN) if SPLIT_COLUMN in header else None
    rows = []
    for fields in reader:
        if not fields:  # an empty line
            continue
        where = f"Line {reader.line_num} of {path}"
        if len(fields) != len(header):
            raise SenetError(
                f"{where} has {len(fields)} fields and the header has {len(header)}: correct the line "
                "(a field with a comma inside must stand in double quotes)."
            )
        row = _Row(
            line=reader.line_num,
            file=fields[image].strip(),
            label=fields[label].strip(),
            part="" if split is None else fields[split].strip().lower(),
        )
        if not row.file or not row.label or "\0" in row.file:
            lacking = header[image] if not row.file or "\0" in row.file else header[label]
            raise SenetError(f"{where} has no {lacking}: fill it in or remove the line.")
        if split is not None and row.part not in TRAIN_NAMES + TEST_NAMES:
            raise SenetError(
                f"{where} has {fields[split]!r} under {SPLIT_COLUMN}, and one of "
                f"{', '.join(TRAIN_NAMES + TEST_NAMES)} is needed."
            )
        rows.append(row)
    return rows


def _column(header: Sequence[str], allowed: Sequence[str], path: Path) -> int:
    found = [name for name in allowed if name in header]
    if len(found) != 1:
        problem = (
            f"columns {' and '.join(found)}, only one of which"
            if found
            else f"{listed(header) or 'nothing'}, and one"
        )
        raise SenetError(
            f"The first line of {path} names {problem} of {', '.join(allowed)} must be there: write a header "
            "such as path,label."
        )
    return header.index(found[0])


def _require_distinct(rows: Sequence[_Row], path: Path) -> None:
    """Refuse a picture that is listed twice: it could be trained on and tested, or have two labels."""
    first: dict[str, int] = {}
    for row in rows:
        if row.file in first:
            raise SenetError(
                f"Line {row.line} of {path} lists {row.file} again, which is on line {first[row.file]}: one "
                "line per image, with one label, is needed."
            )
        first[row.file] = row.line
