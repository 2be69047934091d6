from __future__ import annotations

from pathlib import Path

import pytest
import torch

from senet.errors import SenetError, TrainingInterrupted
from senet.training.checkpoint import CHECKPOINT_NAME, load_checkpoint
from senet.training.finished import read_training
from tests.small import small_recipe, small_train
from tests.training.test_loop import StopAt


def test_a_finished_training_is_read_as_it_ended(tmp_path: Path) -> None:
    _, result = small_train(tmp_path, identity={"model": "small", "step_epochs": (1, 2)})
    stored = read_training(tmp_path, 3)
    assert stored is not None and stored.result == result
    assert stored.identity == {"model": "small", "step_epochs": (1, 2)}
    assert (stored.epochs, stored.threads) == (3, torch.get_num_threads())
    assert stored.checkpoint == tmp_path / CHECKPOINT_NAME
    longer = read_training(tmp_path, 4)
    assert longer is not None and longer.result is None and longer.epochs == 3, "more epochs are asked for"


def test_one_that_has_not_ended_has_no_result(tmp_path: Path) -> None:
    assert read_training(tmp_path, 3) is None
    with pytest.raises(TrainingInterrupted):
        small_train(tmp_path, progress=StopAt(8))
    stored = read_training(tmp_path, 3)
    assert stored is not None and stored.result is None and stored.epochs == 1


def test_the_checkpoint_before_a_damaged_one_is_read(tmp_path: Path) -> None:
    small_train(tmp_path)
    (tmp_path / CHECKPOINT_NAME).write_bytes(b"half")
    stored = read_training(tmp_path, 3)
    assert stored is not None and stored.checkpoint.name == "checkpoint.previous.pt"
    assert stored.result is None and stored.epochs == 2
    stored.checkpoint.write_bytes(b"half")
    with pytest.raises(SenetError, match="No checkpoint can be read"):
        read_training(tmp_path, 3)


def test_what_another_senet_wrote_is_a_sentence(tmp_path: Path) -> None:
    small_train(tmp_path, small_recipe(epochs=1))
    found = load_checkpoint(tmp_path / CHECKPOINT_NAME)
    assert found is not None
    torch.save({**found[0], "format": 1}, tmp_path / CHECKPOINT_NAME)
    with pytest.raises(SenetError, match="another version of senet"):
        read_training(tmp_path, 3)
