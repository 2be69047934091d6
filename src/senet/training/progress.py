"""What a training tells whoever watches it."""

from __future__ import annotations

from typing import Protocol

from senet.insight.results import EpochMetrics


class TrainingProgress(Protocol):
    """Receives the events of one training; `Silent` ignores them, the command line draws them."""

    def begin(
        self,
        *,
        epochs: int,
        batches: int,
        done_epochs: int,
        done_batches: int,
        workers: int | None = None,
    ) -> None:
        """Training starts, or resumes with some epochs and batches already done.

        ``workers`` is the number of processes that load images, ``None`` where it is not known.
        """

    def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
        """One training step is done; ``epoch`` and ``batch`` count from 1.

        ``images`` are those of all processes, ``data_wait`` is the share of the time of the last steps
        spent waiting for data, 0 to 1.
        """

    def testing(self) -> None:
        """One epoch is trained; the network is tested next."""

    def epoch(self, metrics: EpochMetrics) -> None:
        """One epoch is trained, tested and saved."""

    def note(self, text: str) -> None:
        """Something a user should know, as one sentence."""


class Silent:
    """A `TrainingProgress` that shows nothing."""

    def begin(
        self,
        *,
        epochs: int,
        batches: int,
        done_epochs: int,
        done_batches: int,
        workers: int | None = None,
    ) -> None:
        """Do nothing."""

    def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
        """Do nothing."""

    def testing(self) -> None:
        """Do nothing."""

    def epoch(self, metrics: EpochMetrics) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
