"""Loss and errors of a network on the test images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from senet.data.loader import ImageLoader
from senet.training.images import Normalise


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One look at all test images, in their order.

    Attributes:
        loss: mean cross-entropy.
        predictions: the first guess for every image.
        in_top1: whether it is right.
        in_top5: whether the right class is among five guesses; ``None`` with five classes or fewer.
    """

    loss: float
    predictions: list[int]
    in_top1: list[bool]
    in_top5: list[bool] | None

    @property
    def top1_error(self) -> float:
        """Percent of images whose first guess is wrong."""
        return _percent_missed(self.in_top1)

    @property
    def top5_error(self) -> float | None:
        """Percent of images without the right class among five guesses."""
        return None if self.in_top5 is None else _percent_missed(self.in_top5)


@torch.inference_mode()
def evaluate(
    model: nn.Module, loader: ImageLoader, normalise: Normalise, autocast: torch.autocast
) -> Evaluation:
    """Return how ``model`` does on every image of ``loader``; the model's mode is left as it was."""
    was_training = model.training
    model.eval()
    losses, guesses, labels = [], [], []
    for batch in loader.epoch(0):
        wanted = batch.labels.to(normalise.device)
        with autocast:
            scores = model(normalise(batch.images)).float()
        losses.append(functional.cross_entropy(scores, wanted, reduction="sum").double())
        guesses.append(scores.topk(min(5, scores.shape[1]), dim=1).indices)
        labels.append(wanted)
        classes = scores.shape[1]
    model.train(was_training)
    guessed, hits = torch.cat(guesses), torch.cat(guesses) == torch.cat(labels)[:, None]
    return Evaluation(
        loss=torch.stack(losses).sum().item() / len(guessed),
        predictions=guessed[:, 0].tolist(),
        in_top1=hits[:, 0].tolist(),
        in_top5=hits.any(dim=1).tolist() if classes > 5 else None,
    )


def _percent_missed(hits: list[bool]) -> float:
    return 100 * hits.count(False) / len(hits)
