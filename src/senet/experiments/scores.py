"""Class scores of any model on labelled images, and how right they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from senet.errors import SenetError
from senet.insight.cost import RUN_FAILURES
from senet.insight.labelled import LabelledImages
from senet.text import counted
from senet.training.evaluate import Evaluation, not_finite_value

Loss = Callable[[Tensor, Tensor], Tensor]

# What rounding may change: folded or not, the same is multiplied in another order.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
_ROUNDING_OF_HALVES = 0.05


def evaluate_scores(model: nn.Module, images: LabelledImages, loss: Loss) -> Evaluation:
    """Return how ``model``, which is in evaluation mode, does on all images.

    Args:
        model: puts out class scores, (N, classes).
        images: to measure on.
        loss: of scores, float32 at least, and labels: the mean over a batch.

    Raises:
        SenetError: the model puts out something else or cannot run, a label is no class, or the loss is not
            finite.
    """
    total, guesses, labels, classes, impossible = 0.0, [], [], 0, False
    for batch, wanted in images:
        scores = scores_of(model, batch)
        classes = _check_labels(scores, wanted)
        impossible |= bool((scores.isnan() | scores.isposinf()).any())
        total += _mean_loss(loss, scores, wanted) * len(wanted)
        guesses.append(scores.topk(min(5, classes), dim=1).indices)
        labels.append(wanted)
    guessed, hits = torch.cat(guesses), torch.cat(guesses) == torch.cat(labels)[:, None]
    mean = total / len(guessed)
    if not math.isfinite(mean) or impossible:
        found = not_finite_value(model)
        what = "scores that are not finite" if impossible else f"a loss of {mean}"
        where = f" ({found})" if found else ""
        raise SenetError(
            f"This {type(model).__name__} has {what}, so it cannot be compared: check its weights{where} "
            "and the images."
        )
    return Evaluation(
        loss=mean,
        predictions=guessed[:, 0].tolist(),
        in_top1=hits[:, 0].tolist(),
        in_top5=hits.any(dim=1).tolist() if classes > 5 else None,
    )


@torch.no_grad()
def scores_of(model: nn.Module, images: Tensor) -> Tensor:
    """Return the class scores, (N, classes), float32 at least.

    Raises:
        SenetError: the model puts out something else or cannot run.
    """
    try:
        scores = model(images)
    except SenetError:
        raise
    except RUN_FAILURES as error:
        text = (str(error) or type(error).__name__).splitlines()[0]
        raise SenetError(
            f"{type(model).__name__} cannot run on images of shape {tuple(images.shape)}: {text}"
        ) from error
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != len(images):
        what = tuple(scores.shape) if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
        raise SenetError(
            f"{type(model).__name__} returns {what} for {counted(len(images), 'image')}: it must return "
            "class scores, (N, classes)."
        )
    return scores if scores.dtype == torch.float64 else scores.float()


def same_scores(scores: Tensor, wanted: Tensor, dtype: torch.dtype) -> bool:
    """Whether two scores are the same but for what rounding to ``dtype`` on the way may change."""
    difference = (scores - wanted).abs().max()
    return bool(difference <= _ROUNDING.get(dtype, _ROUNDING_OF_HALVES) * wanted.abs().max())


def _check_labels(scores: Tensor, labels: Tensor) -> int:
    classes = scores.shape[1]
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise SenetError(
            f"Labels must be from 0 to {classes - 1} for a model with {counted(classes, 'output')}, not "
            f"{int(outside[0])}."
        )
    return classes


def _mean_loss(loss: Loss, scores: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        value = loss(scores, labels)
    if not isinstance(value, Tensor | float) or (isinstance(value, Tensor) and value.numel() != 1):
        what = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise SenetError(f"The loss must be a single number, the mean over the batch, not {what}.")
    return float(value)
