"""One job of a comparison: it trains its share, and `senet.collect` puts the shares together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from senet.blocks.se_config import SEConfig
from senet.experiments.arguments import checked, name_of_network, recipe_of, watcher
from senet.experiments.compare import facts, time_of
from senet.experiments.parallel import check_parallel, train_all
from senet.experiments.plan import make_plan
from senet.experiments.progress import ComparisonProgress
from senet.experiments.trainings import Training, share_of, trainings_of
from senet.shown import Rows, Shown, Table
from senet.text import counted
from senet.training.checkpoint import CHECKPOINT_NAME
from senet.training.execution import Execution
from senet.training.finished import read_training
from senet.training.processes import join_processes
from senet.training.recipe import Recipe

FINISHED = "finished"
NOT_BEGUN = "no checkpoint yet"


@dataclass(frozen=True, kw_only=True, repr=False)
class JobReport(Shown):
    """What a job has done and what is left of the comparison.

    Attributes:
        folder: run folder.
        trained: names of the job's trainings, all finished.
        left: ``(name, state)`` of each training that is not finished in this folder, for example
            ``("seed1-se", "in epoch 3")``. Jobs with folders of their own leave theirs elsewhere.
    """

    folder: Path
    trained: tuple[str, ...]
    left: tuple[tuple[str, str], ...]

    def to_rows(self) -> Rows:
        """Return one row for each training of the job, then for each that is not finished."""
        rows = [(name, FINISHED) for name in self.trained] + list(self.left)
        return [{"training": name, "state": state} for name, state in rows]

    def table(self) -> Table:
        """Return what is left, and what the job has trained."""
        left = (
            f"{len(self.left):,} not finished in {self.folder}" if self.left else "all trainings are finished"
        )
        return Table(
            title=(f"{counted(len(self.trained), 'training')} of this job done; {left}.",),
            head=("training", "state"),
            lines=[(str(each["training"]), str(each["state"])) for each in self.to_rows()],
            notes=(f"To compare them when all jobs are done: senet.collect({str(self.folder)!r})",),
        )


@checked("Display")
def compare_job(
    job: str,
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
    command: str | None = None,
    execution: Execution | None = None,
    progress: ComparisonProgress | bool | None = True,
) -> JobReport:
    """Train a share of a comparison, for a SLURM array or several machines.

    All jobs are given the same arguments. They may share a run folder, also at the same time and
    over a network, or have one each; `senet.collect` concludes from either. A job that was
    interrupted goes on where it stopped when it is called again.

    Args are those of `senet.compare`, besides:
        job: ``"2/4"`` for the second of four. Trainings are dealt in a fixed order, so that the same
            job always trains the same ones.

    Returns:
        What is left of the comparison.

    Raises:
        SenetError: something given cannot be used, or another process is at one of the trainings.
        TrainingInterrupted: Ctrl-C; the same call resumes there.
    """
    recipe, model, progress = recipe_of(recipe), name_of_network(model), watcher(progress)
    trainings = trainings_of(seeds)
    share = share_of(job, trainings)
    check_parallel(parallel, len(share))
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
        told = {**facts(plan, share, parallel), "job": f"{job}, {counted(len(trainings), 'training')} in all"}
        progress.describe({**told, "time": time_of(plan, share, parallel)})
        train_all(plan, share, parallel=parallel, progress=progress)
    left = [(each, state_of(plan.folder, each, plan.images.recipe.epochs)) for each in trainings]
    return JobReport(
        folder=plan.folder,
        trained=tuple(each.name for each in share),
        left=tuple((each.name, state) for each, state in left if state is not None),
    )


def state_of(folder: Path, training: Training, epochs: int) -> str | None:
    """Return where a training of so many epochs in a run folder stands, or ``None`` where it is finished.

    Raises:
        SenetError: it has checkpoints but none can be read.
    """
    stored = read_training(folder / training.name, epochs)
    if stored is None:
        return NOT_BEGUN
    if stored.result is not None:
        return None
    damaged = "" if stored.checkpoint.name == CHECKPOINT_NAME else f", its {CHECKPOINT_NAME} is damaged"
    return f"in epoch {stored.epochs + 1}{damaged}"
