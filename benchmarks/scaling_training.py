"""The training that `benchmarks.bench_scaling` times; prints images per second of its median step.

python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.scaling_training --model resnet20
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from senet.data.source import ArraySource
from senet.networks.zoo import create_network
from senet.training.execution import Execution
from senet.training.images import prepare_images
from senet.training.loop import train
from senet.training.processes import join_processes
from senet.training.progress import Silent
from senet.training.recipe import FittedRecipe

WARM_UP = 3


class Clock(Silent):
    """Keeps when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
        """Look at the clock."""
        self.ends.append(time.perf_counter())


def main() -> None:
    """Train on noise, and print images per second over all processes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (options.batch * options.steps, 32, 32, 3), dtype=np.uint8)
    source = ArraySource(pixels, np.arange(len(pixels)) % 10, tuple("abcdefghij"))
    few = ArraySource(pixels[:10], np.arange(10), source.classes)
    recipe = FittedRecipe(
        epochs=1,
        batch_size=options.batch,
        learning_rate=0.1,
        image_size=32,
        crop="pad",
        warmup_epochs=0,
        weight_decay=5e-4,
    )
    clock = Clock()
    with join_processes(120) as processes, tempfile.TemporaryDirectory() as folder:
        images = prepare_images(
            source,
            few,
            recipe,
            channels=3,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            seed=0,
            workers=0,
            process=processes.number,
            processes=processes.count,
        )
        train(
            create_network(options.model, num_classes=10),
            images,
            recipe,
            seed=0,
            folder=Path(folder),
            device=torch.device("cpu"),
            progress=clock,
            execution=Execution(log=("csv",)),
            processes=processes,
        )
        if processes.first:
            seconds = np.diff(clock.ends)[WARM_UP:].tolist()
            print(options.batch / statistics.median(seconds), flush=True)


if __name__ == "__main__":
    main()
