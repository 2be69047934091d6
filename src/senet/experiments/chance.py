"""Whether answers to test images are better than those of somebody who did not look at the images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from senet.insight.results import ConstantAnswer
from senet.text import shortened

# One-sided, of each test here.
LEVEL = 0.05
# Agreement with the labels beyond chance (kappa) from which a network has learned something although its
# top-1 error is not below that of a constant answer, as where 95 of 100 images are of one class.
CLEAR_AGREEMENT = 0.3

Predictions = NDArray[np.int64]


@dataclass(frozen=True)
class TestImages:
    """The right answers, and what always giving one of them comes to."""

    __test__ = False  # pytest takes every class of this name for tests

    labels: NDArray[np.int64]
    classes: Sequence[str]
    constant: ConstantAnswer

    def name(self, label: int) -> str:
        """Return the name of a class in quotation marks."""
        return f"“{shortened(self.classes[label], 40)}”"

    @property
    def constant_right(self) -> NDArray[np.bool_]:
        """Whether the constant answer is right, for each image."""
        return np.equal(self.labels, self.constant.label)

    def learned(self, predictions: Predictions) -> bool:
        """Return whether a network's answers, (seeds, images), clearly depend on the images.

        They have to agree with the labels better than shuffled ones would, and besides either be right more
        often than the constant answer or agree clearly.
        """
        kappa, score = np.mean([agreement(each, self.labels) for each in predictions], axis=0)
        if score <= -special.ndtri(LEVEL):
            return False
        return bool(kappa >= CLEAR_AGREEMENT) or self.better_than_constant(predictions)

    def better_than_constant(self, predictions: Predictions) -> bool:
        """Return whether a network's answers, (seeds, images), are clearly right more often."""
        right = predictions == self.labels
        if len(right) == 1:
            return mcnemar(self.constant_right, right[0]) < LEVEL
        from senet.experiments.statistics import over_images  # here, as scipy.stats takes long to import

        constant = np.broadcast_to(self.constant_right, right.shape)
        return over_images(constant, right, 1 - 2 * LEVEL).high < 0


def agreement(predictions: Predictions, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Return how far answers agree with labels beyond chance, and how surprising that is.

    Args:
        predictions: a class index for each image.
        labels: the right one.

    Returns:
        Cohen's kappa, 1 for no mistake and 0 for answers that have nothing to do with the image, and the
        agreement's z score over all ways to shuffle the answers, corrected for continuity: J. Cohen, "A
        coefficient of agreement for nominal scales", Educ. Psychol. Meas. 20 (1960) 37-46.
    """
    count, size = len(labels), 1 + int(max(predictions.max(), labels.max()))
    true = np.bincount(labels, minlength=size).astype(float)
    guessed = np.bincount(predictions, minlength=size).astype(float)
    product = true * guessed
    expected, hits = float(product.sum()) / count, int((predictions == labels).sum())
    pairs = (product * (count - true) * (count - guessed)).sum() + product.sum() ** 2 - (product**2).sum()
    deviation = math.sqrt(float(pairs) / (count**2 * max(count - 1, 1)))
    kappa = (hits - expected) / (count - expected) if expected < count else 0.0
    return kappa, (hits - expected - 0.5) / deviation if deviation > 0 else 0.0


def mcnemar(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the p value of the exact one-sided test whether ``other`` is right more often than ``one``.

    Args:
        one: whether the one's answer to each image is right.
        other: the same of the other.
    """
    gained, lost = int((other & ~one).sum()), int((one & ~other).sum())
    if gained + lost == 0:
        return 1.0
    return float(special.bdtrc(gained - 1, gained + lost, 0.5)) if gained else 1.0
