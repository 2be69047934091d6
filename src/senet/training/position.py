"""Where a training stands, and what a finished one returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from senet.insight.results import EpochMetrics
from senet.shown import Rows, Shown, Table
from senet.text import counted


@dataclass(frozen=True, kw_only=True, repr=False)
class TrainingResult(Shown):
    """A finished training: its learning curve and the last epoch's answers.

    Attributes:
        history: one entry per epoch.
        predictions: the first guess for each test image.
        in_top5: whether each test image's class was among five guesses; ``None`` with five classes or fewer.
    """

    history: tuple[EpochMetrics, ...]
    predictions: tuple[int, ...]
    in_top5: tuple[bool, ...] | None

    def to_rows(self) -> Rows:
        """Return one row for each epoch."""
        return [asdict(each) for each in self.history]

    def table(self) -> Table:
        """Return a line for each epoch."""
        return Table(
            head=_HEADS,
            lines=[_line(each) for each in self.history],
            numbers=tuple(range(len(_HEADS))),
            last=3,
            notes=(f"{counted(len(self.predictions), 'test image')}.",),
        )


_HEADS = ("epoch", "learning rate", "train loss", "test loss", "top-1 error", "top-5 error", "seconds")


def _line(each: EpochMetrics) -> tuple[str, ...]:
    return (
        f"{each.epoch:,}",
        f"{each.learning_rate:.3g}",
        f"{each.train_loss:.4g}",
        f"{each.test_loss:.4g}",
        f"{each.top1_error:.2f} %",
        "–" if each.top5_error is None else f"{each.top5_error:.2f} %",
        f"{each.train_seconds:,.1f}",
    )


@dataclass
class Position:
    """Where a training stands: epochs finished, batches done in the present one, and its sums."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[int] = field(default_factory=list)
    in_top5: list[bool] | None = None

    def curve(self) -> tuple[EpochMetrics, ...]:
        """Return the epochs so far."""
        return tuple(EpochMetrics(**row) for row in self.history)

    def describe(self, epochs: int, batches: int) -> str:
        """Return where it stands as text, of so many epochs of so many batches."""
        if self.epoch >= epochs:
            return f"after the last of {counted(epochs, 'epoch')}"
        return f"in epoch {self.epoch + 1} of {epochs}, after batch {self.batch} of {batches}"

    def result(self) -> TrainingResult:
        """Return what a training that stands at its end found."""
        return TrainingResult(
            history=self.curve(),
            predictions=tuple(self.predictions),
            in_top5=None if self.in_top5 is None else tuple(self.in_top5),
        )
