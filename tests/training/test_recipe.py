from __future__ import annotations

import math
from dataclasses import fields

import pytest

from senet.errors import SenetError
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
    "precision": ["fp16"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_bad_values_are_refused_by_name_and_value(name: str, value: object) -> None:
    with pytest.raises(SenetError, match=name) as caught:
        Recipe(**{name: value})
    assert str(value) in str(caught.value)
    assert str(caught.value).count(". ") == 0, "one sentence"


def test_settings_without_effect_are_refused() -> None:
    with pytest.raises(SenetError, match="no effect"):
        Recipe(step_epochs=(3,))
    with pytest.raises(SenetError, match="no effect"):
        Recipe(step_factor=0.1)
    with pytest.raises(SenetError, match="momentum above 0"):
        Recipe(momentum=0, nesterov=True)
    with pytest.raises(SenetError, match="between 1 and 5"):
        Recipe(schedule="step", step_epochs=(9,))


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
