from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from senet.cli.display import Display
from senet.insight.results import Comparison, EpochMetrics
from tests.report import factory

METRICS = EpochMetrics(
    epoch=1,
    learning_rate=0.1,
    train_loss=1.25,
    test_loss=1.5,
    top1_error=40.0,
    top5_error=2.0,
    train_seconds=3.0,
)


def display(*, terminal: bool, width: int = 80) -> tuple[Display, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width, highlight=False, color_system=None)
    return Display(console), stream


def watch(shown: Display, *, done_epochs: int = 0) -> None:
    with shown:
        shown.training(number=3, total=6, seed=1, variant="plain")
        shown.begin(epochs=100, batches=400, done_epochs=done_epochs, done_batches=0)
        shown.step(epoch=1, batch=200, loss=1.3456, images=64)
        shown.bar.refresh()


def test_the_live_line_fits_80_columns_and_tells_everything() -> None:
    shown, stream = display(terminal=True)
    shown.speed.images_per_second = lambda: 1435.2  # type: ignore[method-assign]
    shown.speed.seconds_for = lambda steps: 0.05 * steps  # type: ignore[method-assign]
    watch(shown)
    line = [each for each in stream.getvalue().splitlines() if "run 3/6" in each][-1]
    assert "run 3/6, seed 1, plain" in line
    # 240,000 steps in all, of which two trainings and 200 steps are done.
    for part in ("epoch 1/100", "loss 1.346", "1,435 images/s", "2:13:10 left"):
        assert part in line, line


def test_without_a_terminal_every_epoch_is_a_line() -> None:
    shown, stream = display(terminal=False, width=200)
    watch(shown)
    shown.epoch(METRICS)
    text = stream.getvalue()
    assert "run 3/6, seed 1, plain: epoch 1/100, loss 1.250, test error 40.00 %" in text
    assert "\x1b" not in text and "━" not in text


def test_going_on_and_finished_before_are_said() -> None:
    shown, stream = display(terminal=False)
    watch(shown, done_epochs=7)
    assert "going on in epoch 8 after batch 0" in stream.getvalue()
    shown.begin(epochs=100, batches=400, done_epochs=100, done_batches=0)
    assert "was finished before" in stream.getvalue()


@pytest.mark.parametrize("build", [factory.usual, factory.two_classes, factory.many_classes])
def test_the_end_shows_table_verdict_skipped_images_and_page(build: Callable[[], Comparison]) -> None:
    shown, stream = display(terminal=False)
    comparison = build()
    shown.conclude(comparison, Path("runs/x/report.html"))
    text = " ".join(stream.getvalue().split())
    assert "Top-1 error" in text and "SE − plain" in text
    assert " ".join(comparison.verdict.sentence.split()) in text
    assert text.endswith("The page to look at: runs/x/report.html")
    assert ("Skipped as unreadable" in text) == bool(comparison.data.unreadable)


def test_names_are_never_markup() -> None:
    shown, stream = display(terminal=False)
    shown.describe({"images": "[red]photos[/red] [/nothing]"})
    assert "[red]photos[/red] [/nothing]" in stream.getvalue()
