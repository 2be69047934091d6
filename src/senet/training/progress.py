"""What a training tells whoever watches it."""

from __future__ import annotations

from typing import Protocol

from senet.insight.results import EpochMetrics


class TrainingProgress(Protocol):
    """Receives the events of one training; `Silent` ignores them, the command line draws them."""

    def begin(self, *, epochs: int, batches: int, done_epochs: int, done_batches: int) -> None:
        """Training starts, or resumes with some epochs and batches already done."""

    def step(self, *, epoch: int, batch: int, loss: float, images: int) -> None:
        """One training step is done; ``epoch`` and ``batch`` count from 1."""

    def epoch(self, metrics: EpochMetrics) -> None:
        """One epoch is trained, tested and saved."""

    def note(self, text: str) -> None:
        """Something a user should know, as one sentence."""


class Silent:
    """A `TrainingProgress` that shows nothing."""

    def begin(self, *, epochs: int, batches: int, done_epochs: int, done_batches: int) -> None:
        """Do nothing."""

    def step(self, *, epoch: int, batch: int, loss: float, images: int) -> None:
        """Do nothing."""

    def epoch(self, metrics: EpochMetrics) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
