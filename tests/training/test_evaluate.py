from __future__ import annotations

import copy
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import senet
from senet.errors import SenetError
from senet.networks.preprocess import Preprocess
from senet.training.evaluate import Evaluation, evaluate, not_finite_value
from senet.training.images import Normalise, prepare_images
from senet.training.optimiser import make_autocast
from senet.training.position import Position
from senet.training.processes import ALONE, Processes
from tests.small import small_network, small_photos, small_recipe, small_source
from tests.training.threads import in_threads

CPU = torch.device("cpu")
CLASSES = tuple("abcdefg")


def network_of_seven() -> nn.Module:
    network = small_network()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*list(network)[:-1], nn.Linear(8, len(CLASSES)))


# Made once: threads would draw from one generator.
NETWORK = network_of_seven()


def evaluated(processes: Processes, images: int = 200, *, training: bool = False) -> Evaluation:
    """Look at ``images`` images in batches of 64, of which every process has its share."""
    recipe = small_recipe(batch_size=12)
    source = small_source(images, classes=CLASSES)
    loaders = prepare_images(
        small_source(12, classes=CLASSES),
        source,
        recipe,
        channels=1,
        mean=(0.4,),
        std=(0.2,),
        seed=0,
        workers=0,
        process=processes.number,
        processes=processes.count,
    )
    network = copy.deepcopy(NETWORK).train(training)
    found = evaluate(
        network,
        loaders.test,
        Normalise((0.4,), (0.2,), CPU),
        make_autocast(recipe, CPU),
        processes,
    )
    assert all(each.training == training for each in network.modules())
    return found


@pytest.mark.parametrize("images", [1, 64, 130, 200])
def test_processes_that_share_the_test_images_find_what_one_finds(images: int) -> None:
    alone = evaluated(ALONE, images)
    assert len(alone.predictions) == images and alone.in_top5 is not None
    for count in (2, 3):
        for shared in in_threads(count, lambda processes: evaluated(processes, images)):
            assert replace(shared, loss=0.0) == replace(alone, loss=0.0)
            assert shared.loss == pytest.approx(alone.loss, rel=1e-6)


def test_the_loss_is_that_of_images_and_not_of_batches() -> None:
    """Of 65 images the last is a batch of its own, and must count as one image."""
    found, first = evaluated(ALONE, 65), evaluated(ALONE, 64)
    assert found.loss == pytest.approx(first.loss, rel=0.05)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_network_is_left_as_it_was(training: bool) -> None:
    assert evaluated(ALONE, training=training).predictions == evaluated(ALONE).predictions


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("1.running_var", -0.25, "1.running_var contains -0.25"),
        ("1.running_var", math.nan, "1.running_var contains nan"),
        ("1.running_mean", math.nan, "1.running_mean contains nan"),
        ("1.running_mean", -math.inf, "1.running_mean contains -inf"),
        ("7.weight", math.inf, "7.weight contains inf"),
    ],
)
def test_no_error_is_reported_from_scores_that_mean_nothing(
    tmp_path: Path, key: str, value: float, said: str
) -> None:
    model = small_network().eval()
    assert not_finite_value(model) == ""
    model.state_dict()[key].flatten()[0] = value
    assert not_finite_value(model) == said
    photos = small_photos(tmp_path / "photos")
    preprocess = Preprocess(crop=8, resize=8).with_channels(1)
    with pytest.raises(SenetError, match=f"Sequential cannot be evaluated: {re.escape(said)}"):
        senet.evaluate(model, photos, preprocess=preprocess, workers=0)


def test_scores_that_overflow_are_no_answers(tmp_path: Path) -> None:
    model = small_network().eval()
    with torch.no_grad():
        model[-1].weight.fill_(3e38)  # type: ignore[operator, union-attr]
    photos = small_photos(tmp_path / "photos")
    preprocess = Preprocess(crop=8, resize=8).with_channels(1)
    with pytest.raises(
        SenetError,
        match=r"returns scores that .*not finite in fp32 at 8×8 pixels, so .*precision fp32 "
        r"\(--precision fp32\) or",
    ):
        senet.evaluate(model, photos, preprocess=preprocess, workers=0)


def test_masks_may_be_infinite() -> None:
    model = small_network()
    model.register_buffer("mask", torch.tensor([-math.inf]))
    assert not_finite_value(model) == ""


def test_where_a_training_was_stopped() -> None:
    assert Position(epoch=1, batch=3).describe(2, 9) == "in epoch 2 of 2, after batch 3 of 9"
    assert Position(epoch=2).describe(2, 9) == "after the last of 2 epochs"
