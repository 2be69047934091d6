"""One evaluation's way through the images."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from senet.data.loader import make_loader
from senet.data.source import ArraySource, ImageSource, Subset
from senet.data.views import Views
from senet.errors import SenetError
from senet.experiments.evaluation_report import Error, EvaluationRow
from senet.experiments.evaluation_subject import Subject
from senet.experiments.progress import EvaluationProgress
from senet.experiments.view_settings import ViewSettings
from senet.text import counted
from senet.training.device import describe_device
from senet.training.evaluate_views import ViewsEvaluation, evaluate_views, fuse
from senet.training.optimiser import make_autocast
from senet.training.recipe import Precision, Recipe


@dataclass(frozen=True, kw_only=True)
class EvaluationJob:
    """Everything one evaluation runs with.

    Attributes:
        subject: what is evaluated.
        settings: sizes, crops and arithmetic.
        source: the images, with the network's outputs as labels.
        device: where to compute.
        workers: processes that decode images; ``None`` chooses.
        progress: told what happens.
    """

    subject: Subject
    settings: ViewSettings
    source: ImageSource
    device: torch.device
    workers: int | None
    progress: EvaluationProgress

    @property
    def precision(self) -> Precision:
        """Arithmetic that was asked for, or that the weights were tested with."""
        return self.settings.precision or self.subject.precision

    def facts(self, part: str, sights: Sequence[Views]) -> dict[str, str]:
        """Return what a user wants to know before it starts: label to text."""
        cuts = ", ".join(f"{each.size} of {each.resize} pixels" for each in sights)
        crops = self.settings.positions
        looked = f"{counted(crops, 'crop')}{' and mirrored' if self.settings.mirrored else ''}"
        return {
            "network": self.subject.network,
            "weights": self.subject.source,
            "images": part,
            "crop": f"{cuts}, {looked}",
            "preprocessing": self.subject.view.describe(),
            "device": f"{describe_device(self.device)}, {self.precision}",
        }

    def described(self) -> dict[str, Any]:
        """Return what the report tells of it."""
        return {
            "network": self.subject.network,
            "source": self.subject.source,
            "preprocess": self.subject.view.describe(),
            "crops": self.settings.positions,
            "flip": self.settings.mirrored,
            "precision": self.precision,
            "labels": tuple(self.source.labels.tolist()),
            "images": tuple(self.source.name(index) for index in range(len(self.source))),
        }

    def run(self, sights: Sequence[Views]) -> tuple[EvaluationRow, ...]:
        """Return one row for each size, and one for all."""
        model = self.subject.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        rows, kept = [], []
        for sight in sights:
            found = self._look(model, sight)
            if not math.isfinite(found.evaluation.loss):
                raise SenetError(
                    f"{self.subject.network} returns scores that are not finite in {self.precision} at "
                    f"{sight.size}×{sight.size} pixels, so its predictions are meaningless: use precision "
                    "fp32 (--precision fp32) or other weights."
                )
            rows.append(_row(str(sight.size), (sight,), found))
            if found.probabilities is not None:
                kept.append(found.probabilities)
        if self.settings.fuse:
            name = " + ".join(str(sight.size) for sight in sights)
            rows.append(_row(name, sights, fuse(kept, torch.from_numpy(self.source.labels))))
        return tuple(rows)

    def _look(self, model: nn.Module, sight: Views) -> ViewsEvaluation:
        batch = self.settings.batch_size or self.subject.batch
        loader = make_loader(
            self.source, sight, batch_size=batch, seed=0, workers=self._loading(), train=False
        )
        done = 0

        def step(images: int) -> None:
            nonlocal done
            done += images
            self.progress.evaluating(str(sight.size), done, len(self.source))

        try:
            return evaluate_views(
                model,
                loader,
                self.subject.view.normalise(self.device),
                make_autocast(Recipe(precision=self.precision), self.device),
                crops=sight.crops,
                flip=self.settings.mirrored,
                keep=self.settings.fuse,
                step=step,
            )
        except torch.OutOfMemoryError as error:
            raise SenetError(
                f"{counted(batch, 'image')} of {sight.size}×{sight.size} pixels in "
                f"{counted(sight.crops, 'crop')} do not fit into the memory of "
                f"{describe_device(self.device)}: choose a smaller batch_size."
            ) from error
        finally:
            loader.close()

    def _loading(self) -> int:
        """Return how many processes decode images: none where they lie decoded in memory."""
        if self.workers is not None:
            return self.workers
        return 0 if _in_memory(self.source) else min(8, os.cpu_count() or 1)


def _row(name: str, sights: Sequence[Views], found: ViewsEvaluation) -> EvaluationRow:
    evaluation = found.evaluation
    return EvaluationRow(
        view=name,
        sizes=tuple(sight.size for sight in sights),
        resizes=tuple(sight.resize for sight in sights),
        loss=evaluation.loss,
        top1=_error(evaluation.in_top1),
        top5=None if evaluation.in_top5 is None else _error(evaluation.in_top5),
        predictions=tuple(evaluation.predictions),
        confidence=tuple(found.confidence),
        in_top5=None if evaluation.in_top5 is None else tuple(evaluation.in_top5),
    )


def _error(hits: list[bool]) -> Error:
    return Error(wrong=hits.count(False), images=len(hits))


def _in_memory(source: ImageSource) -> bool:
    return isinstance(source.source if isinstance(source, Subset) else source, ArraySource)
