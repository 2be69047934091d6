from __future__ import annotations

import errno
import math
import os
import signal
from dataclasses import fields
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from senet.errors import SenetError, TrainingInterrupted
from senet.insight.results import EpochMetrics
from senet.training import loop
from senet.training.checkpoint import load_checkpoint
from senet.training.execution import Execution
from senet.training.loop import CHECKPOINT_NAME, train
from senet.training.position import Position
from senet.training.progress import Silent
from senet.training.recipe import Recipe
from senet.training.resume import Keeper
from tests.small import same_state, small_images, small_network, small_recipe, small_source, small_train

CPU = torch.device("cpu")


class StopAt(Silent):
    """Presses Ctrl-C after a given training step."""

    def __init__(self, step: int) -> None:
        self.left = step

    def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def test_learns(tmp_path: Path) -> None:
    _, result = small_train(tmp_path, small_recipe(epochs=12))
    assert [each.epoch for each in result.history] == list(range(1, 13))
    assert result.history[-1].train_loss < 0.7 * result.history[0].train_loss
    assert result.history[-1].top1_error < 50, "guessing gives 67 %"


def test_result_is_the_last_epochs(tmp_path: Path) -> None:
    network, result = small_train(tmp_path)
    images = small_images(small_recipe())
    network.eval()
    with torch.inference_mode():
        scores = [network((batch.images / 255 - 0.4) / 0.2) for batch in images.test.epoch(0)]
    guesses = torch.cat(scores).argmax(dim=1)
    labels = torch.from_numpy(small_source(30, seed=1).labels)
    assert result.predictions == tuple(guesses.tolist())
    assert result.history[-1].top1_error == pytest.approx(100 * (guesses != labels).double().mean().item())
    loss = nn.functional.cross_entropy(torch.cat(scores), labels).item()
    assert result.history[-1].test_loss == pytest.approx(loss, rel=1e-5)
    assert result.in_top5 is None, "three classes have no top-5"


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9, "label_smoothing": 0.1, "nesterov": True}])
@pytest.mark.parametrize("step", [1, 5, 6, 7, 18])
def test_resumes_to_the_same_bits(tmp_path: Path, step: int, changes: dict[str, object]) -> None:
    recipe = small_recipe(erasing=0.5, **changes)
    expected, whole = small_train(tmp_path / "whole", recipe)
    with pytest.raises(TrainingInterrupted, match="saved"):
        small_train(tmp_path / "parts", recipe, progress=StopAt(step))
    stopped = load_checkpoint(tmp_path / "parts" / CHECKPOINT_NAME)
    assert stopped is not None and stopped[0]["position"]["step"] == step, "no work is lost"
    torch.manual_seed(12345)  # what was drawn before must not matter
    resumed, parts = small_train(tmp_path / "parts", recipe)
    assert same_state(expected, resumed)
    assert parts.predictions == whole.predictions
    assert (tmp_path / "parts/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()
    states = [load_checkpoint(tmp_path / name / CHECKPOINT_NAME) for name in ("whole", "parts")]
    assert states[0] is not None and states[1] is not None
    momentum = [[each["momentum_buffer"] for each in state[0]["optimiser"].values()] for state in states]
    assert all(torch.equal(first, second) for first, second in zip(*momentum, strict=True))


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    class NoStep(Silent):
        def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
            raise AssertionError("trained again")

    network, first = small_train(tmp_path)
    again, second = small_train(tmp_path, progress=NoStep())
    assert first == second
    assert same_state(network, again)


def test_saves_within_an_epoch_when_time_has_passed(tmp_path: Path) -> None:
    saved: list[int] = []

    class Look(Silent):
        def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
            found = load_checkpoint(tmp_path / CHECKPOINT_NAME)
            saved.append(found[0]["position"]["step"] if found else 0)

    small_train(tmp_path, small_recipe(epochs=1), progress=Look(), execution=Execution(checkpoint_seconds=0))
    assert saved == [0, 1, 2, 3, 4, 5]


def test_the_clock_begins_anew_with_each_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(
        loop, "time", SimpleNamespace(monotonic=lambda: next(ticks), perf_counter=lambda: 0.0)
    )
    saved: list[int] = []

    def save(keeper: Keeper, position: Position, log_state: object) -> None:
        saved.append(position.step)

    monkeypatch.setattr(Keeper, "save", save)
    # Each step looks at the clock once, and so does each checkpoint.
    small_train(tmp_path, small_recipe(epochs=1), execution=Execution(checkpoint_seconds=2.5))
    assert saved == [3, 6]


def test_seeds_of_dropout_come_from_the_step(tmp_path: Path) -> None:
    first, _ = small_train(tmp_path / "0", seed=0)
    second, _ = small_train(tmp_path / "1", seed=1)
    assert not same_state(first, second)


def test_moving_average_is_what_is_tested_and_returned(tmp_path: Path) -> None:
    network, result = small_train(tmp_path, small_recipe(ema_decay=0.99))
    state = load_checkpoint(tmp_path / CHECKPOINT_NAME)
    assert state is not None
    raw, average = state[0]["model"]["7.weight"], state[0]["average"]["values"]["7.weight"]
    assert torch.equal(network.state_dict()["7.weight"], average)
    assert not torch.equal(raw, average)
    _, without = small_train(tmp_path / "without")
    assert result.history[-1].test_loss != without.history[-1].test_loss
    assert [each.train_loss for each in result.history] == [each.train_loss for each in without.history]


class TurnsNan(nn.Module):
    """Gives NaN scores at its fifth training step."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.calls = small_network(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        scores: Tensor = self.network(x)
        return scores * math.nan if self.calls == 11 else scores


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    recipe = small_recipe()
    with pytest.raises(
        SenetError, match=r"The loss became nan at step 11 \(epoch 2\) in .*the last good checkpoint is"
    ):
        train(TurnsNan(), small_images(recipe), recipe, seed=0, folder=tmp_path, device=CPU)
    found = load_checkpoint(tmp_path / CHECKPOINT_NAME)
    assert found is not None and found[0]["position"]["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in found[0]["model"].values())


def test_an_update_that_ruins_the_weights_is_never_saved(tmp_path: Path) -> None:
    network = small_network()

    class Ruin(Silent):
        def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
            if batch == 3:  # the loss of this step was fine
                with torch.no_grad():
                    next(network.parameters()).fill_(math.inf)

    recipe, images = small_recipe(), small_images(small_recipe())
    with pytest.raises(SenetError, match="A weight became nan or infinite at step 3"):
        train(
            network,
            images,
            recipe,
            seed=0,
            folder=tmp_path,
            device=CPU,
            progress=Ruin(),
            execution=Execution(checkpoint_seconds=0),
        )
    found = load_checkpoint(tmp_path / CHECKPOINT_NAME)
    assert found is not None and found[0]["position"]["step"] == 2
    assert all(torch.isfinite(value).all() for value in found[0]["model"].values())


def test_a_full_disk_ends_with_the_last_good_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, calls = os.fsync, []

    def full_in_epoch_two(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full_in_epoch_two)
    with pytest.raises(SenetError, match="disk is full"):
        small_train(tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.glob(".*writing"))
    resumed, _ = small_train(tmp_path)
    whole, _ = small_train(tmp_path / "whole")
    assert same_state(resumed, whole)


def test_bf16_trains_and_keeps_float32_weights(tmp_path: Path) -> None:
    network, result = small_train(tmp_path, small_recipe(precision="bf16", epochs=6))
    assert all(value.dtype == torch.float32 for value in network.parameters())
    assert result.history[-1].train_loss < result.history[0].train_loss
    _, exact = small_train(tmp_path / "fp32", small_recipe(epochs=6))
    assert result.history[0].train_loss != exact.history[0].train_loss
    assert result.history[0].train_loss == pytest.approx(exact.history[0].train_loss, rel=0.02)


def test_another_training_is_refused_by_name(tmp_path: Path) -> None:
    small_train(tmp_path, identity={"recipe": {"epochs": 3}, "seed": 0})
    with pytest.raises(
        SenetError,
        match=r"contains another training \(recipe\.epochs is 3 there and 4 here\): choose another folder",
    ):
        small_train(tmp_path, identity={"recipe": {"epochs": 4}, "seed": 0})


def test_a_damaged_checkpoint_is_said_and_passed_over(tmp_path: Path) -> None:
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    whole, _ = small_train(tmp_path)
    (tmp_path / CHECKPOINT_NAME).write_bytes(b"half a checkpoi")
    resumed, _ = small_train(tmp_path, progress=Notes())
    assert same_state(whole, resumed)
    assert len(notes) == 1 and "damaged" in notes[0]


def test_workers_change_nothing(tmp_path: Path) -> None:
    recipe = small_recipe()
    alone, _ = small_train(tmp_path / "alone", recipe)
    network = small_network()
    train(network, small_images(recipe, workers=2), recipe, seed=0, folder=tmp_path / "two", device=CPU)
    assert same_state(alone, network)


def test_progress_hears_every_step_and_epoch(tmp_path: Path) -> None:
    heard: list[object] = []

    class Listen(Silent):
        def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
            assert math.isfinite(loss) and loss > 0
            heard.append((epoch, batch, images))

        def epoch(self, metrics: EpochMetrics) -> None:
            heard.append(metrics.epoch)

    small_train(tmp_path, small_recipe(epochs=2), progress=Listen())
    assert heard == [(1, b, 16) for b in range(1, 7)] + [1] + [(2, b, 16) for b in range(1, 7)] + [2]


CHANGED: dict[str, dict[str, object]] = {
    "epochs": {"epochs": 2},
    "batch_size": {"batch_size": 24},
    "learning_rate": {"learning_rate": 0.02},
    "momentum": {"momentum": 0.5},
    "nesterov": {"nesterov": True},
    "weight_decay": {"weight_decay": 0.1},
    "schedule": {"schedule": "step"},
    "step_epochs": {"schedule": "step", "step_epochs": (2,)},
    "step_factor": {"schedule": "step", "step_factor": 0.5},
    "warmup_epochs": {"warmup_epochs": 0.0},
    "label_smoothing": {"label_smoothing": 0.2},
    "ema_decay": {"ema_decay": 0.5},
    "image_size": {"image_size": 9},
    "crop": {"crop": "resized"},
    "flip": {"flip": False},
    "erasing": {"erasing": 0.9},
    "cutout": {"cutout": 4},
    "precision": {"precision": "bf16"},
    "start_size": {"image_size": 12, "start_size": 4},
    "grow_epochs": {"image_size": 12, "start_size": 4, "grow_epochs": 1},
    "test_resize": {"test_resize": 10},
    "least_area": {"crop": "resized", "least_area": 0.5},
    "rotation": {"rotation": 20.0},
    "jitter": {"jitter": 40},
    "randaugment": {"randaugment": 5},
    "randaugment_layers": {"randaugment": 5, "randaugment_layers": 3},
    "repeats": {"repeats": 2},
    "sampling": {"sampling": "balanced"},
    "accumulate": {"accumulate": 2},
    "decay_norm": {"weight_decay": 0.1, "decay_norm": False},
    "clip_norm": {"clip_norm": 0.1},
    "freeze_norm_epochs": {"freeze_norm_epochs": 1},
    "mixup": {"mixup": 0.4},
    "cutmix": {"cutmix": 1.0},
    "class_weights": {"class_weights": ("a=3",)},
}
# One process sees the whole batch: tests of several processes show what it does.
OF_SEVERAL_PROCESSES = {"sync_norm"}


def test_no_setting_of_the_recipe_is_ignored(tmp_path: Path) -> None:
    assert CHANGED.keys() | OF_SEVERAL_PROCESSES == {each.name for each in fields(Recipe)}
    curves = {}
    for name, changes in {"unchanged": {}, **CHANGED}.items():
        _, result = small_train(tmp_path / name, small_recipe(**changes))
        curves[name] = tuple((each.train_loss, each.test_loss) for each in result.history)
    assert len(set(curves.values())) == len(CHANGED) + 1, "two settings gave the same curve"


def test_every_step_draws_its_own_random_numbers(tmp_path: Path) -> None:
    drawn: list[float] = []

    class Draw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small_network()

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                drawn.append(torch.rand(()).item())
            scores: Tensor = self.network(x)
            return scores

    recipe = small_recipe(epochs=2)
    train(Draw(), small_images(recipe), recipe, seed=0, folder=tmp_path, device=CPU)
    assert len(set(drawn)) == len(drawn) == 12
