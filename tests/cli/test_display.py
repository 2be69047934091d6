from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
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


class Clock:
    """Goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def display(*, terminal: bool, width: int = 80, clock: Clock | None = None) -> tuple[Display, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width, highlight=False, color_system=None)
    return Display(console, clock=clock or Clock()), stream


def watch(shown: Display, *, done_epochs: int = 0) -> None:
    with shown:
        shown.training(number=3, total=6, seed=1, variant="plain")
        shown.begin(epochs=100, batches=400, done_epochs=done_epochs, done_batches=0)
        shown.step(epoch=1, batch=200, loss=1.3456, images=64)
        shown.bar.refresh()


def test_the_live_lines_fit_80_columns_and_tell_everything() -> None:
    clock = Clock()
    shown, stream = display(terminal=True, clock=clock)
    with shown:
        shown.training(number=3, total=6, seed=1, variant="plain")
        shown.begin(epochs=100, batches=400, done_epochs=0, done_batches=0, workers=2)
        for batch in range(1, 201):
            clock.now += 0.05
            shown.step(epoch=1, batch=batch, loss=1.3456, images=72, data_wait=0.034)
        shown.bar.refresh()
    lines = stream.getvalue().splitlines()
    last = max(i for i, line in enumerate(lines) if "run 3/6" in line)
    text = "\n".join(lines[last : last + 2])
    # 240,000 steps in all, of which two trainings and 200 steps are done.
    wanted = (
        "run 3/6, seed 1, plain",
        "epoch 1/100",
        "loss 1.346",
        "2:13:10 left",
        "1,440 images/s",
        "data 3 %",
    )
    for part in wanted:
        assert part in text, text


def test_testing_is_drawn_in_place_of_the_speed() -> None:
    shown, stream = display(terminal=True)
    with shown:
        shown.training(number=1, total=1, seed=0, variant="plain")
        shown.begin(epochs=2, batches=10, done_epochs=0, done_batches=0)
        shown.step(epoch=1, batch=10, loss=1.5, images=64)
        shown.testing()
        shown.bar.refresh()
    last = stream.getvalue()[stream.getvalue().rindex("run 1/1") :]
    assert "epoch 1/2, loss 1.500" in last and "testing" in last and "images/s" not in last


def test_without_a_terminal_every_epoch_is_a_line() -> None:
    clock = Clock()
    shown, stream = display(terminal=False, width=200, clock=clock)
    with shown:
        shown.training(number=3, total=6, seed=1, variant="plain")
        shown.begin(epochs=100, batches=400, done_epochs=0, done_batches=0)
        for batch in range(1, 401):
            clock.now += 0.05
            shown.step(epoch=1, batch=batch, loss=1.25, images=64)
    shown.epoch(replace(METRICS, data_wait=0.07))
    text = stream.getvalue()
    assert "run 3/6, seed 1, plain: epoch 1/100, loss 1.250, test error 40.00 %" in text
    assert "1,280 images/s, data 7 %, 2:13:00 left" in text and "waiting" not in text
    assert "\x1b" not in text and "━" not in text


def wait_for_data(
    *, terminal: bool, workers: int | None, data_wait: float, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setattr("senet.cli.display.os.cpu_count", lambda: 8)
    shown, stream = display(terminal=terminal, width=200)
    for number in (1, 2):
        shown.training(number=number, total=2, seed=0, variant="plain")
        shown.begin(epochs=3, batches=4, done_epochs=0, done_batches=0, workers=workers)
        for epoch in (1, 2, 3):
            shown.epoch(replace(METRICS, epoch=epoch, data_wait=data_wait if epoch > 1 else 0.0))
    return stream.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    ("workers", "advice"),
    [
        (0, "try more --workers (now 0, on 8 cores), store smaller images"),
        (7, "try more --workers (now 7, on 8 cores), store smaller images"),
        (8, "all 8 cores have a worker (--workers 8), so store smaller images"),
        (16, "all 8 cores have a worker (--workers 16), so store smaller images"),
        (None, "try more --workers, store smaller images"),
    ],
)
def test_much_waiting_for_data_is_said_once(
    terminal: bool, workers: int | None, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = wait_for_data(terminal=terminal, workers=workers, data_wait=0.34, monkeypatch=monkeypatch)
    assert f"34 % of the time of epoch 2 was spent waiting for data: {advice}" in text
    assert text.count("was spent waiting") == 1


def test_a_fifth_of_the_time_is_not_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "waiting" not in wait_for_data(terminal=False, workers=2, data_wait=0.2, monkeypatch=monkeypatch)
    assert "waiting" in wait_for_data(terminal=False, workers=2, data_wait=0.21, monkeypatch=monkeypatch)


def test_going_on_and_finished_before_are_said() -> None:
    shown, stream = display(terminal=False)
    watch(shown, done_epochs=7)
    assert "resuming in epoch 8 after batch 0" in stream.getvalue()
    shown.begin(epochs=100, batches=400, done_epochs=100, done_batches=0)
    assert "already finished" in stream.getvalue()


@pytest.mark.parametrize("build", [factory.usual, factory.two_classes, factory.many_classes])
def test_the_end_shows_table_verdict_skipped_images_and_page(build: Callable[[], Comparison]) -> None:
    shown, stream = display(terminal=False)
    comparison = build()
    shown.conclude(comparison, Path("runs/x/report.html"))
    text = " ".join(stream.getvalue().split())
    assert "Top-1 error" in text and "SE − plain" in text
    assert " ".join(comparison.verdict.sentence.split()) in text
    assert text.endswith("Report: runs/x/report.html")
    assert ("Skipped as unreadable" in text) == bool(comparison.data.unreadable)


def test_what_must_be_known_comes_before_every_number() -> None:
    shown, stream = display(terminal=False)
    comparison = factory.not_learned()
    shown.conclude(comparison, Path("runs/x/report.html"))
    text = " ".join(stream.getvalue().split())
    table = text.index("lower is better")
    for each in comparison.findings:
        assert text.index(each.sentence) < table and each.advice in text
    assert text.index("3 of 83 test images are also training images.") < table
    assert "These networks have not learned" in text[table:]


def test_names_are_never_markup() -> None:
    shown, stream = display(terminal=False)
    shown.describe({"images": "[red]photos[/red] [/nothing]"})
    assert "[red]photos[/red] [/nothing]" in stream.getvalue()
