"""The trainings a comparison consists of: their order, how jobs share them, and how one is run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from senet.errors import SenetError
from senet.experiments.plan import Plan
from senet.experiments.run_folder import checksum
from senet.insight.results import TrainingRun, Variant
from senet.training.finished import read_training
from senet.training.identity import refuse_other_training
from senet.training.lock import lock_folder
from senet.training.loop import train
from senet.training.progress import TrainingProgress

MOST_SEEDS = 1000
VARIANTS: tuple[Variant, ...] = ("plain", "se")


class Training(NamedTuple):
    """One of the trainings of a comparison."""

    seed: int
    variant: Variant

    @property
    def name(self) -> str:
        """Its folder in the run folder: ``"seed0-plain"``."""
        return f"seed{self.seed}-{self.variant}"

    def identity(self, comparison: Mapping[str, Any]) -> dict[str, Any]:
        """Return what this training is, as plain values, given what its comparison is."""
        return {
            **comparison,
            "checksum": checksum(comparison),
            "seed": self.seed,
            "variant": self.variant,
        }


def trainings_of(seeds: int) -> tuple[Training, ...]:
    """Return the trainings of a comparison in the order in which they are run and dealt to jobs.

    Raises:
        SenetError: there is no seed, or more than anybody could train.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise SenetError(
            f"seeds must be from 1 to {MOST_SEEDS:,} (3 or more tell an effect from chance), not {seeds}."
        )
    return tuple(Training(seed, variant) for seed in range(seeds) for variant in VARIANTS)


def share_of(job: str, trainings: Sequence[Training]) -> tuple[Training, ...]:
    """Return the trainings of one job.

    They are dealt round by round, one to each job. Where the number of jobs is even each round starts
    one job further on: otherwise every second job would train plain networks only, and a difference
    between machines would look like one between networks.

    Args:
        job: ``"2/4"`` for the second of four.
        trainings: of the comparison, as `trainings_of` returns them.

    Raises:
        SenetError: ``job`` is not of this form, or there are more jobs than trainings.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", job)
    number, jobs = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= jobs:
        raise SenetError(f"job must be K/N with K from 1 to N, for example 2/4, not {job!r}.")
    if jobs > len(trainings):
        raise SenetError(
            f"job must be K/N with N at most {len(trainings)}, the number of trainings, not {job}."
        )
    step = 1 if jobs % 2 == 0 else 0
    return tuple(
        training
        for position, training in enumerate(trainings)
        if (position + step * (position // jobs)) % jobs == number - 1
    )


def train_here(plan: Plan, training: Training, progress: TrainingProgress) -> None:
    """Run one training in this process, or what is left of it.

    Raises:
        SenetError: it failed, or another process is at it.
        TrainingInterrupted: Ctrl-C; the state has been saved.
    """
    folder = plan.folder / training.name
    with lock_folder(folder, needed=plan.processes.first), _threads(plan.threads):
        train(
            plan.networks(training.seed)[VARIANTS.index(training.variant)],
            plan.images.loaders(seed=training.seed, workers=plan.workers, processes=plan.processes),
            plan.images.recipe,
            seed=training.seed,
            folder=folder,
            device=plan.device,
            identity=training.identity(plan.identity),
            provenance=plan.provenance,
            progress=progress,
            execution=plan.execution,
            processes=plan.processes,
        )


def finished_run(plan: Plan, training: Training) -> TrainingRun | None:
    """Return what a training came to, or ``None`` where it is not finished.

    Raises:
        SenetError: the folder holds another training, or no checkpoint in it can be read.
    """
    folder = plan.folder / training.name
    stored = read_training(folder, plan.images.recipe.epochs)
    if stored is None:
        return None
    refuse_other_training(stored.identity, training.identity(plan.identity), folder)
    if stored.result is None:
        return None
    return TrainingRun(
        seed=training.seed,
        variant=training.variant,
        history=stored.result.history,
        predictions=stored.result.predictions,
        folder=training.name,
        in_top5=stored.result.in_top5,
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Train with so many threads: how sums are split over them decides their last bits."""
    before = torch.get_num_threads()
    if count is not None and count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
