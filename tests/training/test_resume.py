from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from benchmarks.chaos import differences

from senet.errors import SenetError, TrainingInterrupted
from senet.text import counted
from senet.training import checkpoint as checkpoints
from senet.training import loop as training_loop
from senet.training.checkpoint import CHECKPOINT_NAME, load_checkpoint, save_checkpoint
from senet.training.execution import Execution
from senet.training.finished import read_training
from senet.training.processes import Processes
from senet.training.progress import Silent
from senet.training.resume import Keeper
from tests.small import same_state, small_network, small_recipe, small_train
from tests.training.test_loop import StopAt
from tests.training.threads import in_threads

LOGGED = Execution(log=("csv",), log_steps=2)


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def changed(folder: Path, **values: Any) -> None:
    found = load_checkpoint(folder / CHECKPOINT_NAME)
    assert found is not None
    save_checkpoint(folder / CHECKPOINT_NAME, {**found[0], **values})


@pytest.mark.parametrize("version", [checkpoints.FORMAT + 1, 1, None])
def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path, version: int | None) -> None:
    small_train(tmp_path, small_recipe(epochs=1))
    changed(tmp_path, format=version)
    with pytest.raises(SenetError, match=r"checkpoint\.pt was written by another version of senet.*--out"):
        small_train(tmp_path, small_recipe(epochs=1))


def test_the_number_of_threads_is_restored_and_said(tmp_path: Path) -> None:
    threads, notes = torch.get_num_threads(), Notes()
    try:
        small_train(tmp_path, small_recipe(epochs=1), progress=notes)
        assert notes.texts == []
        torch.set_num_threads(threads + 1)
        small_train(tmp_path, small_recipe(epochs=1), progress=notes)
        assert torch.get_num_threads() == threads
        assert notes.texts == [f"Resuming with {counted(threads, 'thread')}, as {tmp_path} was started with."]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("before", "said"), [(2, "2 processes and continues with 1"), (4, "4 processes and")]
)
def test_another_number_of_processes_is_said(tmp_path: Path, before: int, said: str) -> None:
    small_train(tmp_path, small_recipe(epochs=1))
    changed(tmp_path, processes=before)
    notes = Notes()
    small_train(tmp_path, small_recipe(epochs=1), progress=notes)
    assert len(notes.texts) == 1 and said in notes.texts[0]


@pytest.mark.parametrize("step", [3, 7])
def test_logged_steps_go_on_where_the_checkpoint_stands(tmp_path: Path, step: int) -> None:
    small_train(tmp_path / "whole", small_recipe(epochs=2), execution=LOGGED)
    with pytest.raises(TrainingInterrupted):
        small_train(tmp_path / "parts", small_recipe(epochs=2), execution=LOGGED, progress=StopAt(step))
    notes = Notes()
    small_train(tmp_path / "parts", small_recipe(epochs=2), execution=LOGGED, progress=notes)
    assert notes.texts == [], "nothing begins anew"
    whole, parts = ((tmp_path / name / "steps.csv").read_bytes() for name in ("whole", "parts"))
    assert whole == parts and whole.count(b"\n") == 1 + 6


@pytest.mark.parametrize(
    ("done", "more"),
    [
        ({}, {}),
        ({"ema_decay": 0.9}, {"step_epochs": (1, 3)}),
        ({"ema_decay": 0.9, "start_size": 4, "grow_epochs": 1, "accumulate": 2}, {}),
        ({"freeze_norm_epochs": 1, "mixup": 0.3}, {"freeze_norm_epochs": 3}),
        ({"step_epochs": (), "nesterov": True}, {"step_epochs": (1, 2)}),
    ],
)
def test_an_extended_training_ends_with_the_bits_of_a_long_one(
    tmp_path: Path, done: dict[str, Any], more: dict[str, Any]
) -> None:
    short = small_recipe(**{"schedule": "step", "step_epochs": (1,), **done})
    longer = replace(short, epochs=5, **more)
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    def train(folder: Path, recipe: Any, progress: Any = None) -> Any:
        identity = {"recipe": asdict(recipe)}
        return small_train(folder, recipe, identity=identity, execution=LOGGED, progress=progress)

    expected, long_result = train(whole, longer)
    _, short_result = train(parts, short)
    assert short_result.predictions == tuple(
        load_checkpoint(parts / CHECKPOINT_NAME)[0]["position"]["predictions"]
    )  # type: ignore[index]
    notes = Notes()
    with pytest.raises(SenetError, match="cannot be shortened to 2 epochs"):
        train(parts, replace(short, epochs=2, freeze_norm_epochs=0))
    for step in (2, 5):
        with pytest.raises(TrainingInterrupted):
            train(parts, longer, StopAt(step))
        stored = read_training(parts, 5)
        assert stored is not None and stored.result is None, "its old answers are not those of its end"
        assert read_training(parts, 3).result is None  # type: ignore[union-attr]
    network, result = train(parts, longer, notes)
    assert differences(whole, parts) == [] and same_state(expected, network)
    assert result.predictions == long_result.predictions
    assert [row.epoch for row in result.history] == [1, 2, 3, 4, 5]
    assert (parts / "metrics.csv").read_text().count("\n") == 1 + 5
    with pytest.raises(SenetError, match="has 5 epochs and cannot be shortened to 3 epochs"):
        train(parts, short)


def test_that_a_training_is_extended_is_said_once(tmp_path: Path) -> None:
    recipe, notes = small_recipe(epochs=1, schedule="step", warmup_epochs=0), Notes()
    for epochs in (1, 1, 2, 2):
        longer = replace(recipe, epochs=epochs)
        small_train(tmp_path, longer, identity={"recipe": asdict(longer)}, progress=notes)
    assert notes.texts == [f"Extending {tmp_path}, which ended after 1 epoch."]
    stopped = tmp_path / "stopped"
    for epochs, watcher in ((2, StopAt(8)), (3, notes)):
        longer = replace(recipe, epochs=epochs, step_epochs=(1,))
        with suppress(TrainingInterrupted):
            small_train(stopped, longer, identity={"recipe": asdict(longer)}, progress=watcher)
    found = read_training(stopped, 3)
    assert found is not None and found.result is not None
    assert len(notes.texts) == 1, "what was interrupted had not ended"


@pytest.mark.parametrize("bad", [0, 1, None])
def test_one_process_with_bad_weights_keeps_all_from_saving(tmp_path: Path, bad: int | None) -> None:
    def work(processes: Processes) -> bool:
        network = small_network()
        if processes.number == bad:
            with torch.no_grad():
                network[0].weight[0, 0, 0, 0] = torch.nan
        stepper: Any = SimpleNamespace(network=SimpleNamespace(model=network), device=torch.device("cpu"))
        return Keeper(tmp_path, {}, stepper, None, processes, Silent()).finite()

    assert in_threads(2, work) == [bad is None] * 2


@pytest.mark.parametrize("between", [4, 5, 100])
@pytest.mark.parametrize("step", [3, 9])
def test_losses_read_now_and_then_end_in_the_same_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: int, step: int
) -> None:
    """As on a GPU, where a loss that is read makes it wait."""
    recipe = small_recipe(epochs=2)
    expected, whole = small_train(tmp_path / "whole", recipe, execution=LOGGED)
    monkeypatch.setitem(training_loop._STEPS_BETWEEN_CHECKS, "cpu", between)
    with pytest.raises(TrainingInterrupted):
        small_train(tmp_path / "parts", recipe, execution=LOGGED, progress=StopAt(step))
    found = load_checkpoint(tmp_path / "parts" / CHECKPOINT_NAME)
    assert found is not None and found[0]["position"]["step"] == step, "alone it stops at once"
    network, parts = small_train(tmp_path / "parts", recipe, execution=LOGGED)
    assert same_state(expected, network)
    timeless = [
        [replace(row, train_seconds=0.0, data_wait=0.0) for row in result.history]
        for result in (whole, parts)
    ]
    assert timeless[0] == timeless[1]
    whole_steps, steps = ((tmp_path / name / "steps.csv").read_bytes() for name in ("whole", "parts"))
    assert whole_steps == steps


def test_sigterm_twice_saves(tmp_path: Path) -> None:
    class Twice(Silent):
        def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
            if batch == 2:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingInterrupted, match=r"3, after batch 2 of 6; everything up .*is saved\."):
        small_train(tmp_path, progress=Twice())
    found = load_checkpoint(tmp_path / CHECKPOINT_NAME)
    assert found is not None and found[0]["position"]["step"] == 2


def test_an_epochs_loss_is_the_mean_of_its_steps(tmp_path: Path) -> None:
    _, result = small_train(tmp_path, small_recipe(epochs=2), execution=Execution(log=("csv",), log_steps=1))
    rows = [row.split(",") for row in (tmp_path / "steps.csv").read_text().splitlines()[1:]]
    for each in result.history:
        losses = [float(row[3]) for row in rows if int(row[1]) == each.epoch]
        assert len(losses) == 6 and each.train_loss == pytest.approx(sum(losses) / 6, rel=1e-9)


def test_an_orphan_saves_and_stops(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted, match="after batch 1 of 6"):
        small_train(tmp_path, processes=Processes(parent=-1))
    found = load_checkpoint(tmp_path / CHECKPOINT_NAME)
    assert found is not None and found[0]["position"]["step"] == 1
