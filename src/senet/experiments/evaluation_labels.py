"""Which output of a network stands for which class of the images."""

from __future__ import annotations

import re

import numpy as np

from senet.data.source import Indices
from senet.errors import SenetError, nearest
from senet.networks.preprocess import WORDNET_ORDER
from senet.text import counted

_WORDNET_ID = re.compile(r"n\d{8}")
_IMAGENET_CLASSES = 1000


def match_classes(
    data: tuple[str, ...], outputs: int, names: tuple[str, ...] | None, order: str | None
) -> tuple[Indices, tuple[str, ...], tuple[str, ...]]:
    """Match the classes of images to a network's outputs.

    Args:
        data: the images' class names.
        outputs: scores the network puts out.
        names: of the outputs, where the weights tell them.
        order: the name of the outputs' order, where the weights tell that.

    Returns:
        The output for each class of the images, a name for each output, and sentences on what is assumed.

    Raises:
        SenetError: a class of the images is none of the network's.
    """
    if names is not None and len(names) == outputs:
        return _by_name(data, names), names, ()
    if len(data) != outputs:
        raise SenetError(
            f"The network has {counted(outputs, 'output')} but the images have "
            f"{counted(len(data), 'class')}, and the weights do not contain class names to match them: "
            "give images of all the network's classes, or weights with class names "
            "(senet.save_weights(..., classes=...))."
        )
    numbers = [int(name) if name.isascii() and name.isdigit() else -1 for name in data]
    if sorted(numbers) == list(range(outputs)):
        # Sorted as text, 10 would come before 2.
        return np.array(numbers, dtype=np.int64), _ordered(data, numbers), ()
    if all(_WORDNET_ID.fullmatch(name) for name in data):
        positions = {name: position for position, name in enumerate(sorted(data))}
        return np.array([positions[name] for name in data], dtype=np.int64), tuple(sorted(data)), ()
    if order == WORDNET_ORDER or outputs == _IMAGENET_CLASSES:
        note = (
            "The outputs are in the order of ImageNet's WordNet ids, but the class names of the images "
            f"({data[0]}, {data[1]}, …) are not WordNet ids, so they were matched by position. If nearly "
            "all predictions are wrong, name the folders n01440764 and so on."
        )
    else:
        note = "The weights contain no class names, so the classes of the images were matched by position."
    return np.arange(outputs, dtype=np.int64), data, (note,)


def _by_name(data: tuple[str, ...], names: tuple[str, ...]) -> Indices:
    positions = {name: position for position, name in enumerate(names)}
    for name in data:
        if name not in positions:
            shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            raise SenetError(
                f"The images have a class {name!r} that the network does not know ({shown}): rename or "
                f"remove it.{nearest(name, names)}"
            )
    return np.array([positions[name] for name in data], dtype=np.int64)


def _ordered(data: tuple[str, ...], numbers: list[int]) -> tuple[str, ...]:
    return tuple(name for _, name in sorted(zip(numbers, data, strict=True)))
