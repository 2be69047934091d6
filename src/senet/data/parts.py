"""Which files hold the training part and which the test part, and the images made of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from senet.data.labels import StoredLabels, labels_of_test, training_labels
from senet.data.source import ImageData, ImageSource, Indices, Subset
from senet.data.split import PartName, listed, part_of, stratified_split, without_test_images
from senet.errors import SenetError
from senet.text import counted


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """Which files hold which part; ``test`` is empty where the training part must be split."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    others: tuple[str, ...]


class StoredPart(Protocol):
    """One part as it was read: its labels, and its images once the class mapping is known."""

    @property
    def stored(self) -> StoredLabels:
        """Return the labels as stored."""

    def source(self, labels: Indices, classes: tuple[str, ...]) -> ImageSource:
        """Return the images under a class mapping."""


def split_files(files: Sequence[str], kind: str) -> SplitFiles:
    """Sort files into parts by their names, as in ``data/train-00000-of-00002.parquet``.

    The file's own name counts, then the folders from the nearest up, as `part_of` reads them. A
    validation part is preferred over a test part. Files without any such word are one whole.

    Args:
        files: paths with ``/``.
        kind: for errors, for example ``"parquet"``.

    Raises:
        SenetError: there is a test part without a training part.
    """
    roles = {file: role_of(file) for file in sorted(files)}
    if not any(roles.values()):
        return SplitFiles(train=tuple(roles), test=(), others=())
    train = tuple(file for file, role in roles.items() if role == "train")
    if not train:
        suffix = PurePosixPath(files[0]).suffix
        raise SenetError(
            f"None of the {kind} files {listed(list(roles))} is a training split: name it train-…{suffix}."
        )
    # A test part is often published without labels.
    test_role = "val" if "val" in roles.values() else "test"
    test = tuple(file for file, role in roles.items() if role == test_role)
    return SplitFiles(train=train, test=test, others=tuple(f for f in roles if f not in train + test))


def role_of(file: str) -> PartName | None:
    """Return the part that a file's name tells, or else the nearest of its folders that tells one."""
    path = PurePosixPath(file)
    names = (path.stem, *reversed(path.parts[:-1]))
    return next((part for name in names if (part := part_of(name)) is not None), None)


def make_parts(
    root: Path,
    files: SplitFiles,
    read: Callable[[tuple[str, ...]], StoredPart],
    *,
    test_fraction: float,
    seed: int,
    wrap: Callable[[ImageSource], ImageSource] = lambda source: source,
) -> ImageData:
    """Read the training part and the test part, or split the one there is.

    Args:
        root: what the files lie in; its name becomes the data's.
        files: of each part.
        read: reads the files of one part.
        test_fraction: of each class, where there is no test part.
        seed: of that split.
        wrap: put around the images of each part.

    Raises:
        SenetError: a part has no images, or as ``read``, `training_labels`, `labels_of_test` and
            `stratified_split`.
    """
    part = read(files.train)
    _require_rows(part)
    note = part.stored.note
    classes, labels = training_labels(part.stored)
    train = part.source(labels, classes)
    if files.test:
        part = read(files.test)
        _require_rows(part)
        labels = labels_of_test(part.stored, classes)
        test = part.source(labels, classes)
        sentence = (
            f"Split as given: {counted(len(train), 'training image')} from {files_named(files.train)} and "
            f"{counted(len(test), 'test image')} from {files_named(files.test)}."
        ) + without_test_images(labels, classes)
    else:
        chosen, rest, sentence = stratified_split(labels, classes, test_fraction=test_fraction, seed=seed)
        train, test = Subset(train, chosen), Subset(train, rest)
        if role_of(PurePosixPath(files.train[0]).name) in ("val", "test"):
            sentence += (
                f" {files.train[0]} is named like a test split but was given alone, so it is trained on."
            )
    if files.others:
        sentence += f" Ignored: {listed(files.others)}."
    return ImageData(
        name=root.name,
        location=str(root),
        train=wrap(train),
        test=wrap(test),
        classes=classes,
        split=sentence + note,
        own_test=bool(files.test),
    )


def _require_rows(part: StoredPart) -> None:
    if not len(part.stored.values):
        raise SenetError(f"There are no images in {part.stored.where}: add some, or remove it.")


def files_named(files: Sequence[str]) -> str:
    """Return ``"train.parquet"`` or ``"2 files (train-0.parquet …)"``."""
    return files[0] if len(files) == 1 else f"{counted(len(files), 'file')} ({files[0]} …)"
