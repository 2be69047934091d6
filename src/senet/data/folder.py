"""Folders of class folders: ``cats/1.jpg``, with or without ``train/`` and ``val/`` above."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from senet.data.decode import UnreadableImage
from senet.data.listing import (
    ARCHIVES,
    Ignored,
    entries,
    is_foreign_folder,
    open_regular,
    pictures_below,
    printable,
    subfolders,
)
from senet.data.part_folders import (
    LAYOUT,
    PartFolder,
    class_name,
    only_part,
    part_folders,
    pictures_in,
    refuse_parts_as_classes,
    refuse_parts_below,
    refuse_train_beside_classes,
)
from senet.data.source import EncodedSource, ImageData, Indices, Subset
from senet.data.split import (
    listed,
    part_of,
    require_two_classes,
    stratified_split,
    without_test_images,
)
from senet.errors import SenetError
from senet.text import counted, quoted

# One encoded picture; what is larger is something else, such as a sparse file behind a link.
MOST_BYTES = 1 << 30


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
            with os.fdopen(open_regular(path), "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                if size > MOST_BYTES:
                    raise UnreadableImage(
                        self.name(index),
                        f"the file has {size:,} bytes, more than the {MOST_BYTES:,} that are allowed",
                    )
                return stream.read()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UnreadableImage(self.name(index), f"the file cannot be opened ({reason})") from error

    def name(self, index: int) -> str:
        """Return the file's path, below the root unless it is absolute."""
        return str(self._files[index].as_py().decode(errors="backslashreplace"))

    def names(self, indices: Indices) -> list[str]:
        """Return the names of many images at once."""
        files = self._files.take(pa.array(indices)).to_pylist()
        return [file.decode(errors="backslashreplace") for file in files]


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
    depth, in the order of their paths. Hidden files are passed over; what else is no picture is counted.

    Raises:
        SenetError: no pictures, one class only, an empty class, a class too small to split, a class
            among the test images that the training images lack, or folders of which it is not clear
            whether they are parts or classes.
    """
    names = subfolders(root)
    parts = part_folders(root, names)
    train = only_part([part for part in parts if part.part == "train"], root)
    tests = [part for part in parts if part.part != "train"]
    if train is None:
        refuse_parts_as_classes(root, names, tests)
        return _open_undivided(root, root, test_fraction=test_fraction, seed=seed)
    flat = [
        name
        for name in names
        if part_of(name) in ("val", "test") and name not in {test.name for test in tests}
    ]
    if not tests and flat:
        raise SenetError(
            f"{root / flat[0]} has no class folders: add them, or give {train.folder} alone, from which "
            "test images are then split off."
        )
    if not tests:
        others = [name for name in names if name != train.name]
        refuse_train_beside_classes(root, train, others)
        return _open_undivided(root, train.folder, test_fraction=test_fraction, seed=seed)
    # A test part is often published without labels, so a validation part is preferred.
    test = only_part([part for part in tests if part.part == "val"], root) or only_part(tests, root)
    assert test is not None
    return _open_divided(root, train, test)


def _open_undivided(root: Path, folder: Path, *, test_fraction: float, seed: int) -> ImageData:
    ignored = _ignored(root, [folder])
    files = _files_by_class(root, folder, ignored)
    source = FolderSource(root, list(files.values()), list(files))
    train, test, sentence = stratified_split(
        source.labels, source.classes, test_fraction=test_fraction, seed=seed
    )
    return ImageData(
        name=printable(root.name),
        location=str(root),
        train=Subset(source, train),
        test=Subset(source, test),
        classes=source.classes,
        split=sentence + ignored.sentence(),
        own_test=False,
        warnings=_warnings(folder, source.classes, ignored),
    )


def _open_divided(root: Path, train_part: PartFolder, test_part: PartFolder) -> ImageData:
    ignored = _ignored(root, [train_part.folder, test_part.folder])
    train_files = _files_by_class(root, train_part.folder, ignored)
    test_files = _files_by_class(root, test_part.folder, ignored)
    unknown = [name for name in test_files if name not in train_files]
    if unknown:
        alike = {name.casefold().strip(): name for name in train_files}.get(unknown[0].casefold().strip())
        hint = f" (did you mean {quoted(alike)}?)" if alike else ""
        raise SenetError(
            f"{test_part.folder} has a folder for {listed(unknown)} but {train_part.folder} does "
            f"not{hint}: both need the same class names."
        )
    train = FolderSource(root, list(train_files.values()), list(train_files))
    test = FolderSource(root, [test_files.get(name, []) for name in train_files], list(train_files))
    return ImageData(
        name=printable(root.name),
        location=str(root),
        train=train,
        test=test,
        classes=train.classes,
        split=f"Split as given: {counted(len(train), 'training image')} from {train_part.name}/ and "
        f"{counted(len(test), 'test image')} from {test_part.name}/."
        + without_test_images(test.labels, train.classes)
        + ignored.sentence(),
        warnings=_warnings(train_part.folder, train.classes, ignored),
    )


def _ignored(root: Path, used: Sequence[Path]) -> Ignored:
    """Return what lies beside the folders that are used, from the root down to them."""
    ignored = Ignored()
    for folder in dict.fromkeys(above for each in used for above in (each, *each.parents)):
        if not folder.is_relative_to(root):
            continue
        holds_classes = folder in used
        for entry in entries(folder):
            path = folder / entry.name
            if entry.kind == "picture":
                ignored.outside[printable(folder.name)] += 1
            elif entry.kind != "folder":
                ignored.add(str(folder.relative_to(root)), entry)
            elif is_foreign_folder(path) or not (
                holds_classes or any(each.is_relative_to(path) for each in used)
            ):
                ignored.folders.append(printable(str(path.relative_to(root))))
    return ignored


def _warnings(folder: Path, classes: Sequence[str], ignored: Ignored) -> tuple[str, ...]:
    """Return sentences on what may be not as the user thinks, though it can be trained on."""
    found = [ignored.unread()]
    by_case: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        by_case[name.casefold().strip()].append(name)
    alike = next((names for names in by_case.values() if len(names) > 1), None)
    if alike:
        found.append(f"The classes {listed(alike)} differ only in upper and lower case or spaces.")
    inside = [frozenset(subfolders(folder / name)) for name in subfolders(folder)]
    if len(set(inside)) == 1 and len(inside[0]) > 1:
        found.append(
            f"All class folders contain the same subfolders, {listed(sorted(inside[0]))}, whose images "
            f"are merged: if those are the classes rather than {listed(classes)}, move them one level up."
        )
    return tuple(sentence for sentence in found if sentence)


def _files_by_class(root: Path, folder: Path, ignored: Ignored) -> dict[str, list[str]]:
    """Return each class of ``folder`` with its picture files relative to ``root``."""
    names = subfolders(folder)
    refuse_parts_below(root, folder, names)
    start = folder.relative_to(root).as_posix()
    prefix = "" if start == "." else f"{start}/"
    passed_over = Ignored()
    files: dict[str, list[str]] = {}
    for name in names:
        found = (
            f"{prefix}{name}/{file}" for file in pictures_below(folder / name, (root, folder), passed_over)
        )
        if class_name(name) in files:
            raise SenetError(
                f"{folder} has two folders named {quoted(class_name(name))} that differ only in how Unicode "
                "encodes their letters: rename one, or merge them."
            )
        files[class_name(name)] = sorted(found)
    ignored.merge(passed_over)
    if not any(files.values()):
        raise _no_pictures(folder, passed_over)
    empty = [name for name in names if not files[class_name(name)]]
    if empty:
        instead = Ignored()
        for name in empty:
            list(pictures_below(folder / name, (), instead))
        raise SenetError(
            f"{folder} has no images for {listed(empty)}{instead.found()}: add some or remove the folder."
        )
    if len(names) == 1:
        _refuse_one_class(folder, names[0])
    return {name: files[name] for name in sorted(files)}


def _no_pictures(folder: Path, passed_over: Ignored) -> SenetError:
    loose = pictures_in(folder)
    where = printable(str(folder))
    if loose:
        instead = _instead(folder)
        return SenetError(
            f"{where} has {counted(loose, 'image')} but no class folder with images. {LAYOUT}{instead}"
        )
    here = _ignored(folder, [folder])
    here.merge(passed_over)
    if not entries(folder):
        return SenetError(f"The folder {where} is empty. {LAYOUT}")
    sentences = (
        f"There are no images in {where}{here.found()}.",
        here.unread(),
        LAYOUT,
        _instead(folder),
        here.named_folders(),
    )
    return SenetError(" ".join(sentence.strip() for sentence in sentences if sentence))


def _refuse_one_class(folder: Path, name: str) -> None:
    inside = _unwrapped_to_classes(folder / name)
    hint = f" Did you mean {printable(str(inside))}?" if inside else ""
    require_two_classes([class_name(name)], printable(str(folder)), f" {LAYOUT}{hint}{_instead(folder)}")


def _instead(folder: Path) -> str:
    """Return what to use instead of a folder without class folders: a list or an archive in it, or ``""``."""
    for entry in entries(folder):
        suffix = Path(entry.name).suffix.lower()
        if entry.kind == "other" and suffix in (".csv", ".tsv"):
            return f" If {quoted(entry.name)} lists the images, give {printable(str(folder / entry.name))}."
        if entry.kind == "other" and suffix in ARCHIVES:
            return f" Unpack {quoted(entry.name)} first, if the images are in it."
    return ""


def _unwrapped_to_classes(folder: Path) -> Path | None:
    """Return the first folder from this one down that holds several folders, or ``None``."""
    while len(inside := subfolders(folder)) == 1 and not pictures_in(folder):
        folder = folder / inside[0]
    return folder if len(inside) > 1 else None
