from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from senet.data.source import ArraySource
from senet.errors import SenetError
from senet.training.images import Normalise, prepare_images
from senet.training.recipe import Recipe

BAD = {
    "epochs": [0, -1, 1.5],
    "batch_size": [0, -8],
    "learning_rate": [0, -0.1, math.nan, math.inf],
    "momentum": [-0.1, 1.0, math.nan, None, "0.9"],
    "weight_decay": [-1e-4, math.nan],
    "schedule": ["linear"],
    "step_factor": [0, 1.5, math.nan],
    "warmup_epochs": [-1, 6, 100],
    "label_smoothing": [-0.1, 1.0],
    "ema_decay": [-0.1, 1.0],
    "image_size": [-1, 7.5],
    "crop": ["center"],
    "erasing": [-0.1, 1.1],
    "cutout": [-1, 8.0, "16", 300_000],
    "precision": ["fp8"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_bad_values_are_refused_by_name_and_value(name: str, value: object) -> None:
    with pytest.raises(SenetError, match=name) as caught:
        Recipe(**{"epochs": 6, name: value})
    assert str(value) in str(caught.value)
    assert str(caught.value).count(". ") == 0, "one sentence"


def test_settings_without_effect_are_refused() -> None:
    with pytest.raises(SenetError, match="no effect"):
        Recipe(step_epochs=(3,))
    with pytest.raises(SenetError, match="no effect"):
        Recipe(step_factor=0.1)
    with pytest.raises(SenetError, match="momentum above 0"):
        Recipe(momentum=0, nesterov=True)
    with pytest.raises(SenetError, match="be from 1 to 5, within the"):
        Recipe(schedule="step", step_epochs=(9,), epochs=6)
    with pytest.raises(SenetError, match=r"step_epochs \(1,\) has no effect in a training of 1 epoch: train"):
        Recipe(schedule="step", step_epochs=(1,), epochs=1)
    with pytest.raises(SenetError, match=r"step_epochs is given without epochs .*: give both"):
        Recipe(schedule="step", step_epochs=(9,))


def test_cutout_is_at_most_twice_as_wide_as_the_images() -> None:
    Recipe(cutout=16)
    Recipe(cutout=64, image_size=32)
    with pytest.raises(SenetError, match=r"cutout must .*at most 64, twice .*32 pixels, not 65\.") as caught:
        Recipe(cutout=65, image_size=32)
    assert str(caught.value).count(". ") == 0, "one sentence"
    # The size is often chosen by the images only.
    with pytest.raises(SenetError, match=r"cutout must be at most 64, .*, not 65"):
        replace(Recipe(cutout=65), image_size=32)


@pytest.mark.parametrize("channels", [1, 3])
def test_cutout_is_zero_after_normalisation_as_far_as_bytes_can_tell(channels: int) -> None:
    mean, std = (0.4914, 0.4822, 0.4465)[:channels], (0.247, 0.2435, 0.2616)[:channels]
    source = ArraySource(np.full((4, 8, 8, channels), 255, np.uint8), [0, 1, 0, 1], ("a", "b"))
    # A square of twice the images' side covers them wherever its centre lies.
    recipe = Recipe(epochs=1, cutout=16, image_size=8, crop="resized", batch_size=4)
    images = prepare_images(source, source, recipe, channels=channels, mean=mean, std=std, seed=0, workers=0)
    normalise = Normalise(mean, std, torch.device("cpu"))
    (batch,) = images.train.epoch(0)
    assert normalise(batch.images).abs().max() < 0.01
    (batch,) = images.test.epoch(0)
    assert normalise(batch.images).min() > 1, "test images are whole"


def test_the_papers_imagenet_recipe_is_allowed() -> None:
    Recipe(
        epochs=100,
        batch_size=1024,
        learning_rate=0.6,
        schedule="step",
        step_epochs=(30, 60, 90),
        weight_decay=1e-4,
    )


def test_every_field_tells_what_it_is() -> None:
    for each in fields(Recipe):
        assert len(each.metadata["help"]) > 15, each.name
