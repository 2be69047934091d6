"""What may go on in a folder: the same training, or one with more epochs and the same bits up to there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet.errors import SenetError
from senet.training.identity import extends, refuse_other_training
from senet.training.recipe import FittedRecipe
from senet.training.schedule import learning_rate
from senet.training.sizes import training_size
from tests.small import small_recipe

STEPS = 7


def identity(recipe: FittedRecipe, **others: Any) -> dict[str, Any]:
    return {"model": "small", "recipe": asdict(recipe), "images": "a", "checksum": repr(recipe), **others}


def kept(recipe: FittedRecipe, **others: Any) -> dict[str, Any]:
    """As a settings file has it."""
    stored: dict[str, Any] = json.loads(json.dumps(identity(recipe, **others)))
    return stored


def begins_alike(done: FittedRecipe, wanted: FittedRecipe) -> bool:
    """Go through all epochs of the shorter training."""

    def course(recipe: FittedRecipe) -> list[object]:
        frozen = recipe.epochs - recipe.freeze_norm_epochs
        return [
            (
                learning_rate(recipe, STEPS * epoch + step, STEPS),
                training_size(recipe, epoch),
                epoch >= frozen,
            )
            for epoch in range(done.epochs)
            for step in range(STEPS)
        ]

    return done.epochs < wanted.epochs and course(done) == course(wanted)


@st.composite
def recipes(draw: st.DrawFn) -> FittedRecipe:
    epochs = draw(st.integers(2, 7))
    before_end = st.integers(1, epochs - 1)
    schedule = draw(st.sampled_from(["step", "step", "step", "cosine"]))
    growing = draw(st.booleans())
    return small_recipe(
        epochs=epochs,
        schedule=schedule,
        step_epochs=tuple(sorted(draw(st.sets(before_end, max_size=2)))) if schedule == "step" else (),
        warmup_epochs=draw(st.sampled_from([0, 0.5])),
        freeze_norm_epochs=draw(st.sampled_from([0, 0, 0, 1])),
        image_size=32,
        start_size=8 if growing else 0,
        grow_epochs=draw(st.sampled_from([0, 1])) if growing else 0,
    )


@given(done=recipes(), wanted=recipes())
def test_a_training_extends_another_exactly_where_it_begins_alike(
    done: FittedRecipe, wanted: FittedRecipe
) -> None:
    same = (done.start_size, done.schedule) == (wanted.start_size, wanted.schedule)
    assert extends(kept(done), identity(wanted)) == (same and begins_alike(done, wanted))


STEP: dict[str, Any] = {"schedule": "step", "step_epochs": (1,)}
TEN: dict[str, Any] = {"schedule": "step", "epochs": 10}


@pytest.mark.parametrize(
    ("done", "wanted", "said"),
    [
        (STEP, STEP | {"epochs": 5, "step_epochs": (1, 3)}, ""),
        (STEP, STEP | {"epochs": 2}, "has 3 epochs and cannot be shortened to 2 epochs: give --epochs 3 or"),
        (
            {},
            {"epochs": 5},
            r"cannot be extended from 3 epochs to 5 epochs, because the cosine.*: choose another",
        ),
        (STEP, STEP | {"epochs": 5, "warmup_epochs": 0.3}, r"began with: add --warmup-epochs 0\.5, or"),
        (TEN, TEN | {"epochs": 20}, "add --step-epochs 3 6 9, or choose another folder with --out"),
        (TEN, TEN | {"epochs": 20, "step_epochs": (5, 15)}, "add --step-epochs 3 6 9 15, or"),
        (STEP | {"freeze_norm_epochs": 1}, STEP | {"epochs": 5}, "add --freeze-norm-epochs 3, or"),
        (STEP, STEP | {"epochs": 5, "freeze_norm_epochs": 3}, "add --freeze-norm-epochs 2, or"),
        (STEP | {"start_size": 4}, STEP | {"epochs": 8, "start_size": 4}, "add --grow-epochs 2, or"),
        (
            TEN | {"warmup_epochs": 1.0},
            TEN | {"epochs": 12},
            "add --warmup-epochs 1.0 --step-epochs 3 6 9, or",
        ),
        (
            STEP,
            STEP | {"epochs": 5, "momentum": 0.8},
            r"contains another training \(recipe\.epochs is 3 there",
        ),
        (STEP, STEP | {"warmup_epochs": 0.3}, r"contains another training \(recipe\.warmup_epochs is 0\.5"),
    ],
)
def test_what_keeps_a_training_from_being_extended_is_said(
    done: dict[str, Any], wanted: dict[str, Any], said: str
) -> None:
    stored, asked = kept(small_recipe(**done)), identity(small_recipe(**wanted))
    assert extends(stored, asked) == (not said)
    if not said:
        refuse_other_training(stored, asked, Path("x"))
        return
    with pytest.raises(SenetError, match=rf"\bx (.* )?{said}"):
        refuse_other_training(stored, asked, Path("x"))


@pytest.mark.parametrize("changed", [{"model": "other"}, {"images": "b"}, {"recipe": {}}, {"recipe": None}])
def test_another_training_is_not_extended(changed: dict[str, Any]) -> None:
    stored, asked = kept(small_recipe(**STEP)), identity(small_recipe(**STEP, epochs=5))
    for one, other in ((stored | changed, asked), (stored, asked | changed)):
        assert not extends(one, other)
        with pytest.raises(SenetError, match="x contains another training"):
            refuse_other_training(one, other, Path("x"))


def test_a_digest_of_images_is_not_shown() -> None:
    stored = kept(small_recipe(**STEP)) | {"images": "a745"}
    with pytest.raises(SenetError, match=r"another training \(.*the images differ") as caught:
        refuse_other_training(stored, identity(small_recipe(**STEP)) | {"model": "other"}, Path("x"))
    assert "a745" not in str(caught.value)
