"""The main job: train a network and its SE twin on the same images and say what SE buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from senet.blocks.se_config import SEConfig
from senet.experiments.arguments import checked, name_of_network, recipe_of, watcher
from senet.experiments.changed_images import changed_images
from senet.experiments.concluded import read_concluded, write_concluded
from senet.experiments.estimate import estimate
from senet.experiments.learning import Answers, examine, not_learned
from senet.experiments.measure import measure_cost
from senet.experiments.parallel import check_parallel, describe_parallel, devices, train_all
from senet.experiments.plan import Plan, make_plan
from senet.experiments.progress import ComparisonProgress
from senet.experiments.run_folder import versions
from senet.experiments.trainings import VARIANTS, Training, finished_run, trainings_of
from senet.experiments.twins import name_of_twin
from senet.insight.results import Comparison, MeasuredCost, TrainingRun, Variant
from senet.text import counted
from senet.training.device import describe_device
from senet.training.execution import Execution
from senet.training.processes import join_processes
from senet.training.recipe import Recipe


@checked("Display")
def compare(
    data: str | Path | None = None,
    *,
    model: str | None = None,
    se: SEConfig | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    seeds: int = 3,
    weights: str | Path | None = None,
    out: str | Path | None = None,
    device: str | torch.device = "auto",
    workers: int | None = None,
    test_fraction: float | None = None,
    parallel: int = 1,
    measure_seconds: float = 4.0,
    command: str | None = None,
    execution: Execution | None = None,
    progress: ComparisonProgress | bool | None = True,
) -> tuple[Comparison, Path]:
    """Train a network and its SE twin over several seeds and compare their last epochs.

    Both networks of a seed start from the same values in every shared parameter and see the same
    images in the same order with the same augmentation. A comparison that was interrupted goes on
    where it stopped when it is called again with the same arguments. With ``out`` and a recipe of more epochs
    one that ended is extended, unless its schedule depends on the number of epochs.

    Args:
        data: a folder of class folders, a CSV list, parquet, Arrow or tar files, the name of a dataset on
            the Hugging Face Hub, or ``None`` for the embedded Fashion-MNIST subset; `senet.open_images`
            tells all that may be given.
        model: name of the network; ``None`` takes resnet8 for small images and resnet18 for others.
            ``"timm:NAME"``, ``"torchvision:NAME"``, ``"pytorchcv:NAME"`` and ``"package.module:factory"``
            (a callable that returns a network) compare any network with a copy that has SE in it.
        se: the twin's SE blocks, or a mapping with the settings that differ from the network's default.
        recipe: how to train: a `Recipe`, the name or file of one, or a mapping of its settings.
        seeds: how many seeds, from 0.
        weights: that both networks start from: a file, one of `senet.list_weights`, a repository of the Hub,
            a run folder, a file of ``senet insert``, or ``"pretrained"`` for those that timm, torchvision or
            pytorchcv released for a network of theirs. What they have nothing for keeps its initial values,
            the same in both networks; SE blocks that they lack start with gates of exactly 1, unless ``se``
            chooses ``gate`` or ``start``. The plain network leaves out SE blocks that they have. Images are
            normalised as the weights are used to.
        out: run folder; ``None`` names one under ``runs/``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or a `torch.device`.
        workers: processes that decode images; ``None`` chooses.
        test_fraction: share of the images to test on where they come without a split (0.2 by default).
        parallel: trainings at once, each in a process of its own: on a GPU each, or sharing the threads
            of the CPU. How many threads a training has is written to the run folder and kept, since it
            decides the last bits of its result.
        measure_seconds: how long training and inference are each timed at least, side by side, after the
            trainings; what was measured in this folder before is kept.
        command: what a reader should run to repeat this; ``None`` writes down this call.
        execution: how the trainings are computed. Under torchrun its processes share each of them.
        progress: ``True`` draws a bar in a terminal or a notebook and prints a line per epoch elsewhere;
            ``False`` or ``None`` shows nothing; or a `senet.ComparisonProgress` of your own is told.

    Returns:
        The comparison and its run folder, which holds checkpoints and settings. `senet.write_report`
        writes ``results.json`` and ``report.html`` into it.

    Raises:
        SenetError: something given cannot be used; the sentence says what to do.
        TrainingInterrupted: Ctrl-C; the same call resumes there.
    """
    recipe, model, progress = recipe_of(recipe), name_of_network(model), watcher(progress)
    trainings = trainings_of(seeds)
    check_parallel(parallel, len(trainings))
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
            parallel=parallel,
            weights=weights,
            checking=progress.checking,
            fetching=progress.fetching,
        )
        told = facts(plan, trainings, parallel)
        progress.describe({**told, "time": time_of(plan, trainings, parallel)})
        train_all(plan, trainings, parallel=parallel, progress=progress)
        return conclude(plan, trainings, measure_seconds, progress), plan.folder


def facts(plan: Plan, trainings: Sequence[Training], parallel: int) -> dict[str, str]:
    """Return what a user wants to know before trainings start: label to text."""
    assert plan.se is not None
    names = f"{plan.model} and its twin {name_of_twin(plan.model)} (reduction {plan.se.reduction})"
    seeds = len({training.seed for training in trainings})
    whole = len(trainings) == 2 * seeds
    which = f"both networks with {counted(seeds, 'seed')}" if whole else _names(trainings)
    how = describe_parallel(plan, parallel)
    text = f"{len(trainings)}: {which}, {plan.epochs()} each{how and '; '}{how}"
    return {**plan.facts(), "networks": names, "trainings": text}


def time_of(plan: Plan, trainings: Sequence[Training], parallel: int) -> str:
    """Return how long what is left of ``trainings`` will take on this machine."""
    folders = [plan.folder / training.name for training in trainings]
    return estimate(plan, folders, len(set(devices(plan.device, parallel))))


def conclude(
    plan: Plan,
    trainings: Sequence[Training],
    measure_seconds: float,
    progress: ComparisonProgress,
    *,
    made_with: dict[str, str] | None = None,
    looked_at: Sequence[Path] = (),
) -> Comparison:
    """Measure what both networks cost, unless that was done before, and say what trainings came to.

    Args:
        plan: whose folder holds the trainings.
        trainings: all of the comparison.
        measure_seconds: how long training and inference are each timed.
        progress: told what happens.
        made_with: versions that the trainings were made with; ``None`` takes those of this process.
        looked_at: other folders in which these trainings may have been concluded before.
    """
    runs, cost, looks = [], None, tuple[int, ...]()
    if plan.processes.first:
        runs = [run for run in (finished_run(plan, training) for training in trainings) if run]
        assert len(runs) == len(trainings), f"trainings in {plan.folder} are not finished"
        look = len({training.seed for training in trainings}), plan.images.recipe.epochs
        before = read_concluded(plan.folder)
        concluded = before.look(*look, [read_concluded(each) for each in looked_at])
        cost = concluded.cost(describe_device(plan.device), measure_seconds)
        if cost is None:
            progress.measuring()
            cost = _measure(plan, measure_seconds)
            concluded = concluded.with_cost(cost, measure_seconds)
        if concluded != before:
            write_concluded(plan.folder, concluded)
        looks = concluded.looks_until(*look)
    runs, cost, looks = plan.processes.from_first((runs, cost, looks))
    assert cost is not None
    return _conclude(plan, runs, cost, looks, made_with or versions(plan.model))


def _names(trainings: Sequence[Training]) -> str:
    return ", ".join(training.name for training in trainings)


def _measure(plan: Plan, seconds: float) -> MeasuredCost:
    plain, se = plan.networks(seed=0)
    channels = plan.images.checked.channels
    return measure_cost(plain, se, plan.images.recipe, channels=channels, device=plan.device, seconds=seconds)


def _conclude(
    plan: Plan,
    runs: list[TrainingRun],
    cost: MeasuredCost,
    looks: tuple[int, ...],
    made_with: dict[str, str],
) -> Comparison:
    # Here, as scipy.stats takes most of a second to import.
    from senet.experiments.statistics import confidence_of_look, difference, sampling_error, verdict

    test, data = plan.images.checked.data.test, plan.images.summary()
    assert plan.se is not None
    seeds = tuple(dict.fromkeys(run.seed for run in runs))
    plain, se = (_stack(runs, variant, "predictions") for variant in VARIANTS)
    right = plain == test.labels, se == test.labels
    confidence = confidence_of_look(len(looks))
    top1 = difference(*right, confidence)
    top5 = None
    if runs[0].in_top5 is not None:
        top5 = difference(_stack(runs, "plain", "in_top5"), _stack(runs, "se", "in_top5"), confidence)
    answers = [_answers(run) for run in runs]
    findings = examine(answers, data.test_labels, data.classes, data.constant_answer())
    fixed, broken = changed_images(test, plain, se)
    return Comparison(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=plan.command,
        model=plan.model,
        se=asdict(plan.se),
        recipe=asdict(plan.images.recipe),
        seeds=seeds,
        versions=made_with,
        data=data,
        runs=tuple(sorted(runs, key=lambda run: (VARIANTS.index(run.variant), run.seed))),
        cost=cost,
        top1=top1,
        top5=top5,
        verdict=not_learned(findings, answers) or verdict(top1, len(seeds)),
        fixed=fixed,
        broken=broken,
        seconds=sum(epoch.train_seconds for run in runs for epoch in run.history),
        findings=findings,
        sampling_error=sampling_error(*right) if top1.over == "seeds" else None,
        looks=looks,
    )


def _answers(run: TrainingRun) -> Answers:
    network = {"plain": "plain", "se": "SE"}[run.variant]
    return Answers(
        name=f"{network} seed {run.seed}",
        network=network,
        predictions=run.predictions,
        history=run.history,
    )


def _stack(runs: list[TrainingRun], variant: Variant, name: str) -> NDArray[Any]:
    return np.array([getattr(run, name) for run in runs if run.variant == variant])
