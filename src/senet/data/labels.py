"""From labels as they are stored, numbers or names, to one class mapping."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from senet.data.source import Indices, require_labels_in_range
from senet.data.split import listed, require_every_class, require_two_classes
from senet.errors import SenetError

WHOLE_NUMBER = re.compile(r"0|-?[1-9]\d*")


@dataclass(frozen=True, kw_only=True)
class StoredLabels:
    """The labels of one part, as stored.

    Attributes:
        values: (N,) int64 numbers, or (N,) strings.
        class_names: what the numbers stand for, where that is stored too.
        where: in which file or files, for errors.
    """

    values: npt.NDArray[Any]
    class_names: tuple[str, ...] | None
    where: str

    @property
    def are_indices(self) -> bool:
        """Whether the labels are indices into stored class names."""
        return self.class_names is not None and self.values.dtype.kind == "i"


def training_labels(stored: StoredLabels) -> tuple[tuple[str, ...], Indices]:
    """Return the class names, which the training part decides, and its labels, (N,) int64.

    Raises:
        SenetError: numbers outside the stored names or below 0, a class without images, or one class only.
    """
    values = stored.values
    if stored.are_indices:
        assert stored.class_names is not None
        classes, labels = stored.class_names, values
        require_labels_in_range(labels, classes, stored.where)
        require_every_class(labels, classes, stored.where)
    else:
        if values.dtype.kind == "i" and len(values):
            # Without names the numbers themselves are the names; only negative ones mean "no class".
            require_labels_in_range(values, range(int(values.max()) + 1), stored.where)
        distinct, positions = np.unique(values, return_inverse=True)
        classes = tuple(str(value) for value in distinct)
        labels = positions.astype(np.int64)
    require_two_classes(classes, stored.where)
    return classes, labels


def labels_of_test(stored: StoredLabels, classes: tuple[str, ...]) -> Indices:
    """Return the labels of the test part, (N,) int64, under the mapping of the training part.

    Raises:
        SenetError: stored names that differ, or a class that the training part lacks.
    """
    values = stored.values
    if stored.are_indices:
        if stored.class_names != classes:
            raise SenetError(
                f"{stored.where} names other classes than the training part, and they must agree."
            )
        require_labels_in_range(values, classes, stored.where)
        labels: Indices = values
        return labels
    position = {name: index for index, name in enumerate(classes)}
    unknown = sorted({str(value) for value in values.tolist()} - set(position))
    if unknown:
        raise SenetError(f"{stored.where} has images of {listed(unknown)} and the training part has none.")
    return np.array([position[str(value)] for value in values.tolist()], dtype=np.int64)


def from_column(column: Any, where: str) -> npt.NDArray[Any]:
    """Return a column of an Arrow table as int64 or as strings, one per image.

    Raises:
        SenetError: labels of another type, or rows without one.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise SenetError(
            f"Labels in {where} are of type {kind}: one whole number or name per image is needed."
        )
    if column.null_count:
        raise SenetError(f"{column.null_count:,} images in {where} have no label: remove those rows.")
    if pa.types.is_integer(kind):
        return np.asarray(column.to_numpy()).astype(np.int64)
    return np.array(column.to_pylist(), dtype=str)


def from_texts(texts: Sequence[str]) -> npt.NDArray[Any]:
    """Return labels read from text: int64 where every one is a whole number such as ``7``, else strings.

    ``007`` is a name: as a number it would become another one, ``7``.
    """
    if texts and all(WHOLE_NUMBER.fullmatch(text) for text in set(texts)):
        return np.array(texts, dtype=np.int64)
    return np.array(texts, dtype=str)
