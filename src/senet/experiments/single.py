"""Train one network with the engine that comparisons use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.experiments.arguments import checked, name_of_network, recipe_of, watcher
from senet.experiments.estimate import estimate
from senet.experiments.learning import Answers, examine
from senet.experiments.plan import Plan, make_plan
from senet.experiments.progress import ComparisonProgress
from senet.experiments.twins import name_of_plain, name_of_twin
from senet.insight.results import ConstantAnswer, Finding
from senet.networks.provenance import attach_provenance
from senet.shown import Rows, Shown, Table, skipped
from senet.training.execution import Execution
from senet.training.lock import lock_folder
from senet.training.loop import TrainingResult, train
from senet.training.processes import join_processes
from senet.training.progress import TrainingProgress
from senet.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True, repr=False)
class TrainedNetwork(Shown):
    """A network after its training.

    Attributes:
        model: with the last epoch's weights; their moving average where the recipe asks for one.
        classes: names in the order of the model's outputs.
        result: learning curve and answers to the test images.
        unreadable: ``(name, reason)`` of every image that was skipped.
        findings: what must be said before the result, such as that nothing was learned.
        warnings: sentences about the images, likewise.
        constant: what always predicting the most frequent class comes to.
        folder: with checkpoint, metrics and settings.
    """

    model: nn.Module
    classes: tuple[str, ...]
    result: TrainingResult
    unreadable: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    constant: ConstantAnswer
    folder: Path

    @property
    def errors(self) -> str:
        """The last epoch's errors on the test images, as a sentence."""
        last = self.result.history[-1]
        top5 = "" if last.top5_error is None else f", top-5 {last.top5_error:.2f} %"
        return f"Test error after epoch {last.epoch}: top-1 {last.top1_error:.2f} %{top5}"

    @property
    def notes(self) -> tuple[str, str]:
        """What to hold the errors against, and where the training lies, as sentences."""
        return (
            f"Always predicting the most frequent class: {self.constant.error:.2f} %",
            f"Checkpoint and metrics: {self.folder}",
        )

    def to_rows(self) -> Rows:
        """Return one row for each epoch."""
        return self.result.to_rows()

    def table(self) -> Table:
        """Return what must be known first, the errors, and a line for each epoch."""
        warnings = (*(each.sentence for each in self.findings), *self.warnings)
        notes = (*skipped(self.unreadable), *self.notes)
        return replace(self.result.table(), warnings=warnings, title=(self.errors,), notes=notes)


@checked("Display")
def train_one(
    data: str | Path | None = None,
    *,
    model: str,
    with_se: bool = False,
    se: SEConfig | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    seed: int = 0,
    weights: str | Path | None = None,
    out: str | Path | None = None,
    device: str | torch.device = "auto",
    workers: int | None = None,
    test_fraction: float | None = None,
    command: str | None = None,
    execution: Execution | None = None,
    progress: ComparisonProgress | bool | None = True,
) -> TrainedNetwork:
    """Train one network; the same call goes on where an interrupted one stopped.

    With ``out`` and a recipe of more epochs it extends one that ended, as `senet.compare` does.

    Under torchrun all its processes share the training.

    ``se_resnet20`` trained with seed 0 ends with the weights of the first SE training of a
    comparison of ``resnet20`` with the same recipe.

    Args are those of `senet.compare`, besides:
        model: name of the network, with ``se_`` for SE, or of one of another package.
        with_se: train the twin with SE, also where the name is that of the plain network.
        se: the twin's SE blocks; by default the network's own.
        seed: of initial weights, order and augmentation.
        weights: to start from, as `senet.compare` takes them.

    Returns:
        The trained network. Its folder holds ``checkpoint.pt``, ``metrics.csv`` and ``settings.json``.

    Raises:
        SenetError: something given cannot be used; the sentence says what to do.
        TrainingInterrupted: Ctrl-C; the same call resumes there.
    """
    recipe, name, progress = recipe_of(recipe), name_of_network(model), watcher(progress)
    if name is None:
        raise SenetError("model must be the name of a network, such as resnet18, not None.")
    with_se = with_se or name_of_plain(name) != name
    if se and not with_se:
        raise SenetError(
            f"SE settings have no effect on the plain network {model!r}: train {name_of_twin(model)!r} "
            "with with_se=True (--se), or leave them out."
        )
    execution = execution or Execution()
    with join_processes(execution.timeout_seconds) as processes:
        plan = make_plan(
            data,
            model=model,
            with_se=with_se,
            se=se,
            recipe=recipe,
            out=out,
            device=device,
            workers=workers,
            test_fraction=test_fraction,
            command=command,
            job="train",
            execution=execution,
            processes=processes,
            seed=seed,
            weights=weights,
            checking=progress.checking,
            fetching=progress.fetching,
        )
        name = name_of_twin(plan.model) if with_se else plan.model
        told = {**plan.facts(), "network": name, "training": f"{plan.epochs()}, seed {seed}"}
        progress.describe({**told, "time": estimate(plan, [plan.folder])})
        watching = progress.training(number=1, total=1, seed=seed, variant="se" if with_se else "plain")
        network, result = _train(plan, seed, watching)
    summary = plan.images.summary()
    answers = Answers(name="", network="", predictions=result.predictions, history=result.history)
    return TrainedNetwork(
        model=network,
        classes=plan.images.classes,
        result=result,
        unreadable=plan.images.checked.unreadable,
        findings=examine([answers], summary.test_labels, summary.classes, summary.constant_answer()),
        warnings=summary.warnings,
        constant=summary.constant_answer(),
        folder=plan.folder,
    )


def _train(plan: Plan, seed: int, progress: TrainingProgress) -> tuple[nn.Module, TrainingResult]:
    """Train the last of the planned networks, in the run folder itself."""
    with lock_folder(plan.folder, needed=plan.processes.first):
        network = plan.networks(seed)[-1]
        result = train(
            network,
            plan.images.loaders(seed=seed, workers=plan.workers, processes=plan.processes),
            plan.images.recipe,
            seed=seed,
            folder=plan.folder,
            device=plan.device,
            identity=plan.identity,
            provenance=plan.provenance,
            progress=progress,
            execution=plan.execution,
            processes=plan.processes,
        )
    attach_provenance(network, plan.provenance)
    return network, result
