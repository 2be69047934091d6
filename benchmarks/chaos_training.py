"""The training that `benchmarks.chaos` kills; it writes down what it is doing.

python -m benchmarks.chaos_training FOLDER --data photos/ --epochs 4
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.chaos import EVENT_NAME
from senet.errors import SenetError
from senet.experiments.progress import SilentComparison
from senet.experiments.single import train_one
from senet.insight.results import EpochMetrics, Variant
from senet.training.execution import Execution
from senet.training.processes import is_first_process
from senet.training.progress import Silent
from senet.training.recipe import Recipe


class Events(Silent, SilentComparison):
    """Writes the last event into a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.batches = self.epochs = 0

    def training(self, *, number: int, total: int, seed: int, variant: Variant) -> Silent:
        """Watch the one training there is."""
        return self

    def begin(
        self,
        *,
        epochs: int,
        batches: int,
        done_epochs: int,
        done_batches: int,
        workers: int | None = None,
    ) -> None:
        """Note where the training goes on."""
        self.batches, self.epochs = batches, done_epochs
        self._write("starting", done_epochs * batches + done_batches)

    def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
        """Note the step."""
        self.epochs = epoch
        self._write(f"training in epoch {epoch}", (epoch - 1) * self.batches + batch)

    def testing(self) -> None:
        """Note that the epoch is trained."""
        self._write(f"testing after epoch {self.epochs}", self.epochs * self.batches)

    def epoch(self, metrics: EpochMetrics) -> None:
        """Note the end of an epoch."""
        self._write(f"between epochs {metrics.epoch} and {metrics.epoch + 1}", metrics.epoch * self.batches)

    def _write(self, moment: str, step: int) -> None:
        # Renamed into place, so that whoever looks sees the last event or this one.
        temporary = self.folder / f"{EVENT_NAME}.writing"
        temporary.write_text(f"{moment}\t{step}")
        temporary.replace(self.folder / EVENT_NAME)


def main() -> None:
    """Train, with everything whose state must survive."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--model", default="se_resnet8")
    arguments = parser.parse_args()
    recipe = Recipe(
        epochs=arguments.epochs,
        batch_size=64,
        accumulate=2,
        clip_norm=5.0,
        ema_decay=0.99,
        erasing=0.25,
        label_smoothing=0.1,
    )
    try:
        train_one(
            arguments.data,
            model=arguments.model,
            recipe=recipe,
            out=arguments.folder,
            workers=1,
            execution=Execution(checkpoint_seconds=0.5, timeout_seconds=60, log_steps=3),
            progress=Events(arguments.folder) if is_first_process() else None,
        )
    except SenetError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
