"""What the networks' last answers say class by class: errors, confusions, changed answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from senet.insight.results import Comparison, Variant


@dataclass(frozen=True, kw_only=True)
class ClassError:
    """Error of one class in percent, mean over the seeds."""

    name: str
    test_images: int
    plain: float
    se: float

    @property
    def difference(self) -> float:
        """SE minus plain, percentage points."""
        return self.se - self.plain


@dataclass(frozen=True, kw_only=True)
class ConfusedPair:
    """How often images of class ``true`` were taken for ``guessed``, summed over the seeds."""

    true: str
    guessed: str
    plain: int
    se: int


def confusion_counts(comparison: Comparison, variant: Variant) -> NDArray[np.int64]:
    """Return how often each class was taken for each, shape (true, guessed), summed over the seeds."""
    classes = len(comparison.data.classes)
    labels = np.array(comparison.data.test_labels)
    counts = np.zeros((classes, classes), dtype=np.int64)
    for run in comparison.runs_of(variant):
        np.add.at(counts, (labels, np.array(run.predictions)), 1)
    return counts


def class_errors(comparison: Comparison) -> list[ClassError]:
    """Return the error of every class that has test images, in class order."""
    plain, se = confusion_counts(comparison, "plain"), confusion_counts(comparison, "se")
    answers = plain.sum(axis=1)
    return [
        ClassError(
            name=name,
            test_images=int(answers[i]) // len(comparison.seeds),
            plain=100 * float(1 - plain[i, i] / answers[i]),
            se=100 * float(1 - se[i, i] / answers[i]),
        )
        for i, name in enumerate(comparison.data.classes)
        if answers[i]
    ]


def most_changed(errors: list[ClassError], most: int) -> list[ClassError]:
    """Return at most ``most`` classes with the largest changes, those SE helped most first."""
    chosen = sorted(errors, key=lambda error: -abs(error.difference))[:most]
    return sorted(chosen, key=lambda error: error.difference)


def most_confused(comparison: Comparison, most: int) -> list[ConfusedPair]:
    """Return at most ``most`` pairs of classes, those confused most often by either network first."""
    plain, se = confusion_counts(comparison, "plain"), confusion_counts(comparison, "se")
    worst = np.maximum(plain, se)
    np.fill_diagonal(worst, 0)
    order = np.argsort(-worst, axis=None, kind="stable")[:most]
    names = comparison.data.classes
    pairs = (divmod(int(i), len(names)) for i in order)
    return [
        ConfusedPair(true=names[i], guessed=names[j], plain=int(plain[i, j]), se=int(se[i, j]))
        for i, j in pairs
        if worst[i, j]
    ]


def changed_answers(comparison: Comparison) -> tuple[int, int]:
    """Return how many answers SE fixed (plain wrong, SE right) and broke, summed over the seeds."""
    labels = np.array(comparison.data.test_labels)
    fixed = broken = 0
    for plain, se in zip(comparison.runs_of("plain"), comparison.runs_of("se"), strict=True):
        plain_right = np.array(plain.predictions) == labels
        se_right = np.array(se.predictions) == labels
        fixed += int((~plain_right & se_right).sum())
        broken += int((plain_right & ~se_right).sum())
    return fixed, broken
