"""Curves for TensorBoard, in the folder ``tensorboard`` of the training."""

from __future__ import annotations

import json

from torch.utils.tensorboard import SummaryWriter

from senet.insight.results import EpochMetrics
from senet.training.logs.log import Start, State, StepRecord, epoch_scalars


class TensorBoardLog:
    """Writes event files. Each start of the training writes a new one, which TensorBoard puts together.

    After a power cut the points of the last two minutes may be missing; ``steps.csv`` has them.
    """

    def __init__(self, start: Start) -> None:
        """Begin an event file that hides what older ones hold of steps still to come.

        Raises:
            OSError: the folder cannot be written.
        """
        self._writer = SummaryWriter(str(start.folder / "tensorboard"), purge_step=start.step + 1)
        if start.step == 0:
            facts = json.dumps(start.facts, indent=2, default=str)
            self._writer.add_text("training", f"```\n{facts}\n```", 0)

    @staticmethod
    def failures() -> tuple[type[Exception], ...]:
        """Return `OSError`, which the thread that writes passes on: a full disk, or one that has gone."""
        return (OSError,)

    def step(self, record: StepRecord) -> None:
        """Add one point to each curve over steps."""
        self._add(record.scalars(), record.step)

    def epoch(self, step: int, metrics: EpochMetrics) -> None:
        """Add one point to each curve over epochs."""
        self._add(epoch_scalars(metrics), step)

    def _add(self, scalars: dict[str, float], step: int) -> None:
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._writer.flush()

    def state(self) -> State:
        """Return nothing: the step says where to go on."""
        return {}

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
