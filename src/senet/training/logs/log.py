"""What every log can do, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from senet.insight.results import EpochMetrics
from senet.training.meter import Speed

State = Mapping[str, int | str]


@dataclass(frozen=True, kw_only=True)
class Start:
    """Which training a log belongs to, and where it goes on.

    Attributes:
        folder: of the training.
        facts: what the training is, as plain values: network, seed, recipe.
        step: optimiser steps done and kept; 0 at the beginning.
        state: what the checkpoint kept of the logs (`Log.state`); empty at the beginning.
        note: tells a user one sentence.
    """

    folder: Path
    facts: Mapping[str, Any]
    step: int
    state: State
    note: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One optimiser step.

    Attributes:
        step: counted from 1, over all epochs.
        epoch: counted from 1.
        learning_rate: of this step.
        loss: of this step's batch, over all processes.
        gradient_norm: Euclidean norm of the gradient of all parameters, before it is clipped.
        speed: of the steps since the last record.
    """

    step: int
    epoch: int
    learning_rate: float
    loss: float
    gradient_norm: float
    speed: Speed

    def scalars(self) -> dict[str, float]:
        """Return the values by the names they have in TensorBoard, W&B and MLflow."""
        training = {name: getattr(self, name) for name in ("learning_rate", "loss", "gradient_norm")}
        return {**_named("train", training), **_named("speed", asdict(self.speed))}


def epoch_scalars(metrics: EpochMetrics) -> dict[str, float]:
    """Return an epoch's values by the names they have in TensorBoard, W&B and MLflow."""
    return _named("epoch", asdict(metrics))


def _named(group: str, values: Mapping[str, float | None]) -> dict[str, float]:
    return {f"{group}/{name}": value for name, value in values.items() if value is not None}


class Log(Protocol):
    """One place a training is logged to.

    It is made from a `Start`. Whatever was logged after the step of that `Start` is overwritten or
    hidden: the training does these steps again.
    """

    @staticmethod
    def failures() -> tuple[type[Exception], ...]:
        """Return what this log raises when it cannot be reached; the training goes on without it then."""

    def step(self, record: StepRecord) -> None:
        """Log a step."""

    def epoch(self, step: int, metrics: EpochMetrics) -> None:
        """Log an epoch that ended with optimiser step ``step``."""

    def flush(self) -> None:
        """Make what was logged so far survive a crash: a checkpoint of this moment is saved next."""

    def state(self) -> State:
        """Return what a checkpoint must keep for the log to go on after this moment."""

    def close(self) -> None:
        """Finish: the training has ended or stops here."""
