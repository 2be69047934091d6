from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from senet.training.evaluate import Evaluation, evaluate
from senet.training.images import Normalise, prepare_images
from senet.training.optimiser import make_autocast
from senet.training.processes import ALONE, Processes
from tests.small import small_network, small_recipe, small_source
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
