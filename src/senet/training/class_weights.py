"""How much the images of each class weigh in the loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from senet.data.source import Indices
from senet.errors import SenetError, nearest
from senet.text import counted
from senet.training.recipe_rules import AUTO


def class_weights(setting: Sequence[str], labels: Indices, classes: Sequence[str]) -> Tensor | None:
    """Return the weight of each class in `senet.training.loss.training_loss`.

    ``auto`` gives class k of K with n_k of N images the weight N / (K n_k), so that all classes weigh the
    same. In a map, classes that are not named weigh 1. Weights are scaled so that their mean over the
    training images is 1, which N / (K n_k) has by itself: the loss of a batch can then be divided by its
    number of images, and the mean over the parts of a batch is that over the whole.

    Args:
        setting: the recipe's ``class_weights``: nothing, ``auto`` alone, or texts as in ``cat=2``.
        labels: (N,) of the training images.
        classes: names of the K classes, in label order.

    Returns:
        (K,) float32, or ``None`` where all classes weigh the same.

    Raises:
        SenetError: a name is no class, the map gives every class the same weight, or ``auto`` meets a class
            without training images.
    """
    if not setting:
        return None
    counts = np.bincount(labels, minlength=len(classes))
    if tuple(setting) == (AUTO,):
        empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
        if empty:
            raise SenetError(
                f"The class {empty[0]!r} has no training images, so class_weights auto cannot weight it: "
                "give the weights by class name, or leave out that class."
            )
        weights = 1.0 / counts
    else:
        weights = _from_map(setting, classes)
    if (weights == weights[0]).all():
        return None
    return torch.from_numpy(weights * (len(labels) / (counts * weights).sum())).float()


def _from_map(setting: Sequence[str], classes: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    weights = np.ones(len(classes))
    for text in setting:
        name, _, number = text.rpartition("=")
        if name not in classes:
            raise SenetError(
                f"class_weights names {name!r}, but the images have {counted(len(classes), 'class')}: "
                f"{_some(classes)}.{nearest(name, classes)}"
            )
        weights[list(classes).index(name)] = float(number)
    if (weights == weights[0]).all():
        raise SenetError(
            f"class_weights {' '.join(setting)} gives every class the same weight, which has no effect: "
            "give different weights, or leave it out."
        )
    return weights


def _some(classes: Sequence[str], most: int = 5) -> str:
    return ", ".join(classes[:most]) + (" and more" if len(classes) > most else "")
