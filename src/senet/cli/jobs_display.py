"""What the terminal shows of several trainings at once, and of one job among several."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from senet.cli.display import VARIANT_NAMES, Display
from senet.cli.terminal import Console
from senet.insight.results import EpochMetrics, Variant

if TYPE_CHECKING:
    from senet.experiments.jobs import JobReport


class JobsDisplay(Display):
    """Draws a live line for each training that runs, or prints lines that begin with its name.

    Args:
        at_once: trainings at once; with one of them this is an ordinary `Display`.
    """

    def __init__(self, console: Console | None = None, *, at_once: int = 1) -> None:
        super().__init__(console)
        self.at_once = at_once

    def training(self, *, number: int, total: int, seed: int, variant: Variant) -> Display:
        """Return what watches the next training: a line of its own where several run at once."""
        if self.at_once == 1:
            return super().training(number=number, total=total, seed=seed, variant=variant)
        self._remove()
        line = _Line(self)
        line.title = f"run {number}/{total}, seed {seed}, {VARIANT_NAMES[variant]}"
        return line

    def job_done(self, report: JobReport) -> None:
        """Print what is left of the comparison, and the command that concludes it."""
        collect = f"senet compare --collect {shlex.quote(str(report.folder))}"
        self.console.print(f"\nThis job is done: {', '.join(report.trained)}.")
        if not report.left:
            self.console.print("All trainings are finished. To compare them:")
        else:
            left = ", ".join(f"{name} ({state})" for name, state in report.left)
            self.console.print(f"Not finished in this folder: {left}.")
            self.console.print("When all jobs are done (add the jobs' own run folders, if any):")
        self.console.print(f"  {collect}", markup=False, soft_wrap=True)


class _Line(Display):
    """One of several trainings at once: its own live line among those of ``whole``."""

    def __init__(self, whole: Display) -> None:
        super().__init__(whole.console)
        self.whole, self.bar = whole, whole.bar

    def epoch(self, metrics: EpochMetrics) -> None:
        """Print as `Display` does; a training that has come to its end gives up its line."""
        self.waiting_was_said = self.whole.waiting_was_said
        super().epoch(metrics)
        self.whole.waiting_was_said = self.waiting_was_said
        if metrics.epoch == self.epochs:
            self._remove()

    def _draw(self, title: str, done: int, total: int, state: str) -> None:
        super()._draw(title, done, total, state.replace("\n", ", "))
