"""What a second process brings on this machine: ``python -m benchmarks.bench_scaling``.

The same batch of 128 images by one process with one thread, one process with two threads, and two processes
of torchrun with one thread each, started in turns. On two cores about five minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.common import parse, save
from senet.insight.machine import this_machine
from senet.insight.stopwatch import InTurns
from senet.insight.timing_rows import timing_rows

ROOT = Path(__file__).parents[1]
ONE, THREADS, TWO = "1 process, 1 thread", "1 process, 2 threads", "2 processes, 1 thread each"
STARTS = {ONE: (1, 1), THREADS: (1, 2), TWO: (2, 1)}
BATCH = 128


def images_per_second(model: str, processes: int, threads: int, steps: int, batch: int) -> float:
    """Start a training and return what its median step does."""
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    options = ["--model", model, "--batch", str(batch), "--steps", str(steps), "--threads", str(threads)]
    ended = subprocess.run(
        [*launcher, "-m", "benchmarks.scaling_training", *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(ended.stdout.strip().splitlines()[-1])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the rows."""
    options = parse(__doc__, "scaling", 0, argv)
    rounds, steps, batch = (1, 5, 8) if options.smoke else (5, 16, BATCH)
    rows = []
    for model in ("resnet8",) if options.smoke else ("resnet20", "se_resnet20"):
        seconds: dict[str, list[float]] = {name: [] for name in STARTS}
        for number in range(rounds):
            order = list(STARTS) if number % 2 == 0 else list(STARTS)[::-1]
            for name in order:
                seconds[name].append(batch / images_per_second(model, *STARTS[name], steps, batch))
        begin = len(rows)
        rows += timing_rows(
            InTurns({name: tuple(each) for name, each in seconds.items()}),
            [(TWO, ONE), (THREADS, ONE)],
            benchmark=f"scaling, {model}",
            shape="3x32x32",
            batch=batch,
            precision="fp32",
            layout="channels_last",
            mode="train",
            machine=this_machine(torch.device("cpu"), ("torch",)),
        )
        save(rows, options.out, begin)


if __name__ == "__main__":
    main()
