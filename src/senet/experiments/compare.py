"""The main job: train a network and its SE twin on the same images and say what SE buys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.experiments.changed_images import changed_images
from senet.experiments.measure import measure_cost
from senet.experiments.plan import Plan, make_plan
from senet.experiments.progress import ComparisonProgress, SilentComparison
from senet.experiments.run_folder import versions
from senet.experiments.statistics import difference, verdict
from senet.experiments.twins import name_of_twin
from senet.insight.results import Comparison, MeasuredCost, TrainingRun, Variant
from senet.training.execution import Execution
from senet.training.lock import lock_folder
from senet.training.loop import train
from senet.training.processes import join_processes
from senet.training.recipe import Recipe

VARIANTS: tuple[Variant, ...] = ("plain", "se")


def compare(
    data: str | Path | None = None,
    *,
    model: str | None = None,
    se: SEConfig | Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
    seeds: int = 3,
    out: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    test_fraction: float | None = None,
    measure_seconds: float = 4.0,
    command: str | None = None,
    execution: Execution | None = None,
    progress: ComparisonProgress | None = None,
) -> tuple[Comparison, Path]:
    """Train a network and its SE twin over several seeds and compare their last epochs.

    Both networks of a seed start from the same values in every shared parameter and see the same
    images in the same order with the same augmentation. A comparison that was interrupted goes on
    where it stopped when it is called again with the same arguments.

    Args:
        data: a folder of class folders, a CSV list, parquet, Arrow or tar files, the name of a dataset on
            the Hugging Face Hub, or ``None`` for the embedded Fashion-MNIST subset; `senet.open_images`
            tells all that may be given.
        model: name of the network; ``None`` takes resnet8 for small images and resnet18 for others.
            ``"timm:NAME"``, ``"torchvision:NAME"``, ``"pytorchcv:NAME"`` and ``"package.module:factory"``
            (a callable that returns a network) compare any network with a copy that has SE in it.
        se: the twin's SE blocks, or a mapping with the settings that differ from the network's default.
        recipe: how to train; `Recipe()` by default.
        seeds: how many seeds, from 0.
        out: run folder; ``None`` names one under ``runs/``.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        workers: processes that decode images; ``None`` chooses.
        test_fraction: share of the images to test on where they come without a split (0.2 by default).
        measure_seconds: how long training and inference are each timed, side by side, after the trainings.
        command: what a reader should run to repeat this; ``None`` writes down this call.
        execution: how the trainings are computed. Under torchrun its processes share each of them.
        progress: told what happens.

    Returns:
        The comparison and its run folder, which holds checkpoints and settings. `senet.write_report`
        writes ``results.json`` and ``report.html`` into it.

    Raises:
        SenetError: something given cannot be used; the sentence says what to do.
        TrainingInterrupted: Ctrl-C; the same call goes on from there.
    """
    progress = progress or SilentComparison()
    if seeds < 1:
        raise SenetError(f"seeds is {seeds}; at least 1 is needed, and 3 or more to tell luck from effect.")
    execution = execution or Execution()
    with join_processes(execution.timeout_seconds) as processes:
        plan = make_plan(
            data,
            model=model,
            with_se=True,
            se=se,
            recipe=recipe,
            out=out,
            device=device,
            workers=workers,
            test_fraction=test_fraction,
            command=command,
            job="compare",
            execution=execution,
            processes=processes,
            seeds=seeds,
            checking=progress.checking,
            fetching=progress.fetching,
        )
        assert plan.se is not None
        progress.describe({**plan.facts(), "networks": _names(plan), "trainings": _trainings(plan, seeds)})
        with lock_folder(plan.folder, needed=processes.first):
            runs = _train_all(plan, tuple(range(seeds)), progress)
            progress.measuring()
            cost = processes.from_first(_measure(plan, measure_seconds) if processes.first else None)
            assert cost is not None
        return _conclude(plan, runs, cost), plan.folder


def _names(plan: Plan) -> str:
    assert plan.se is not None
    return f"{plan.model} and its twin {name_of_twin(plan.model)} (reduction {plan.se.reduction})"


def _trainings(plan: Plan, seeds: int) -> str:
    return f"{2 * seeds}: both networks with {seeds} seed{'s' if seeds > 1 else ''}, {plan.epochs()} each"


def _train_all(plan: Plan, seeds: tuple[int, ...], progress: ComparisonProgress) -> list[TrainingRun]:
    order = [(seed, variant) for seed in seeds for variant in VARIANTS]
    runs = []
    for number, (seed, variant) in enumerate(order, start=1):
        folder = plan.folder / f"seed{seed}-{variant}"
        result = train(
            plan.networks(seed)[VARIANTS.index(variant)],
            plan.images.loaders(seed=seed, workers=plan.workers, processes=plan.processes),
            plan.images.recipe,
            seed=seed,
            folder=folder,
            device=plan.device,
            identity={**plan.identity, "seed": seed, "variant": variant},
            progress=progress.training(number=number, total=len(order), seed=seed, variant=variant),
            execution=plan.execution,
            processes=plan.processes,
        )
        runs.append(
            TrainingRun(
                seed=seed,
                variant=variant,
                history=result.history,
                predictions=result.predictions,
                folder=folder.name,
                in_top5=result.in_top5,
            )
        )
    return runs


def _measure(plan: Plan, seconds: float) -> MeasuredCost:
    plain, se = plan.networks(seed=0)
    channels = plan.images.checked.channels
    return measure_cost(plain, se, plan.images.recipe, channels=channels, device=plan.device, seconds=seconds)


def _conclude(plan: Plan, runs: list[TrainingRun], cost: MeasuredCost) -> Comparison:
    test = plan.images.checked.data.test
    assert plan.se is not None
    seeds = tuple(dict.fromkeys(run.seed for run in runs))
    plain, se = (_stack(runs, variant, "predictions") for variant in VARIANTS)
    top1 = difference(plain == test.labels, se == test.labels)
    top5 = None
    if runs[0].in_top5 is not None:
        top5 = difference(_stack(runs, "plain", "in_top5"), _stack(runs, "se", "in_top5"))
    fixed, broken = changed_images(test, plain, se)
    return Comparison(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=plan.command,
        model=plan.model,
        se=asdict(plan.se),
        recipe=asdict(plan.images.recipe),
        seeds=seeds,
        versions=versions(plan.model),
        data=plan.images.summary(),
        runs=tuple(sorted(runs, key=lambda run: (VARIANTS.index(run.variant), run.seed))),
        cost=cost,
        top1=top1,
        top5=top5,
        verdict=verdict(top1, len(seeds)),
        fixed=fixed,
        broken=broken,
        seconds=sum(epoch.train_seconds for run in runs for epoch in run.history),
    )


def _stack(runs: list[TrainingRun], variant: Variant, name: str) -> NDArray[Any]:
    return np.array([getattr(run, name) for run in runs if run.variant == variant])
