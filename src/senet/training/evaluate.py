"""Loss and errors of a network on the test images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from senet.data.loader import ImageLoader
from senet.errors import SenetError
from senet.training.images import Normalise
from senet.training.processes import ALONE, Processes

STATISTICS = ("running_mean", "running_var")
"""How the names of BatchNorm's statistics end."""

Answers = tuple[Tensor, Tensor, Tensor]
"""Of one batch: the sum of its losses, its first guesses, and whether they and the first five are right."""


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


def evaluate(
    model: nn.Module,
    loader: ImageLoader,
    normalise: Normalise,
    autocast: torch.autocast,
    processes: Processes = ALONE,
    *,
    sharded: bool = False,
) -> Evaluation:
    """Return how ``model`` does on every image of ``loader``; the model's mode is left as it was.

    Args:
        model: gives (N, classes) scores.
        loader: of the test images; each process loads its share of the batches.
        normalise: makes images ready.
        autocast: surrounds the forward.
        processes: those that share the batches; all get the same answer.
        sharded: whether the processes share the weights as well, and so must run equally often.
    """
    was_training = model.training
    model.eval()
    # What FSDP gathers in inference mode could not be trained on afterwards.
    with torch.no_grad() if sharded else torch.inference_mode():
        answers = []
        for batch in loader.epoch(0):
            with autocast:
                scores = model(normalise(batch.images)).float()
            answers.append(answers_of(scores, batch.labels.to(normalise.device)))
        if sharded and len(answers) < math.ceil(len(loader) / processes.count):
            model(normalise(torch.zeros(1, *loader.image_shape, dtype=torch.uint8)))
    model.train(was_training)
    shares = processes.gather([(loss.cpu(), guess.cpu(), hit.cpu()) for loss, guess, hit in answers])
    in_order = [shares[batch % processes.count][batch // processes.count] for batch in range(len(loader))]
    return summed_up(in_order)


def summed_up(answers: Sequence[Answers]) -> Evaluation:
    """Return the evaluation that batches in the order of the images make together."""
    losses, guesses, hits = (torch.cat(parts) for parts in zip(*answers, strict=True))
    return Evaluation(
        loss=losses.sum().item() / len(guesses),
        predictions=guesses.tolist(),
        in_top1=hits[:, 0].tolist(),
        in_top5=hits[:, 1].tolist() if hits.shape[1] > 1 else None,
    )


def answers_of(scores: Tensor, labels: Tensor) -> Answers:
    """Return what scores (N, classes) say: the losses' sum (1,), first guesses (N,), hits (N, 1 or 2)."""
    loss = functional.cross_entropy(scores, labels, reduction="sum").double().view(1)
    guesses = scores.topk(min(5, scores.shape[1]), dim=1).indices
    hits = guesses == labels[:, None]
    within = [hits[:, 0]] if scores.shape[1] <= 5 else [hits[:, 0], hits.any(dim=1)]
    return loss, guesses[:, 0], torch.stack(within, dim=1)


def not_finite_value(model: nn.Module) -> str:
    """Return which parameter or statistic of BatchNorm no network can compute with, or an empty text.

    Other buffers, such as masks of attention, may be infinite.
    """
    statistics = ((name, each) for name, each in model.named_buffers() if name.endswith(STATISTICS))
    for name, each in (*model.named_parameters(), *statistics):
        if each.is_meta or not each.is_floating_point():
            continue
        good = torch.isfinite(each)
        if name.endswith("running_var"):
            good &= each >= 0
        if not bool(good.all()):
            return f"{name} contains {each[~good].flatten()[0].item():g}"
    return ""


def refuse_not_finite(model: nn.Module, name: str) -> None:
    """Raise `SenetError` where a network has values that no network can compute with."""
    found = not_finite_value(model)
    if found:
        raise SenetError(
            f"{name} cannot be evaluated: {found}, so its predictions are meaningless; use weights from a "
            "training that did not diverge, or load the file again."
        )


def _percent_missed(hits: list[bool]) -> float:
    return 100 * hits.count(False) / len(hits)
