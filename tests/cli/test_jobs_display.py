from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from senet.cli.jobs_display import JobsDisplay
from senet.experiments.jobs import JobReport
from tests.cli.test_display import METRICS


def display(*, terminal: bool, at_once: int = 2) -> tuple[JobsDisplay, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, highlight=False, color_system=None)
    return JobsDisplay(console, at_once=at_once), stream


def test_each_training_has_a_live_line_until_it_ends() -> None:
    shown, stream = display(terminal=True)
    with shown:
        shown.checking(3, 6)
        lines = [shown.training(number=n, total=4, seed=0, variant=v) for n, v in ((1, "plain"), (2, "se"))]
        for line in lines:
            line.begin(epochs=1, batches=400, done_epochs=0, done_batches=100)
            line.step(epoch=1, batch=200, loss=1.3456, images=6400)
        assert [task.description for task in shown.bar.tasks] == [
            "run 1/4, seed 0, plain",
            "run 2/4, seed 0, SE",
        ]
        assert [(task.completed, task.total) for task in shown.bar.tasks] == [(200, 400)] * 2
        lines[0].epoch(METRICS)
        assert [task.description for task in shown.bar.tasks] == ["run 2/4, seed 0, SE"]
        shown.measuring()
    assert "run 1/4, seed 0, plain: test error 40.00 %" in stream.getvalue()


def test_steps_that_were_not_told_count_for_the_time_left() -> None:
    shown, _ = display(terminal=False)
    line = shown.training(number=1, total=4, seed=0, variant="plain")
    line.begin(epochs=2, batches=400, done_epochs=1, done_batches=0)
    line.speed.last -= 8.0
    line.step(epoch=2, batch=80, loss=1.0, images=80)
    assert 9 < line.speed.images_per_second() < 10.1
    # 80 steps took 8 seconds.
    assert 31.9 < line.speed.seconds_for(320) < 34


def test_without_a_terminal_lines_begin_with_the_training() -> None:
    shown, stream = display(terminal=False)
    for number, variant in ((1, "plain"), (2, "se")):
        line = shown.training(number=number, total=4, seed=0, variant=variant)  # type: ignore[arg-type]
        line.begin(epochs=100, batches=400, done_epochs=3, done_batches=5)
        line.epoch(METRICS)
    text = stream.getvalue()
    for title in ("run 1/4, seed 0, plain", "run 2/4, seed 0, SE"):
        assert f"{title}: resuming in epoch 4 after batch 5" in text
        assert f"{title}: epoch 1/100, loss 1.250, test error 40.00 %" in text


def test_one_after_another_looks_as_ever() -> None:
    shown, _ = display(terminal=True, at_once=1)
    assert shown.training(number=3, total=6, seed=1, variant="plain") is shown
    assert shown.title == "run 3/6, seed 1, plain"


def test_a_job_says_what_is_left_and_how_to_collect() -> None:
    shown, stream = display(terminal=False)
    report = JobReport(
        folder=Path("my runs/[x]"), trained=("seed0-plain",), left=(("seed0-se", "in epoch 3"),)
    )
    shown.job_done(report)
    text = stream.getvalue()
    assert "This job is done: seed0-plain." in text
    assert "Not finished in this folder: seed0-se (in epoch 3)." in text
    assert text.rstrip().endswith("senet compare --collect 'my runs/[x]'")
    shown.job_done(JobReport(folder=Path("x"), trained=("seed0-plain",), left=()))
    assert "All trainings are finished." in stream.getvalue()
