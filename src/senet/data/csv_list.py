"""A CSV list of picture files and their labels: ``image,label`` and, where wanted, ``split``."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from senet.data.folder import FileSource
from senet.data.formats import SUFFIXES
from senet.data.labels import StoredLabels, from_texts
from senet.data.parts import SplitFiles, make_parts, role_of
from senet.data.source import ImageData, Indices
from senet.data.split import listed, part_of
from senet.errors import SenetError
from senet.text import counted

# In any case, with spaces or hyphens for the underscore; of several columns the first here is taken.
IMAGE_COLUMNS = (
    *("path", "image", "file", "filename", "image_path", "file_path", "filepath", "img_path", "file_name"),
    *("image_name", "img", "picture", "photo", "image_file", "image_id", "id"),
)
LABEL_COLUMNS = ("label", "class", "category", "target", "class_name", "label_name", "labels", "species")
SPLIT_COLUMNS = ("split", "set", "subset", "partition", "dataset")
# A column is_valid tells a part by yes and no.
YES, NO = ("true", "1", "yes", "y", "t", "1.0"), ("false", "0", "no", "n", "f", "0.0", "")
SEPARATORS = (",", ";", "\t", "|", " ")
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
SCHEME = re.compile(r"[A-Za-z][\w+.-]+://")


class _Row(NamedTuple):
    line: int
    file: str
    label: str
    part: str


class _Columns(NamedTuple):
    image: int
    label: int
    part: int | None
    separator: str


@dataclass(frozen=True)
class _CsvPart:
    root: Path
    rows: Sequence[_Row]
    stored: StoredLabels

    def source(self, labels: Indices, classes: tuple[str, ...]) -> FileSource:
        return FileSource(self.root, (row.file for row in self.rows), labels, classes)


def open_csv(path: Path, *, test_fraction: float, seed: int) -> ImageData:
    """Open a CSV file with a header that names a column of files and one of labels.

    Between columns stands a comma, semicolon, tab, ``|`` or space. Paths are absolute or relative to the
    CSV's folder, or else to the working folder. A column ``split`` (train; val, validation or test) tells
    the parts apart, or ``is_valid``, or else folders train/ and val/ in the paths. Files that are missing
    count as unreadable images.

    Raises:
        SenetError: a column is missing, a row is bad (named by its line), one file has several labels, or
            as `make_parts`.
    """
    rows, note = _read(path)
    root, rows, found = _located(rows, path)
    rows = _parts_by_folders(rows, root, path)
    rows, repeated = _distinct(rows, root, path)
    files = _parts(rows, path)
    note += found + repeated

    def part(names: tuple[str, ...]) -> _CsvPart:
        chosen = [row for row in rows if row.part in names]
        where = f"{path.name} ({names[0]})" if names[0] else path.name
        values = from_texts([row.label for row in chosen], where)
        return _CsvPart(root, chosen, StoredLabels(values=values, class_names=None, where=where, note=note))

    return make_parts(path, files, part, test_fraction=test_fraction, seed=seed)


def _parts(rows: Sequence[_Row], path: Path) -> SplitFiles:
    parts = {row.part for row in rows}
    test = next((name for name in ("val", "test") if name in parts), None)
    if parts == {""}:
        return SplitFiles(train=("",), test=(), others=())
    if test is None or "train" not in parts:
        raise SenetError(
            f"All images in {path} belong to {listed(sorted(parts))}: the split column must have both "
            "train and val (or test); remove it to let senet split the images at random."
        )
    return SplitFiles(train=("train",), test=(test,), others=tuple(sorted(parts - {"train", test})))


def _read(path: Path) -> tuple[list[_Row], str]:
    """Return the rows, and a sentence on the columns."""
    lines = _text(path).splitlines(keepends=True)
    skipped = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
    # What spreadsheets write to themselves: sep=;
    skipped += bool(lines) and lines[skipped].lower().startswith("sep=")
    header, columns = _header(lines[skipped:], path)
    others = [name for number, name in enumerate(header) if number not in columns[:3]]
    used = [header[number] for number in columns[:3] if isinstance(number, int)]
    note = f" Columns used: {listed(used)}{f'; ignored: {listed(others)}' if others else ''}."
    text = io.StringIO("".join(lines[skipped:]), newline="")
    reader = csv.reader(text, delimiter=columns.separator, skipinitialspace=True, strict=True)
    try:
        next(reader)
        rows = [
            _row(fields, header, columns, skipped + reader.line_num, path)
            for fields in reader
            if fields and (len(fields) == len(header) or not fields[0].startswith("#"))
        ]
    except csv.Error as error:
        raise SenetError(
            f"Line {skipped + reader.line_num} of {path} is not valid CSV ({error}): correct it."
        ) from error
    if not rows:
        raise SenetError(f"{path} lists no images: it needs a header and one row per image.")
    return rows, note


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SenetError(f"{path} cannot be opened ({error.strerror}).") from error
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise SenetError(f"{path} is not UTF-8 text: save it again as UTF-8 CSV.") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise SenetError(f"Line {line} of {path} contains a NUL character: save the file as UTF-8 CSV.")
    return text


def _header(lines: Sequence[str], path: Path) -> tuple[list[str], _Columns]:
    """Return the names of the columns, and which are read, by the separator that finds them."""
    first = lines[0] if lines else ""
    for separator in SEPARATORS:
        header = next(csv.reader([first], delimiter=separator, skipinitialspace=True), [])
        names = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in header]
        image, label = _column(names, IMAGE_COLUMNS), _column(names, LABEL_COLUMNS)
        if image is None or label is None:
            continue
        for number in (image, label):
            if names.count(names[number]) > 1:
                raise SenetError(
                    f"{path} has several columns named {names[number]!r}: give each a different name."
                )
        part = _column(names, SPLIT_COLUMNS)
        if part is None:
            part = next((n for n, name in enumerate(names) if _yes_part(name) is not None), None)
        return [name.strip() for name in header], _Columns(image, label, part, separator)
    found = next(csv.reader([first], skipinitialspace=True), [])
    raise SenetError(
        f"The first line of {path} is {listed(found) or 'empty'}, but it must name a column of image "
        f"files ({', '.join(IMAGE_COLUMNS[:4])} …) and a column of labels ({', '.join(LABEL_COLUMNS[:4])} "
        "…): add a header such as path,label."
    )


def _column(names: Sequence[str], allowed: Iterable[str]) -> int | None:
    return next((names.index(name) for name in allowed if name in names), None)


def _yes_part(name: str) -> str | None:
    """Return the part that a column such as is_valid says yes to."""
    return part_of(name.removeprefix("is_")) if name.startswith("is_") else None


def _row(fields: Sequence[str], header: Sequence[str], columns: _Columns, line: int, path: Path) -> _Row:
    where = f"Line {line} of {path}"
    if len(fields) != len(header):
        raise SenetError(
            f"{where} has {counted(len(fields), 'field')} but the header has {len(header)}: correct the "
            f"line (put a field that contains {columns.separator!r} in double quotes)."
        )
    file, label = fields[columns.image].strip(), fields[columns.label].strip()
    if not file or not label:
        lacking = header[columns.label if file else columns.image]
        raise SenetError(f"{where} has no value for {lacking}: fill it in or remove the line.")
    part = "" if columns.part is None else _part(fields[columns.part].strip(), header[columns.part], where)
    return _Row(line=line, file=_path(file, where), label=label, part=part)


def _part(value: str, column: str, where: str) -> str:
    yes = _yes_part(column.strip().lower())
    if yes is not None and value.lower() in YES + NO:
        other = "val" if yes == "train" else "train"
        return yes if value.lower() in YES else other
    part = part_of(value)
    if part is None:
        raise SenetError(
            f"{where} has {value!r} in the column {column}, which must be train, val (or validation) or "
            "test: correct it, or rename the column to have it ignored."
        )
    return part


def _path(file: str, where: str) -> str:
    """Return a path as this system writes it, and the same one for ``a`` and ``./a``."""
    if file.lower().startswith("file://"):
        file = url2pathname(urlsplit(file).path)
    elif SCHEME.match(file):
        raise SenetError(f"{where} lists the URL {file}, but must list local files: download it first.")
    if os.sep == "/" and "/" not in file:
        file = file.replace("\\", "/")
    return os.path.normpath(file)


def _located(rows: Sequence[_Row], path: Path) -> tuple[Path, list[_Row], str]:
    """Return the folder that paths start from, the rows with their suffixes, and a sentence on that folder.

    Raises:
        SenetError: none of the files is there.
    """
    for root in (path.parent, Path.cwd()):
        complete = _completer(root)
        files = [complete(row.file) for row in rows]
        if any(file is not None for file in files):
            found = [row._replace(file=file or row.file) for row, file in zip(rows, files, strict=True)]
            elsewhere = root != path.parent and not all(Path(row.file).is_absolute() for row in rows)
            note = f" Paths are relative to the working directory, {root}." if elsewhere else ""
            return root, found, note
    raise SenetError(
        f"None of the {counted(len(rows), 'file')} listed in {path} exists: {rows[0].file} (line "
        f"{rows[0].line}) was looked for in the folder of the list, {path.parent.absolute()}, and in the "
        f"working directory, {Path.cwd()}."
    )


def _completer(root: Path) -> Callable[[str], str | None]:
    """Return a function that returns a file's path if it is there, with a suffix where it has none."""
    endings = ["", *SUFFIXES, *(suffix.upper() for suffix in SUFFIXES)]

    def complete(file: str) -> str | None:
        for ending in [""] if file.lower().endswith(SUFFIXES) else endings:
            status = _status(root / f"{file}{ending}")
            if status is not None and stat.S_ISREG(status.st_mode):
                if ending:  # of one list, most have one suffix
                    endings.remove(ending)
                    endings.insert(1, ending)
                return file + ending
        return None

    return complete


def _parts_by_folders(rows: list[_Row], root: Path, path: Path) -> list[_Row]:
    """Return the rows with the parts that folders in their paths tell, where no column does.

    Raises:
        SenetError: some files lie in folders of parts, and others do not.
    """
    if any(row.part for row in rows):
        return rows
    # A class may be called "test".
    classes = {row.label for row in rows}
    # What lies above all of them tells nothing.
    whole = {folder: os.path.normpath(root.absolute() / folder) for folder in {_folder(row) for row in rows}}
    above = os.path.commonpath(whole.values())
    told: dict[str, str | None] = {}
    for folder, full in whole.items():
        below = Path(full).relative_to(above)
        told[folder] = None if classes & set(below.parts) else role_of(f"{below}/_")
    parts = set(told.values())
    if len(parts) == 1 or parts == {None, "train"}:
        return rows
    if None in parts:
        named = next(folder for folder, part in told.items() if part not in (None, "train"))
        raise SenetError(
            f"Some files in {path} are in a folder of test images ({named}) and others are not: add a "
            "column named split with train or test in every row."
        )
    return [row._replace(part=told[_folder(row)] or "") for row in rows]


def _folder(row: _Row) -> str:
    return str(Path(row.file).parent)


def _distinct(rows: Sequence[_Row], root: Path, path: Path) -> tuple[list[_Row], str]:
    """Return the rows without those that repeat another, and a sentence on them.

    Raises:
        SenetError: one picture has two labels or lies in two parts, under one name or two.
    """
    first: dict[object, _Row] = {}
    distinct = []
    for row in rows:
        before = first.setdefault(_identity(root / row.file), row)
        if before is row:
            distinct.append(row)
        elif (before.label, before.part) != (row.label, row.part):
            same = "" if before.file == row.file else f" as {before.file} (the same file)"
            raise SenetError(
                f"Line {row.line} of {path} lists {row.file} again with another label or split; line "
                f"{before.line} already lists it{same}: keep one line per image."
            )
    repeated = len(rows) - len(distinct)
    return distinct, f" Ignored: {counted(repeated, 'duplicate row')}." if repeated else ""


def _identity(path: Path) -> object:
    """Return the same for two names of one file, and for one name of a file that is missing."""
    status = _status(path)
    return str(path) if status is None else (status.st_dev, status.st_ino)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
