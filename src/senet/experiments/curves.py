"""What a learning curve says about a training: that it diverged, was unsteady, or was not finished."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from senet.insight.results import EpochMetrics

Curve = Sequence[EpochMetrics]

# Guessing every class alike has the loss log(classes). Training losses above this many times that have
# diverged; test losses may be high for a while where BatchNorm lags behind, so they may be higher.
TRAIN_FACTOR, TEST_FACTOR = 2.0, 10.0
# A loss this many times as high as the lowest one before it has risen.
RISEN = 1.5
# Below this share of its peak a learning rate has decayed: every loss falls while it does.
DECAYED = 0.1
# What the loss falls by in an epoch, as a share of it, if learning goes on: at a rate that has not decayed;
# at one that has, where the loss is still above half of guessing's; and at one that has, in any case.
STILL_FALLING, STILL_HIGH_AND_FALLING, STEEP = 0.08, 0.10, 0.35
# The test error has to fall by this share of it in an epoch as well: a falling training loss alone may be
# memorising.
ERROR_FALLING = 0.03


def guessing(classes: int) -> float:
    """Return the loss of scores that are the same for every class."""
    return math.log(max(2, classes))


def diverged(curve: Curve, classes: int) -> str:
    """Return by what a training is known to have diverged, such as ``"test loss 7e+32 …"``, or ``""``.

    Args:
        curve: one training's; may be empty.
        classes: of the images.
    """
    if not curve:
        return ""
    last = curve[-1]
    for name, loss, factor in (
        ("training", last.train_loss, TRAIN_FACTOR),
        ("test", last.test_loss, TEST_FACTOR),
    ):
        if not loss <= factor * guessing(classes):
            shown = f"{loss:,.0f}" if 100 <= loss < 1e6 else f"{loss:.3g}"
            return f"{name} loss {shown} at the end, where guessing gives {guessing(classes):.2f}"
    return ""


def unsteady(curves: Sequence[Curve], classes: int) -> str:
    """Return a sentence where training losses rose instead of falling, else ``""``."""
    for curve in curves:
        losses = [epoch.train_loss for epoch in curve]
        lowest = min(losses)
        if losses[-1] > RISEN * lowest and losses[-1] - lowest > 0.1 * guessing(classes):
            epoch = curve[losses.index(lowest)].epoch
            return f"The training loss rose from {lowest:.2f} in epoch {epoch} to {losses[-1]:.2f}."
    return ""


def unfinished(curves: Sequence[Curve], classes: int) -> str:
    """Return a sentence where learning was not finished at the end, else ``""``.

    Looked at is the last third of the mean curve. A cosine schedule makes every loss fall until its end, so
    where the learning rate has decayed only a steep fall tells that more epochs are needed.

    Args:
        curves: of trainings with one recipe.
        classes: of the images.
    """
    if not curves:
        return ""
    if len(curves[0]) == 1:
        return "One epoch is too few to tell whether learning was finished."
    loss = _mean(curves, lambda epoch: epoch.train_loss)
    error = _mean(curves, lambda epoch: epoch.top1_error)
    epochs = max(1, len(loss) // 3)
    loss_fall, error_fall = _fall(loss, epochs), _fall(error, epochs)
    rates = [epoch.learning_rate for epoch in curves[0]]
    enough = STILL_FALLING
    if rates[-1] <= DECAYED * max(rates):
        enough = STILL_HIGH_AND_FALLING if loss[-1] > 0.5 * guessing(classes) else STEEP
    if loss_fall < enough or error_fall < ERROR_FALLING:
        return ""
    last = "in the last epoch" if epochs == 1 else f"in each of the last {epochs} epochs"
    return (
        f"Learning was not finished: the training loss was still falling by {100 * loss_fall:.0f} % "
        f"{last}, and the test error by {100 * error_fall:.0f} %."
    )


def _mean(curves: Sequence[Curve], value: Callable[[EpochMetrics], float]) -> NDArray[np.float64]:
    values = [[value(epoch) for epoch in curve] for curve in curves if len(curve) == len(curves[0])]
    return np.asarray(np.mean(values, axis=0))


def _fall(values: NDArray[np.float64], epochs: int) -> float:
    """Return by which share the values fell in each of the last epochs, on (geometric) average."""
    before, after = float(values[-1 - epochs]), float(values[-1])
    if before <= 0:
        return 0.0
    return float(1 - (max(after, 0.0) / before) ** (1 / epochs))
