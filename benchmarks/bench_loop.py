"""What the training loop adds to the barest loop there can be: ``python -m benchmarks.bench_loop``.

Every step of senet's loop is followed by one of the barest loop, on a copy of the network and the same
loader: load, normalise, forward, loss, backward, step. Two thirds of a minute for each network on one core.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.common import parse, save
from senet.data.loader import Batch
from senet.data.source import ArraySource
from senet.insight.machine import this_machine
from senet.insight.results_timing import Timing
from senet.insight.stopwatch import InTurns
from senet.insight.timing_rows import timing_rows
from senet.networks.zoo import create_network
from senet.training.execution import Execution
from senet.training.images import Normalise, TrainingImages, prepare_images
from senet.training.loop import train
from senet.training.progress import Silent
from senet.training.recipe import FittedRecipe

OURS, BAREST = "senet's loop", "the barest loop"
WARM_UP = 3
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
CPU = torch.device("cpu")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the rows."""
    options = parse(__doc__, "loop", 80, argv)
    torch.set_num_threads(1)
    machine = this_machine(CPU, ("torch",))
    rows: list[Timing] = []
    for name, make, batch, side in networks(options.smoke):
        begin = len(rows)
        common: dict[str, Any] = {
            "benchmark": f"loop, {name}",
            "shape": f"3x{side}x{side}",
            "batch": batch,
            "precision": "fp32",
            "layout": "channels_last",
            "mode": "train",
            "machine": machine,
        }
        turns = alternate(make, batch, side, options.seconds / 2)
        rows += timing_rows(turns, [(OURS, BAREST)], **common)
        save(rows, options.out, begin)


def networks(smoke: bool) -> list[tuple[str, Callable[[], nn.Module], int, int]]:
    """Return name, factory, batch and side of the images of each network."""
    if smoke:
        return [("tiny network", tiny, 4, 8)]
    return [
        ("resnet20", lambda: create_network("resnet20", num_classes=10), 128, 32),
        ("tiny network", tiny, 16, 8),
    ]


def tiny() -> nn.Module:
    """Return a network whose step takes as good as no time, so that what the loop adds shows."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def images_for(batch: int, side: int, steps: int) -> tuple[TrainingImages, FittedRecipe]:
    """Return noise in memory, enough for so many steps, and the recipe it is trained with."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (batch * steps, side, side, 3), dtype=np.uint8)
    source = ArraySource(pixels, np.arange(len(pixels)) % 10, tuple("abcdefghij"))
    recipe = FittedRecipe(
        epochs=1,
        batch_size=batch,
        image_size=side,
        crop="pad",
        learning_rate=1e-4,
        warmup_epochs=0,
        weight_decay=5e-4,
    )
    few = ArraySource(pixels[:10], np.arange(10), source.classes)
    return prepare_images(source, few, recipe, channels=3, mean=MEAN, std=STD, seed=0, workers=0), recipe


class BarestLoop:
    """What every training loop must do, and nothing besides."""

    def __init__(self, network: nn.Module, batches: Iterator[Batch]) -> None:
        self.network = network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.batches = batches
        self.normalise = Normalise(MEAN, STD, CPU)
        self.optimiser = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)

    def step(self) -> None:
        """Train on the next batch."""
        batch = next(self.batches)
        loss = functional.cross_entropy(self.network(self.normalise(batch.images)), batch.labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()


class Alternate(Silent):
    """Times each step of the loop it watches, and has the barest loop take one after it."""

    def __init__(self, barest: BarestLoop) -> None:
        self.barest = barest
        self.seconds: dict[str, list[float]] = {OURS: [], BAREST: []}
        self.resumed = 0.0

    def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
        """Stop the clock of the one loop and start that of the other."""
        ended = time.perf_counter()
        self.barest.step()
        now = time.perf_counter()
        if batch > WARM_UP:
            self.seconds[OURS].append(ended - self.resumed)
            self.seconds[BAREST].append(now - ended)
        self.resumed = time.perf_counter()


def alternate(make: Callable[[], nn.Module], batch: int, side: int, seconds: float) -> InTurns:
    """Return the times of both loops, step by step in turns, for about so many seconds."""
    images, recipe = images_for(batch, side, 10)
    barest = BarestLoop(make(), images.train.epoch(0))
    barest.step()
    started = time.perf_counter()
    barest.step()
    steps = max(12, min(4000, int(seconds / 2 / (time.perf_counter() - started))))
    images, recipe = images_for(batch, side, steps)
    again, _ = images_for(batch, side, steps)
    watch = Alternate(BarestLoop(make(), again.train.epoch(0)))
    with tempfile.TemporaryDirectory() as folder:
        execution = Execution(log=("csv",))
        train(
            make(),
            images,
            recipe,
            seed=0,
            folder=Path(folder),
            device=CPU,
            progress=watch,
            execution=execution,
        )
    return InTurns({name: tuple(times) for name, times in watch.seconds.items()})


if __name__ == "__main__":
    main()
