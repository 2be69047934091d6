from __future__ import annotations

from dataclasses import replace

import pytest

from senet.errors import SenetError
from senet.training.recipe import CHOSEN, FittedRecipe, Recipe
from senet.training.recipe_choice import MOST_EPOCHS, Situation, choose

FEW = Situation(images=196, multiply_adds=340e6)


def chosen(situation: Situation = FEW, **given: object) -> FittedRecipe:
    return choose(Recipe(**given), situation)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("images", [2, 3, 9, 80, 196, 1_200, 5_000, 60_000, 1_300_000])
@pytest.mark.parametrize("multiply_adds", [0.0, 1e7, 4e9, 1e14])
@pytest.mark.parametrize("pretrained", [False, True])
def test_everything_is_chosen_and_each_choice_is_told(
    images: int, multiply_adds: float, pretrained: bool
) -> None:
    situation = Situation(images=images, multiply_adds=multiply_adds, pretrained=pretrained)
    recipe, told = choose(Recipe(), situation)
    assert all(getattr(recipe, name) is not None for name in CHOSEN) and len(told) == len(CHOSEN)
    assert 5 <= recipe.epochs <= MOST_EPOCHS and recipe.batch_size <= images
    assert 0 <= recipe.warmup_epochs < recipe.epochs
    again, nothing = choose(recipe, situation)
    assert (again, nothing) == (recipe, ()), "what is chosen stays"


def test_what_a_user_gives_stays_one_by_one() -> None:
    usual = chosen()
    given = {"epochs": 3, "batch_size": 7, "learning_rate": 0.3, "warmup_epochs": 0.25, "weight_decay": 0.0}
    for name, value in given.items():
        recipe, told = choose(Recipe(**{name: value}), FEW)  # type: ignore[arg-type]
        assert getattr(recipe, name) == value and len(told) == len(CHOSEN) - 1
        follows = {"epochs": {"warmup_epochs"}, "batch_size": {"learning_rate"}}.get(name, set())
        differing = {each for each in CHOSEN if getattr(recipe, each) != getattr(usual, each)}
        assert differing == {name} | follows


def test_the_rate_is_in_proportion_to_the_batch() -> None:
    many = replace(FEW, images=100_000)
    rates = {batch: chosen(many, batch_size=batch).learning_rate for batch in (32, 64, 256, 8192, 65_536)}
    assert rates[64] == 2 * rates[32] and rates[256] == 8 * rates[32]
    assert rates[65_536] == rates[8192], "as far as that is known to hold"
    assert chosen(many, batch_size=256, learning_rate=0.123).learning_rate == 0.123
    assert "learning rate 0.05 (for batch size 64)" in choose(Recipe(batch_size=64), many)[1]


def test_weights_and_networks_without_norm_get_lower_rates() -> None:
    assert chosen(replace(FEW, pretrained=True)).learning_rate < chosen().learning_rate
    assert chosen(replace(FEW, pretrained=True)).epochs < chosen().epochs
    assert chosen(replace(FEW, normalised=False)).learning_rate < chosen().learning_rate


def test_epochs_follow_images_and_arithmetic() -> None:
    assert (
        chosen(replace(FEW, images=80)).epochs >= chosen().epochs > chosen(replace(FEW, images=2_000)).epochs
    )
    assert chosen(replace(FEW, multiply_adds=4e9)).epochs < chosen().epochs


@pytest.mark.parametrize(
    ("images", "given", "batch"),
    [
        (33, {}, 16),
        (7, {}, 7),
        (33, {"accumulate": 3}, 18),
        (5, {"accumulate": 3}, 3),
        (33, {"batch_size": 10**6}, 33),
    ],
)
def test_a_batch_holds_no_more_than_there_is_and_can_be_cut(
    images: int, given: dict[str, int], batch: int
) -> None:
    assert chosen(replace(FEW, images=images), **given).batch_size == batch


def test_short_trainings_warm_up_for_less() -> None:
    assert chosen(epochs=1).warmup_epochs == 0.1


def test_nothing_is_left_open() -> None:
    with pytest.raises(SenetError, match="epochs is not chosen"):
        FittedRecipe()
