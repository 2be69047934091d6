"""SE put into a trained network, then fine-tuned: ``python -m benchmarks.bench_fine_tune DATA``.

A plain network is trained once. From its weights each seed fine-tunes three networks on the same images in
the same order: the plain one, one with SE that starts as the identity, and one with SE that starts at
random. Error on the test images before the first step and after each epoch, and how far the gates are from
1, go to ``benchmarks/results/fine_tune.csv``. What counts is the last epoch.
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

import senet
from benchmarks.common import RESULTS
from benchmarks.trained import CPU, parser, train_new
from senet.experiments.images import ReadyImages
from senet.files import write_text
from senet.insight.gates import gate_statistics
from senet.insight.machine import this_machine
from senet.insight.results import EpochMetrics
from senet.training.evaluate import evaluate
from senet.training.images import Normalise, TrainingImages
from senet.training.loop import train
from senet.training.progress import Silent

PLAIN, IDENTITY, RANDOM = "plain", "SE, start identity", "SE, start random"
ARMS = {PLAIN: None, IDENTITY: "identity", RANDOM: "random"}
_GATE_BATCHES = 8


@dataclass(frozen=True, kw_only=True)
class FineTuneRow:
    """One look at one network.

    Attributes:
        arm: which of the three.
        seed: of order, augmentation and new weights.
        epoch: 0 before the first step.
        top1_error: percent of the test images.
        gate_distance: mean of |gate - 1| over channels, blocks and test images; 0 without SE.
        model: the plain network.
        images: what was trained on.
        recipe: of the fine-tuning.
        machine: versions.
    """

    arm: str
    seed: int
    epoch: int
    top1_error: float
    gate_distance: float
    model: str
    images: str
    recipe: str
    machine: str


class _Watch(Silent):
    """Looks at the gates after each epoch."""

    def __init__(self, model: nn.Module, images: TrainingImages) -> None:
        self.model, self.images = model, images
        self.seen = [self.look()]

    def epoch(self, metrics: EpochMetrics) -> None:
        """Note where the gates are now."""
        self.seen.append(self.look())

    def look(self) -> float:
        """Return the mean of |gate - 1|, seen on the first test images."""
        if not any(isinstance(each, senet.SqueezeExcitation) for each in self.model.modules()):
            return 0.0
        normalise = Normalise(self.images.mean, self.images.std, CPU)
        batches = []
        for batch in self.images.test.epoch(0):
            batches.append((normalise(batch.images), batch.labels))
            if len(batches) == _GATE_BATCHES:
                break
        means = torch.cat([each.mean for each in gate_statistics(self.model, batches)])
        return float((means - 1).abs().mean())


def error(model: nn.Module, images: TrainingImages) -> float:
    """Return the percent of test images whose first guess is wrong."""
    normalise = Normalise(images.mean, images.std, CPU)
    return evaluate(model, images.test, normalise, torch.autocast("cpu", enabled=False)).top1_error


def fine_tune(plain: nn.Module, ready: ReadyImages, arm: str, seed: int) -> list[FineTuneRow]:
    """Fine-tune a copy of ``plain``, with SE or without, and return a row for each epoch."""
    torch.manual_seed(1000 + seed)
    model = copy.deepcopy(plain)
    start = ARMS[arm]
    if start is not None:
        senet.squeeze_excite(model, start=start)  # type: ignore[arg-type]
    images = ready.loaders(seed=seed, workers=0)
    first, watch = error(model, images), _Watch(model, images)
    with tempfile.TemporaryDirectory() as folder:
        done = train(model, images, ready.recipe, seed=seed, folder=Path(folder), device=CPU, progress=watch)
    errors = [first, *(each.top1_error for each in done.history)]
    recipe, data = ready.recipe, ready.checked.data
    told = f"{recipe.epochs} epochs, batch {recipe.batch_size}, rate {recipe.learning_rate}, cosine"
    return [
        FineTuneRow(
            arm=arm,
            seed=seed,
            epoch=epoch,
            top1_error=value,
            gate_distance=distance,
            model=plain.spec.name,  # type: ignore[union-attr]
            images=f"{data.name}, {len(data.train):,} to train and {len(data.test):,} to test",
            recipe=told,
            machine=this_machine(CPU, ("torch",)).versions,
        )
        for epoch, (value, distance) in enumerate(zip(errors, watch.seen, strict=True))
    ]


def to_csv(rows: Sequence[FineTuneRow]) -> str:
    """Return the rows as a CSV text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__, RESULTS / "fine_tune.csv", "resnet8", 8)
    made.add_argument("--fine-tune-epochs", type=int, default=4, help="(default: 4)")
    made.add_argument("--seeds", type=int, default=3, help="(default: 3)")
    return made.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train the plain network, fine-tune, and write the rows after each training."""
    options = _options(argv)
    plain, ready, images = train_new(options.data, options.model, epochs=options.epochs, batch_size=128)
    print(f"{options.model} plain: {error(plain, images):.2f} % error", flush=True)
    tuned = replace(ready.recipe, epochs=options.fine_tune_epochs, learning_rate=0.02, warmup_epochs=0.2)
    rows: list[FineTuneRow] = []
    for seed in range(options.seeds):
        for arm in ARMS:
            rows += fine_tune(plain, replace(ready, recipe=tuned), arm, seed)
            print(seed, arm, [f"{row.top1_error:.2f}" for row in rows if row.arm == arm and row.seed == seed])
            write_text(options.out, to_csv(rows))


if __name__ == "__main__":
    main()
