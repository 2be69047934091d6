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
from senet.text import counted

# Digits of ASCII that fit into 64 bits.
WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
TEXT_TYPES = ("string", "large_string", "string_view")


@dataclass(frozen=True, kw_only=True)
class StoredLabels:
    """The labels of one part, as stored.

    Attributes:
        values: (N,) int64 numbers, or (N,) Python strings.
        class_names: what the numbers stand for, where that is stored too.
        where: in which file or files, for errors.
        note: a sentence on what was read and what was not, or ``""``.
    """

    values: npt.NDArray[Any]
    class_names: tuple[str, ...] | None
    where: str
    note: str = ""

    @property
    def are_indices(self) -> bool:
        """Whether the labels are indices into stored class names."""
        return self.class_names is not None and self.values.dtype.kind == "i"


def training_labels(stored: StoredLabels) -> tuple[tuple[str, ...], Indices]:
    """Return the class names, which the training part decides, and its labels, (N,) int64.

    Classes without stored names are in the order of their text, as folders are: 1, 10, 2.

    Raises:
        SenetError: numbers outside the stored names or below 0, a class without images, or one class only.
    """
    values = stored.values
    if stored.are_indices:
        assert stored.class_names is not None
        classes, labels = stored.class_names, values
        _require_indices(values, classes, stored.where)
        require_every_class(labels, classes, stored.where)
    else:
        if values.dtype.kind == "i" and (values < 0).any():
            raise SenetError(
                f"{stored.where} has "
                f"{counted(int(np.count_nonzero(values < 0)), 'negative label')} (the "
                "first "
                f"is {values[values < 0][0]}): images without a class cannot be used, so remove those "
                "rows."
            )
        distinct, positions = np.unique(values, return_inverse=True)
        names = [str(value) for value in distinct]
        order = sorted(range(len(names)), key=names.__getitem__)
        classes = tuple(names[number] for number in order)
        labels = np.argsort(order).astype(np.int64)[positions]
    require_two_classes(classes, stored.where)
    return classes, labels


def _require_indices(values: Indices, classes: tuple[str, ...], where: str) -> None:
    if len(values) and values.min() == 1 and values.max() == len(classes):
        raise SenetError(
            f"The labels in {where} run from 1 to {len(classes)}, but the {len(classes)} class names are "
            f"numbered from 0: subtract 1 from every label, so that 0 is {classes[0]!r}."
        )
    require_labels_in_range(values, classes, where)


def labels_of_test(stored: StoredLabels, classes: tuple[str, ...]) -> Indices:
    """Return the labels of the test part, (N,) int64, under the mapping of the training part.

    Raises:
        SenetError: stored names that differ, or a class that the training part lacks.
    """
    values = stored.values
    if stored.are_indices:
        if stored.class_names != classes:
            raise SenetError(
                f"The class names in {stored.where} differ from those of the training split: both must be "
                "the same."
            )
        _require_indices(values, classes, stored.where)
        labels: Indices = values
        return labels
    position = {name: index for index, name in enumerate(classes)}
    unknown = sorted({str(value) for value in values.tolist()} - set(position))
    if unknown:
        raise SenetError(f"{stored.where} has images of {listed(unknown)}, but the training split has none.")
    return np.array([position[str(value)] for value in values.tolist()], dtype=np.int64)


def from_column(column: Any, where: str) -> npt.NDArray[Any]:
    """Return a column of an Arrow table as int64 or as Python strings, one per image.

    Raises:
        SenetError: labels of another type or too large, or rows without one.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_number = pa.types.is_integer(kind)
    if not (is_number or pa.types.is_boolean(kind) or str(kind) in TEXT_TYPES):
        raise SenetError(
            f"The labels in {where} are of type {kind}: each image needs one whole number or one name."
        )
    column = column.cast(kind if is_number else pa.large_string())
    if column.null_count:
        raise _without_label(column.null_count, where)
    if not is_number:
        return _texts([text.strip() for text in column.to_pylist()], where)
    numbers = np.asarray(column.to_numpy())
    if len(numbers) and numbers.max() > np.iinfo(np.int64).max:
        raise SenetError(
            f"The label {numbers.max()} in {where} is too large for a class index: number the classes "
            "from 0, or use their names."
        )
    return numbers.astype(np.int64)


def from_texts(texts: Sequence[str], where: str) -> npt.NDArray[Any]:
    """Return labels read from text: int64 where every one is a whole number such as ``7``, else strings.

    ``007`` is a name, as a number it would become another one, ``7``; so is a number of 19 digits.

    Raises:
        SenetError: rows without a label.
    """
    if texts and all(WHOLE_NUMBER.fullmatch(text) for text in set(texts)):
        return np.array([int(text) for text in texts], dtype=np.int64)
    return _texts(texts, where)


def _texts(texts: Sequence[str], where: str) -> npt.NDArray[Any]:
    if "" in texts:
        raise _without_label(texts.count(""), where)
    # NumPy's own strings would lose a NUL at their end, and take the space of the longest each.
    return np.array(texts, dtype=object)


def _without_label(count: int, where: str) -> SenetError:
    has = "has" if count == 1 else "have"
    return SenetError(
        f"{counted(count, 'image')} in {where} {has} no label: remove those rows or fill in their labels."
    )
