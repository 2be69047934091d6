"""Which of several folders are parts of the images, such as ``train/``, and which are classes."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from senet.data.listing import Ignored, entries, pictures_below, printable, subfolders
from senet.data.split import PartName, listed, part_of, stem_of
from senet.errors import SenetError

LAYOUT = (
    "The expected layout is one folder per class (cats/1.jpg, dogs/2.jpg), or such folders inside train/ "
    "and val/ (or test/)."
)
# What a part is called where others may have longer names.
PLAIN_NAMES = ("train", "training", "val", "valid", "validation", "test", "testing")


@dataclass(frozen=True)
class PartFolder:
    """One part of a divided folder: where its class folders are, and the names of these."""

    name: str
    part: PartName
    folder: Path
    classes: frozenset[str]


def part_folders(root: Path, names: Sequence[str]) -> list[PartFolder]:
    """Return the folders that are parts of the images: so called, and with class folders inside."""
    found = []
    for name in names:
        part = part_of(name)
        if part is not None:
            folder = _unwrapped(root / name)
            classes = frozenset(map(class_name, subfolders(folder)))
            if classes:
                found.append(PartFolder(name, part, folder, classes))
    # A class may have such a word in its name (bullet_train): a part has nothing else there, or the rest
    # or its class folders in common with another part.
    return [
        each
        for each in found
        if not stem_of(each.name)
        or any(
            other.part != each.part
            and (stem_of(other.name) == stem_of(each.name) or other.classes & each.classes)
            for other in found
        )
    ]


def _unwrapped(folder: Path) -> Path:
    """Return the folder that holds the class folders: ``seg_train/seg_train``, ``train/images``."""
    while True:
        inside = subfolders(folder)
        if len(inside) != 1 or not subfolders(folder / inside[0]):
            return folder
        same = inside[0].lower() == folder.name.lower() or not stem_of(inside[0])
        if not same or pictures_in(folder):
            return folder
        folder = folder / inside[0]


def only_part(parts: Sequence[PartFolder], root: Path) -> PartFolder | None:
    """Return the part of several that is called nothing else, such as ``train`` beside ``train_small``.

    Raises:
        SenetError: it is not clear which is meant.
    """
    plain = [part for part in parts if part.name.lower() in PLAIN_NAMES]
    if len(parts) > 1 and len(plain) != 1:
        names = " and ".join(f"{part.name}/" for part in parts)
        raise SenetError(
            f"{root} contains {names}, and it is not clear which to use: move the others elsewhere."
        )
    return next(iter(plain or parts), None)


def refuse_parts_as_classes(root: Path, names: Sequence[str], tests: Sequence[PartFolder]) -> None:
    """Raise `SenetError` where folders without a training part look like parts of the images."""
    if tests:
        raise SenetError(
            f"{root} contains {tests[0].name}/ with class folders but no train/: add train/, or rename "
            f"{tests[0].name}/ if it is a class."
        )
    kinds = {name: part for name in names if (part := part_of(name))}
    stems: dict[str, dict[PartName, str]] = defaultdict(dict)
    for name, part in kinds.items():
        stems[stem_of(name)].setdefault(part, name)
    bare = stems.pop("", {})
    several = next((found for found in stems.values() if len(found) > 1), None)
    if several is not None:
        raise SenetError(
            f"{root} contains {listed(sorted(several.values()))}, which look like the splits of one "
            "class: put training images into train/CLASS and test images into test/CLASS."
        )
    if bare and (len(bare) == len(names) or (len(bare) > 1 and len(names) <= 2 * len(bare))):
        raise SenetError(
            f"{root} is divided into {listed(sorted(bare.values()))}, but has no train/ with class "
            f"folders. {LAYOUT}"
        )


def refuse_train_beside_classes(root: Path, train: PartFolder, others: Sequence[str]) -> None:
    """Raise `SenetError` where a folder called train may as well be a class, as beside ``bus``."""
    beside = [name for name in others if _holds_pictures(root / name)]
    if beside:
        raise SenetError(
            f"{root} contains {train.name}/ with subfolders, but also {listed(beside)} with images: give "
            f"{train.folder} to train on that alone, or rename {train.name}/ if it is a class."
        )


def refuse_parts_below(root: Path, folder: Path, names: Sequence[str]) -> None:
    """Raise `SenetError` where what would be a class holds parts: one level too high, or classes first."""
    for name in names:
        inside = subfolders(folder / name)
        parts = [each for each in inside if part_of(each) and not stem_of(each)]
        kinds = {part_of(each) for each in parts}
        held = " and ".join(f"{each}/" for each in parts)
        if any(subfolders(folder / name / each) for each in parts) and "train" in kinds:
            raise SenetError(
                f"{name} contains {held}, the splits of a dataset: did you mean "
                f"{printable(str(folder / name))}?"
            )
        if len(kinds) > 1:
            raise SenetError(
                f"{printable(str(folder / name))} contains {held}, so test images would be trained on: "
                f"put the splits above the classes, as in train/{name} and test/{name}."
            )


def class_name(folder: str) -> str:
    """Return a folder's name as a class is called: file systems write ä in one character or in two."""
    return unicodedata.normalize("NFC", printable(folder))


def pictures_in(folder: Path) -> int:
    """Return how many pictures lie in a folder itself."""
    return sum(entry.kind == "picture" for entry in entries(folder))


def _holds_pictures(folder: Path) -> bool:
    return next(pictures_below(folder, (), Ignored()), None) is not None
