"""A network on several crops of each image, their probabilities averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from senet.data.loader import ImageLoader
from senet.training.evaluate import Evaluation, answers_of, summed_up


class Ready(Protocol):
    """Makes bytes (N, C, H, W) ready for a network."""

    device: torch.device

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 images on the device."""


@dataclass(frozen=True, kw_only=True)
class ViewsEvaluation:
    """One look at every image, which may consist of several crops.

    Attributes:
        evaluation: loss, guesses and errors.
        confidence: the probability of the first guess for every image.
        probabilities: (N, classes) float32 on the CPU, where they were to be kept.
    """

    evaluation: Evaluation
    confidence: list[float]
    probabilities: Tensor | None


@torch.inference_mode()
def evaluate_views(
    model: nn.Module,
    loader: ImageLoader,
    normalise: Ready,
    autocast: torch.autocast,
    *,
    crops: int = 1,
    flip: bool = False,
    keep: bool = False,
    step: Callable[[int], None] | None = None,
) -> ViewsEvaluation:
    """Return how ``model`` does on every image of ``loader``; the model's mode is left as it was.

    With one crop that is not mirrored as well, the answers are those of `senet.training.evaluate`.

    Args:
        model: gives (N, classes) scores.
        loader: of images (N, crops · C, H, W), as `senet.data.views.Views` leaves them, with labels that
            are the model's.
        normalise: makes (N, C, H, W) images ready.
        autocast: surrounds the forward.
        crops: of each image.
        flip: average over each crop and its mirror image.
        keep: keep all probabilities, 4 bytes for each image and class.
        step: told how many images each batch had.
    """
    was_training = model.training
    model.eval()
    answers, confidence, kept = [], [], []
    for batch in loader.epoch(0):
        count, planes, height, width = batch.images.shape
        ready = normalise(batch.images.reshape(count * crops, planes // crops, height, width))
        with autocast:
            scores = [model(each).float() for each in ((ready, ready.flip(-1)) if flip else (ready,))]
        if len(scores) * crops > 1:
            shares = torch.stack([each.softmax(dim=1) for each in scores]).mean(dim=0)
            probabilities = shares.view(count, crops, -1).mean(dim=1)
            final = as_scores(probabilities)
        else:
            final = scores[0]
            probabilities = final.softmax(dim=1)
        loss, guesses, hits = answers_of(final, batch.labels.to(normalise.device))
        answers.append((loss.cpu(), guesses.cpu(), hits.cpu()))
        confidence.append(probabilities.amax(dim=1).cpu())
        if keep:
            kept.append(probabilities.cpu())
        if step:
            step(count)
    model.train(was_training)
    return ViewsEvaluation(
        evaluation=summed_up(answers),
        confidence=torch.cat(confidence).tolist(),
        probabilities=torch.cat(kept) if keep else None,
    )


def fuse(parts: Sequence[Tensor], labels: Tensor) -> ViewsEvaluation:
    """Return how the mean of several evaluations' probabilities does.

    Args:
        parts: of each evaluation, (N, classes).
        labels: (N,) int64.
    """
    mean = torch.stack(list(parts)).mean(dim=0)
    return ViewsEvaluation(
        evaluation=summed_up([answers_of(as_scores(mean), labels)]),
        confidence=mean.amax(dim=1).tolist(),
        probabilities=mean,
    )


def as_scores(probabilities: Tensor) -> Tensor:
    """Return scores whose softmax is ``probabilities``."""
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
