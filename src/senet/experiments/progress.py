"""What a comparison tells whoever watches it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from senet.insight.results import Variant
from senet.training.progress import Silent, TrainingProgress


@runtime_checkable
class ComparisonProgress(Protocol):
    """Receives the events of one comparison; the command line draws them."""

    def fetching(self, done: int, total: int) -> None:
        """So many of all shards have been fetched from a server."""

    def checking(self, done: int, total: int) -> None:
        """So many of all images have been looked at."""

    def describe(self, facts: dict[str, str]) -> None:
        """Show what is about to be trained, chosen values included: label to text."""

    def training(self, *, number: int, total: int, seed: int, variant: Variant) -> TrainingProgress:
        """Training ``number`` of ``total`` is next; return who watches it."""

    def measuring(self) -> None:
        """All trainings are done; cost is being measured."""


@runtime_checkable
class EvaluationProgress(Protocol):
    """Receives the events of one evaluation."""

    def checking(self, done: int, total: int) -> None:
        """So many of all images have been looked at."""

    def describe(self, facts: dict[str, str]) -> None:
        """Show what is about to be evaluated: label to text."""

    def evaluating(self, view: str, done: int, total: int) -> None:
        """So many of all images have been evaluated in one view."""


class SilentEvaluation:
    """An `EvaluationProgress` that shows nothing."""

    def checking(self, done: int, total: int) -> None:
        """Do nothing."""

    def describe(self, facts: dict[str, str]) -> None:
        """Do nothing."""

    def evaluating(self, view: str, done: int, total: int) -> None:
        """Do nothing."""


class SilentComparison:
    """A `ComparisonProgress` that shows nothing."""

    def fetching(self, done: int, total: int) -> None:
        """Do nothing."""

    def checking(self, done: int, total: int) -> None:
        """Do nothing."""

    def describe(self, facts: dict[str, str]) -> None:
        """Do nothing."""

    def training(self, *, number: int, total: int, seed: int, variant: Variant) -> TrainingProgress:
        """Return a watcher that shows nothing."""
        return Silent()

    def measuring(self) -> None:
        """Do nothing."""
