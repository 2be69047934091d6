"""WebDataset shards: tar files with ``key.jpg`` and ``key.cls`` side by side, read in any order."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from senet.data.decode import UnreadableImage
from senet.data.labels import StoredLabels, from_texts
from senet.data.parquet import visible_files
from senet.data.parts import SplitFiles, files_named, make_parts, split_files
from senet.data.source import EncodedSource, ImageData, Indices
from senet.data.split import listed
from senet.data.tables import (
    LABEL_COLUMNS,
    class_names,
    features_in,
    read_json,
    require_distinct_names,
    short,
)
from senet.data.tar_index import ShardIndex, shard_index
from senet.errors import SenetError

# A process may usually have 1,024 files open.
MOST_OPEN = 512
JOINT = re.compile(r"::(?![^\[\]]*\])")
COMPRESSED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
# In one expression.
MOST_SHARDS = 100_000
MOST_DIGITS = 18
CLASSES_FILE = "classes.txt"
INFO_FILE = "dataset_info.json"
# One pair of braces: a range, {0000..0099}, or a choice, {train,val}.
BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


class TarSource(EncodedSource):
    """Picture files at known places inside tar files.

    Args:
        root: the folder that shards are relative to.
        shards: paths.
        indices: the samples of each.
        labels: (N,) int64.
        classes: names.
    """

    def __init__(
        self,
        root: Path,
        shards: Sequence[str],
        indices: Sequence[ShardIndex],
        labels: Indices,
        classes: Sequence[str],
    ) -> None:
        self.labels = labels
        self.classes = tuple(classes)
        self._root = root
        self._shards = tuple(shards)
        self._shard_of = np.repeat(np.arange(len(shards)), [len(index.offsets) for index in indices])
        self._offsets = np.concatenate([index.offsets for index in indices])
        self._sizes = np.concatenate([index.sizes for index in indices])
        self._names = pa.chunked_array([index.names for index in indices]).combine_chunks()
        self._open: dict[int, int] = {}

    def content(self, index: int) -> bytes:
        """Return the bytes of one picture."""
        shard, size = int(self._shard_of[index]), int(self._sizes[index])
        try:
            content = self._read(shard, size, int(self._offsets[index]))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UnreadableImage(self.name(index), f"the shard cannot be read ({reason})") from error
        if len(content) != size:
            raise UnreadableImage(self.name(index), "the shard is truncated")
        return content

    def _read(self, shard: int, size: int, offset: int) -> bytes:
        if not hasattr(os, "pread"):  # Windows
            with (self._root / self._shards[shard]).open("rb") as stream:
                stream.seek(offset)
                return stream.read(size)
        # Reading at a place needs no shared position, so processes may use one open file between them.
        descriptor = self._open.get(shard)
        if descriptor is None:
            descriptor = os.open(self._root / self._shards[shard], os.O_RDONLY)
            if len(self._open) >= MOST_OPEN:
                try:
                    return os.pread(descriptor, size, offset)
                finally:
                    os.close(descriptor)
            self._open[shard] = descriptor
        return os.pread(descriptor, size, offset)

    def name(self, index: int) -> str:
        """Return "train-0000.tar 007.jpg"."""
        return f"{self._shards[self._shard_of[index]]} {self._names[index].as_py()}"

    def names(self, indices: Indices) -> list[str]:
        """Return the names of many images at once."""
        shards, names = self._shard_of[indices].tolist(), self._names.take(pa.array(indices)).to_pylist()
        return [f"{self._shards[shard]} {name}" for shard, name in zip(shards, names, strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind: whoever unpickles the source opens its own."""
        return {**self.__dict__, "_open": {}}

    def __del__(self) -> None:
        for descriptor in self.__dict__.get("_open", {}).values():
            os.close(descriptor)


@dataclass(frozen=True)
class _TarPart:
    root: Path
    shards: Sequence[str]
    indices: Sequence[ShardIndex]
    stored: StoredLabels

    def source(self, labels: Indices, classes: tuple[str, ...]) -> TarSource:
        return TarSource(self.root, self.shards, self.indices, labels, classes)


def open_tar_folder(root: Path, *, test_fraction: float, seed: int) -> ImageData:
    """Open a folder of tar files at any depth.

    Raises:
        SenetError: as `open_tar_files`.
    """
    files = split_files(visible_files(root, ".tar"), "tar")
    return open_tar_files(root, files, test_fraction=test_fraction, seed=seed)


def open_tar_files(root: Path, files: SplitFiles, *, test_fraction: float, seed: int) -> ImageData:
    """Open tar files (paths relative to ``root``).

    Classes are named in ``classes.txt``, one on each line, or in ``dataset_info.json`` of Hugging Face,
    in ``root``; otherwise by the labels themselves.

    Raises:
        SenetError: a shard is missing, compressed or damaged, or a sample has no picture or no label.
    """
    every = files.train + files.test + files.others
    missing = next((shard for shard in every if not (root / shard).is_file()), None)
    if missing is not None:
        raise SenetError(f"There is no {root / missing}: correct the pattern or download the shard.")
    names = class_names_beside(root)
    return make_parts(root, files, partial(_read, root, names), test_fraction=test_fraction, seed=seed)


def class_names_beside(root: Path) -> tuple[str, ...] | None:
    """Return the class names that a file in ``root`` gives, or ``None``.

    Raises:
        SenetError: that file cannot be read, or names a class twice.
    """
    names: tuple[str, ...] | None = None
    path = root / CLASSES_FILE
    try:
        if path.is_file():
            lines = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
            names = tuple(line.strip() for line in lines)
        elif (path := root / INFO_FILE).is_file():
            features = features_in(read_json(path.read_bytes(), str(path)), str(path))
            found = (class_names(features.get(field), str(path)) for field in (*LABEL_COLUMNS, "cls"))
            names = next((each for each in found if each), None)
    except (OSError, UnicodeDecodeError) as error:
        raise SenetError(f"{path} cannot be read ({short(error)}): repair or remove it.") from error
    if names:
        require_distinct_names(names, str(path))
    return names


def _read(root: Path, given: tuple[str, ...] | None, shards: tuple[str, ...]) -> _TarPart:
    indices = [shard_index(root / shard) for shard in shards]
    where = files_named(shards)
    values = from_texts([label for index in indices for label in index.labels.to_pylist()], where)
    if given is not None and values.dtype.kind != "i":
        position = {name: number for number, name in enumerate(given)}
        unknown = sorted(set(values.tolist()) - set(position))
        if unknown:
            raise SenetError(
                f"{where} has images of {listed(unknown)}, which are not in the list of classes in "
                f"{root}: add them there."
            )
        values = np.array([position[label] for label in values.tolist()], dtype=np.int64)
    return _TarPart(root, shards, indices, StoredLabels(values=values, class_names=given, where=where))


def expand_braces(pattern: str) -> list[str]:
    """Return the names that a brace expression stands for, in their order.

    ``train-{0000..0099}.tar`` counts, with the zeros of its first number; ``{train,val}-0.tar`` chooses.
    ``::`` joins several expressions, as WebDataset writes them, but not inside ``[::1]``, a host.

    Raises:
        SenetError: a range counts downwards, or a brace stands alone.
    """
    names: list[str] = []
    for one in JOINT.split(pattern):
        pieces = BRACES.split(one)
        # Between the texts lie the three groups of each pair of braces.
        choices = [_choices(pattern, *pieces[start : start + 3]) for start in range(1, len(pieces), 4)]
        if math.prod(map(len, choices)) > MOST_SHARDS:
            raise SenetError(f"{pattern} stands for more than {MOST_SHARDS:,} shards: correct its ranges.")
        if any(brace in text for text in pieces[::4] for brace in "{}"):
            raise SenetError(
                f"The braces in {pattern} must contain a range such as {{0000..0099}} or a choice such as "
                f"{{train,val}}."
            )
        for chosen in product(*choices):
            names.append(pieces[0] + "".join(map("".join, zip(chosen, pieces[4::4], strict=True))))
    return names


def _choices(pattern: str, first: str | None, last: str | None, words: str | None) -> list[str]:
    if first is None or last is None:
        return [] if words is None else words.split(",")
    if max(len(first), len(last)) > MOST_DIGITS or int(last) - int(first) >= MOST_SHARDS:
        raise SenetError(f"The range in {pattern[:200]} has more than {MOST_SHARDS:,} shards: correct it.")
    if int(last) < int(first):
        raise SenetError(f"The range {{{first}..{last}}} in {pattern} counts down: swap its two numbers.")
    return [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
