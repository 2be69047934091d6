"""Folders of class folders: ``cats/1.jpg``, with or without ``train/`` and ``val/`` above."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from senet.data.decode import SUFFIXES, UnreadableImage
from senet.data.source import EncodedSource, ImageData, Indices, Subset
from senet.data.split import (
    TEST_NAMES,
    TRAIN_NAMES,
    listed,
    require_two_classes,
    stratified_split,
    without_test_images,
)
from senet.errors import SenetError

LAYOUT = (
    "What is expected is one folder per class (cats/1.jpg, dogs/2.jpg), or such folders inside train/ and "
    "val/ (or test/); picture files end in " + ", ".join(SUFFIXES) + "."
)
# Folders that operating systems and archives leave behind.
IGNORED_NAMES = ("__MACOSX", "@eaDir")


class FileSource(EncodedSource):
    """Picture files, each in a file of its own.

    Args:
        root: the folder that paths are relative to.
        files: paths, one per image.
        labels: (N,) int64.
        classes: names.
    """

    def __init__(self, root: Path, files: Iterable[str], labels: Indices, classes: Sequence[str]) -> None:
        self.root = root
        self.classes = tuple(classes)
        self.labels = labels
        # An Arrow array stays shared between forked workers; touching a Python string copies its page.
        self._files = pa.array([os.fsencode(file) for file in files], type=pa.large_binary())

    def content(self, index: int) -> bytes:
        """Return the bytes of one file."""
        path = self.root / os.fsdecode(self._files[index].as_py())
        try:
            return path.read_bytes()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UnreadableImage(self.name(index), f"the file cannot be opened ({reason})") from error

    def name(self, index: int) -> str:
        """Return the file's path, below the root unless it is absolute."""
        return str(self._files[index].as_py().decode(errors="replace"))

    def names(self, indices: Indices) -> list[str]:
        """Return the names of many images at once."""
        files = self._files.take(pa.array(indices)).to_pylist()
        return [file.decode(errors="replace") for file in files]


class FolderSource(FileSource):
    """Picture files below one folder, class by class.

    Args:
        root: the folder.
        files: for each class, in the order of ``classes``, its files relative to ``root``.
        classes: names.
    """

    def __init__(self, root: Path, files: Sequence[Sequence[str]], classes: Sequence[str]) -> None:
        counts = [len(of_class) for of_class in files]
        labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
        super().__init__(root, (file for of_class in files for file in of_class), labels, classes)


def open_folder(root: Path, *, test_fraction: float, seed: int) -> ImageData:
    """Open a folder of class folders.

    Classes are the sorted names of the training folders; pictures inside a class are found at any
    depth, in the order of their paths. Hidden files and files that are not pictures are passed over.

    Raises:
        SenetError: no pictures, one class only, an empty class, a class too small to split, or a class
            among the test images that the training images lack.
    """
    parts = _class_folders(root)
    train_parts = [name for name in parts if name.lower() in TRAIN_NAMES and _holds_classes(root / name)]
    if not train_parts:
        if parts and all(name.lower() in TRAIN_NAMES + TEST_NAMES for name in parts):
            raise SenetError(
                f"{root} is divided into {listed(parts)}, but there is no train/ with class folders. {LAYOUT}"
            )
        return _open_undivided(root, root, test_fraction=test_fraction, seed=seed)
    train_part = train_parts[0]
    by_role = {name.lower(): name for name in parts}
    test_part = next((by_role[role] for role in TEST_NAMES if role in by_role), None)
    if test_part is None:
        return _open_undivided(root, root / train_part, test_fraction=test_fraction, seed=seed)
    return _open_divided(root, train_part, test_part)


def _open_undivided(root: Path, folder: Path, *, test_fraction: float, seed: int) -> ImageData:
    files = _files_by_class(root, folder)
    source = FolderSource(root, list(files.values()), list(files))
    train, test, sentence = stratified_split(
        source.labels, source.classes, test_fraction=test_fraction, seed=seed
    )
    return ImageData(
        name=root.name,
        location=str(root),
        train=Subset(source, train),
        test=Subset(source, test),
        classes=source.classes,
        split=sentence + _passed_over(folder),
        own_test=False,
    )


def _open_divided(root: Path, train_part: str, test_part: str) -> ImageData:
    if not _holds_classes(root / test_part):
        raise SenetError(
            f"{root / test_part} has no class folders: add them, or give {root / train_part} alone, which is "
            "then split."
        )
    train_files = _files_by_class(root, root / train_part)
    test_files = _files_by_class(root, root / test_part)
    unknown = [name for name in test_files if name not in train_files]
    if unknown:
        raise SenetError(
            f"{root / test_part} has a folder for {listed(unknown)} and {root / train_part} has none: both "
            "need the same class names."
        )
    train = FolderSource(root, list(train_files.values()), list(train_files))
    test = FolderSource(root, [test_files.get(name, []) for name in train_files], list(train_files))
    sentence = (
        f"The folders as given: {len(train):,} training images from {train_part}/ and {len(test):,} test "
        f"images from {test_part}/."
    )
    others = [name for name in _class_folders(root) if name not in (train_part, test_part)]
    if others:
        sentence += f" Not used: {listed(others)}."
    return ImageData(
        name=root.name,
        location=str(root),
        train=train,
        test=test,
        classes=train.classes,
        split=sentence
        + without_test_images(test.labels, train.classes)
        + _passed_over(root / train_part)
        + _passed_over(root / test_part),
    )


def _files_by_class(root: Path, folder: Path) -> dict[str, list[str]]:
    """Return each class of ``folder`` with its picture files relative to ``root``."""
    names = _class_folders(folder)
    above = frozenset((_identity(root), _identity(folder)))
    files = {name: sorted(_find_pictures(folder / name, root, above)) for name in names}
    if not any(files.values()):
        loose = len(_loose_pictures(folder))
        found = f"{loose:,} pictures, but none inside a class folder" if loose else "no pictures"
        raise SenetError(f"There are {found} in {folder}. {LAYOUT}")
    empty = [name for name in names if not files[name]]
    if empty:
        raise SenetError(
            f"{folder} has no pictures for {listed(empty)}: add some or remove the empty folder."
        )
    only = folder / names[0]
    inside = f" Did you mean {only}?" if len(names) == 1 and _holds_classes(only) else ""
    require_two_classes(names, str(folder), f" {LAYOUT}{inside}")
    return files


def _find_pictures(folder: Path, root: Path, above: frozenset[tuple[int, int]]) -> list[str]:
    """Return the picture files at any depth, as paths relative to ``root``, through links as well."""
    here = _identity(folder)
    if here in above:  # a link back to a folder above
        return []
    found = []
    for entry in _entries(folder):
        if entry.is_dir():
            found += _find_pictures(folder / entry.name, root, above | {here})
        elif _is_picture(entry.name):
            found.append((folder / entry.name).relative_to(root).as_posix())
    return found


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            visible = [e for e in entries if not e.name.startswith(".") and e.name not in IGNORED_NAMES]
    except OSError as error:
        raise SenetError(f"The folder {folder} cannot be opened ({error.strerror}).") from error
    return sorted(visible, key=lambda entry: entry.name)


def _class_folders(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if entry.is_dir()]


def _holds_classes(folder: Path) -> bool:
    """Tell a folder of class folders from a class that happens to be called "train"."""
    return bool(_class_folders(folder)) and not _loose_pictures(folder)


def _loose_pictures(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if not entry.is_dir() and _is_picture(entry.name)]


def _passed_over(folder: Path) -> str:
    loose = len(_loose_pictures(folder))
    return f" Not used: {loose:,} pictures in {folder.name}/ outside its class folders." if loose else ""


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
