"""How long trainings will take, from a few steps on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch

from senet.experiments.plan import Plan
from senet.insight.step import NetworkStep
from senet.insight.stopwatch import time_once
from senet.training.failures import is_out_of_memory
from senet.training.finished import read_training

# The first step compiles and allocates.
_STEPS = 2
_MOST_IMAGES_ON_A_CPU = 32
# An evaluation runs forward only.
_FORWARD_SHARE = 0.4


def estimate(plan: Plan, folders: Sequence[Path], at_once: int = 1) -> str:
    """Return for example ``"about 4 min on this machine"``.

    Times steps of the networks on random images, and the loading of a batch. Where a step does not fit
    in memory the training itself says what would.

    Args:
        plan: of the trainings.
        folders: of each training; those that are begun have less to do.
        at_once: trainings that run on devices of their own.
    """
    epochs = plan.images.recipe.epochs
    stored = [read_training(folder, epochs) for folder in folders] if plan.processes.first else []
    epochs_left = sum(epochs - (each.epochs if each else 0) for each in stored)
    if epochs_left <= 0:
        return "nothing is left to train"
    try:
        with torch.random.fork_rng():
            step = _seconds_per_image(plan)
            load = _loading_seconds_per_image(plan)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return "unknown, because a training step does not fit into memory"
    data, processes = plan.images.checked.data, plan.processes.count
    load /= max(plan.workers, 1)
    per_image = max(step, load) if plan.workers else step + load
    tested = max(_FORWARD_SHARE * step, load) if plan.workers else _FORWARD_SHARE * step + load
    seconds = epochs_left * (len(data.train) * per_image + len(data.test) * tested) / (processes * at_once)
    return f"about {shown_seconds(seconds)} on this machine"


def shown_seconds(seconds: float) -> str:
    """Return a duration as people say it, such as ``"40 s"``, ``"4 min"`` or ``"25 h"``."""
    for unit, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < most * size:
            return f"{max(round(seconds / size), 1)} {unit}"
    return f"{round(seconds / 86_400):,} days"


def _seconds_per_image(plan: Plan) -> float:
    """Return the mean time of a training step over the networks, for one image."""
    recipe, channels = plan.images.recipe, plan.images.checked.channels
    count = max(recipe.batch_size // (recipe.accumulate * plan.processes.count), 1)
    if plan.device.type == "cpu":
        count = min(count, _MOST_IMAGES_ON_A_CPU)
    images = torch.randn(count, channels, recipe.image_size, recipe.image_size)
    images = images.to(plan.device, memory_format=torch.channels_last)
    taken = []
    for network in plan.networks(seed=0):
        moved = network.to(plan.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        step = NetworkStep(moved, images, precision=recipe.precision, momentum=recipe.momentum)
        times = [time_once(step.train, plan.device) for _ in range(1 + _STEPS)]
        taken.append(min(times[1:]) / count)
    return sum(taken) / len(taken)


def _loading_seconds_per_image(plan: Plan) -> float:
    """Return how long one process takes to load an image."""
    loaders = plan.images.loaders(seed=0, workers=0, processes=plan.processes)
    started = time.perf_counter()
    loaded = sum(len(batch.labels) for batch in islice(loaders.train.epoch(0), 1))
    return (time.perf_counter() - started) / max(loaded, 1)
