"""What the terminal shows while networks train, and after."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from senet.cli.terminal import Console, plain
from senet.insight.results import Comparison, EpochMetrics, Finding, Variant
from senet.text import counted
from senet.training.processes import is_first_process

if TYPE_CHECKING:
    from senet.experiments.single import TrainedNetwork

MOST_NAMED = 10
# More of an epoch's time than this share spent waiting for data is worth a word.
TOO_MUCH_WAITING = 0.2
VARIANT_NAMES: dict[Variant, str] = {"plain": "plain", "se": "SE"}


class Display:
    """Draws two live lines in a terminal, or prints a line per epoch where there is none.

    It is the progress of an experiment and of each of its trainings. The live lines tell which
    training of how many, the epoch, the mean loss of the epoch, the time left for all trainings, images
    per second, and the share of the time spent waiting for data.
    """

    def __init__(
        self, console: Console | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.console = console or Console(quiet=not is_first_process())
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[state]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
            expand=True,
        )
        self.task: TaskID | None = None
        self.number = self.total = 1
        self.title = self.state = ""
        self.done = 0
        self.steps_before = self.steps_of_all = 0
        self.speed = _Speed(clock)
        self.workers: int | None = None
        # All trainings of an experiment read the same images in the same way.
        self.waiting_was_said = False

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    # An experiment

    def fetching(self, done: int, total: int) -> None:
        """Draw how many shards have been fetched."""
        self._draw("downloading shards", done, total, f"{done:,} of {total:,}")

    def checking(self, done: int, total: int) -> None:
        """Draw how many images have been looked at."""
        self._draw("checking images", done, total, f"{done:,} of {total:,}")

    def describe(self, facts: dict[str, str]) -> None:
        """Print what is about to be trained."""
        table = Table.grid(padding=(0, 2))
        for label, text in facts.items():
            table.add_row(f"[dim]{label}[/dim]", plain(text))
        self.console.print(table)
        self.console.print()

    def training(self, *, number: int, total: int, seed: int, variant: Variant) -> Display:
        """Note which training is next; this display watches it."""
        self.number, self.total = number, total
        self.title = f"run {number}/{total}, seed {seed}, {VARIANT_NAMES[variant]}"
        return self

    def measuring(self) -> None:
        """Draw that cost is being measured."""
        if self.console.is_terminal:
            self._draw("measuring time and memory side by side", 1, 1, "a few seconds")
        else:
            self.console.print("measuring time and memory side by side")

    # One training

    def begin(
        self,
        *,
        epochs: int,
        batches: int,
        done_epochs: int,
        done_batches: int,
        workers: int | None = None,
    ) -> None:
        """Note how long the training is and where it stands."""
        self.epochs, self.batches, self.workers = epochs, batches, workers
        steps = epochs * batches
        self.steps_of_all = self.total * steps
        self.steps_before = (self.number - 1) * steps
        self.done = self.steps_before + done_epochs * batches + done_batches
        self.speed.resume()
        if done_epochs == epochs:
            self.console.print(f"{self.title}: already finished")
        elif done_epochs or done_batches:
            self.console.print(
                f"{self.title}: resuming in epoch {done_epochs + 1} after batch {done_batches}"
            )

    def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
        """Draw the step."""
        done = self.steps_before + (epoch - 1) * self.batches + batch
        # Of a training in another process only some steps are told.
        self.speed.add(images, steps=max(1, done - self.done))
        self.done = done
        state = f"epoch {epoch}/{self.epochs}, loss {loss:.3f}, {self._left(done)}\n{self._pace(data_wait)}"
        self.state = f"epoch {epoch}/{self.epochs}, loss {loss:.3f}"
        self._draw(self.title, done, self.steps_of_all, state)

    def testing(self) -> None:
        """Draw that the network is tested."""
        self._draw(self.title, self.done, self.steps_of_all, f"{self.state}\ntesting")

    def epoch(self, metrics: EpochMetrics) -> None:
        """Print the last epoch of a training; where nothing is drawn, every epoch."""
        error = f"test error {metrics.top1_error:.2f} %"
        if metrics.epoch == self.epochs:
            self.console.print(f"{self.title}: {error}")
        elif not self.console.is_terminal:
            done = self.steps_before + metrics.epoch * self.batches
            self.console.print(
                f"{self.title}: epoch {metrics.epoch}/{self.epochs}, loss {metrics.train_loss:.3f}, "
                f"{error}, {self._pace(metrics.data_wait)}, {self._left(done)}"
            )
        if metrics.data_wait > TOO_MUCH_WAITING and not self.waiting_was_said:
            self.waiting_was_said = True
            self.note(_about_waiting(metrics, self.workers, os.cpu_count() or 1))

    def _left(self, done: int) -> str:
        return f"{_clock(self.speed.seconds_for(self.steps_of_all - done))} left"

    def _pace(self, data_wait: float) -> str:
        return f"{self.speed.images_per_second():,.0f} images/s, data {100 * data_wait:.0f} %"

    def note(self, text: str) -> None:
        """Print a sentence."""
        self.console.print(plain(text))

    # The end

    def conclude(self, comparison: Comparison, page: Path) -> None:
        """Print what must be known first, the table, the verdict, what was skipped, and where the page is."""
        from senet.insight.results_rows import rows
        from senet.report.table import as_rich, notes

        self._warn(comparison.findings, comparison.data.warnings)
        self.console.print()
        self.console.print(as_rich(rows(comparison)))
        for note in notes(comparison):
            self.console.print(f"[dim]{plain(note)}[/dim]")
        self.console.print()
        self.console.print(f"[bold]{plain(comparison.verdict.sentence)}[/bold]")
        self._name_skipped(comparison.data.unreadable)
        self.console.print(f"\nReport: {plain(str(page))}", soft_wrap=True)

    def trained(self, network: TrainedNetwork) -> None:
        """Print what must be known first, the last epoch's errors, and where the checkpoint is."""
        self._warn(network.findings, network.warnings)
        constant, place = network.notes
        self.console.print(f"\n[bold]{network.errors}[/bold]")
        self.console.print(constant)
        self._name_skipped(network.unreadable)
        self.console.print(plain(place), soft_wrap=True)

    def _warn(self, findings: Sequence[Finding], warnings: Sequence[str]) -> None:
        """Print what has to be known before any number is."""
        if findings or warnings:
            self.console.print()
        for each in findings:
            colour = "red" if each.grave else "yellow"
            self.console.print(f"[bold {colour}]{plain(each.sentence)}[/] {plain(each.advice)}")
        for warning in warnings:
            self.console.print(f"[bold yellow]{plain(warning)}[/]")

    def _name_skipped(self, skipped: tuple[tuple[str, str], ...]) -> None:
        if skipped:
            self.console.print(f"\nSkipped as unreadable: {counted(len(skipped), 'file')}")
            for name, reason in skipped[:MOST_NAMED]:
                self.console.print(f"  {plain(name)}: {plain(reason)}", soft_wrap=True)
            if len(skipped) > MOST_NAMED:
                self.console.print(f"  and {len(skipped) - MOST_NAMED} more, all listed in the results")

    def _draw(self, title: str, done: int, total: int, state: str) -> None:
        if self.task is None:
            self.task = self.bar.add_task(title, total=total, state=state)
        self.bar.update(self.task, description=title, completed=done, total=total, state=state)

    def _remove(self) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None


class _Speed:
    """Images per second now, and how long a number of steps takes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds = self.steps = 0.0
        self.recent = 0.0
        self.last = clock()

    def resume(self) -> None:
        """Start the clock again after something that is not training."""
        self.last = self.clock()

    def add(self, images: int, steps: int = 1) -> None:
        """Count one step, or several that took place since the last time."""
        now = self.clock()
        elapsed, self.last = now - self.last, now
        self.seconds += elapsed
        self.steps += steps
        rate = images / max(elapsed, 1e-9)
        self.recent = rate if self.steps == steps else 0.9 * self.recent + 0.1 * rate

    def images_per_second(self) -> float:
        """Return a moving average over the last steps."""
        return self.recent

    def seconds_for(self, steps: int) -> float:
        """Return how long so many steps take at the mean speed so far, testing included."""
        return steps * self.seconds / max(self.steps, 1)


def _about_waiting(metrics: EpochMetrics, workers: int | None, cores: int) -> str:
    """Return what to do about an epoch that spent much of its time waiting."""
    advice = "store smaller images or read them from a faster disk"
    if workers is None:
        advice = f"try more --workers, {advice}"
    elif workers < cores:
        advice = f"try more --workers (now {workers}, on {cores} cores), {advice}"
    else:
        advice = f"all {cores} cores have a worker (--workers {workers}), so {advice}"
    return (
        f"{100 * metrics.data_wait:.0f} % of the time of epoch {metrics.epoch} was spent waiting for data: "
        f"{advice}."
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
