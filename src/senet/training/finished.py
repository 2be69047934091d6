"""Reads what a training left in its folder, without building its network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from senet.training.checkpoint import CHECKPOINT_NAME, checked_training, load_checkpoint
from senet.training.position import Position, TrainingResult


@dataclass(frozen=True, kw_only=True)
class StoredTraining:
    """A training as its newest readable checkpoint tells it.

    Attributes:
        checkpoint: the file.
        identity: what the training is, as plain values.
        threads: the CPU threads it was trained with, which decide rounding.
        epochs: finished epochs.
        result: learning curve and answers; ``None`` where the training has not come to the end asked for.
    """

    checkpoint: Path
    identity: dict[str, Any]
    threads: int
    epochs: int
    result: TrainingResult | None


def read_training(folder: Path, epochs: int) -> StoredTraining | None:
    """Return what the checkpoint in ``folder`` tells, or ``None`` where there is none.

    Args:
        folder: of the training.
        epochs: of the whole training; one that ended after fewer may be extended and is not finished.

    Raises:
        SenetError: there are checkpoints but none can be read, or another senet wrote them.
    """
    found = load_checkpoint(folder / CHECKPOINT_NAME)
    if found is None:
        return None
    state, path = found
    checked_training(state, path)
    position = Position(**state["position"])
    return StoredTraining(
        checkpoint=path,
        identity=state["identity"],
        threads=state["threads"],
        epochs=position.epoch,
        # The test images are answered for good after the last epoch only.
        result=position.result() if position.predictions and position.epoch >= epochs else None,
    )
