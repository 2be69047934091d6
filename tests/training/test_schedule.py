from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

from senet.training.recipe import Recipe
from senet.training.schedule import drops, learning_rate

STEPS = 7


def rates_of_torch(scheduler_of: type[LRScheduler], **options: object) -> list[float]:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.6)
    scheduler = scheduler_of(optimiser, **options)  # type: ignore[arg-type]
    rates = []
    for _ in range(10 * STEPS):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def rates(recipe: Recipe) -> list[float]:
    return [learning_rate(recipe, step, STEPS) for step in range(recipe.epochs * STEPS)]


def test_cosine_is_that_of_torch() -> None:
    recipe = Recipe(epochs=10, learning_rate=0.6, warmup_epochs=0)
    assert rates(recipe) == pytest.approx(rates_of_torch(CosineAnnealingLR, T_max=10 * STEPS), rel=1e-9)


def test_steps_are_those_of_torch() -> None:
    recipe = Recipe(
        epochs=10, learning_rate=0.6, warmup_epochs=0, schedule="step", step_epochs=(3, 8), step_factor=0.2
    )
    expected = rates_of_torch(MultiStepLR, milestones=[3 * STEPS, 8 * STEPS], gamma=0.2)
    assert rates(recipe) == pytest.approx(expected, rel=1e-12)


def test_default_steps_are_the_papers() -> None:
    assert drops(Recipe(epochs=100, schedule="step")) == (30, 60, 90)


@pytest.mark.parametrize(("epochs", "expected"), [(1, ()), (2, (1,)), (3, (1, 2)), (5, (2, 3, 4))])
def test_a_short_training_starts_at_the_full_rate(epochs: int, expected: tuple[int, ...]) -> None:
    recipe = Recipe(epochs=epochs, schedule="step", learning_rate=0.1, warmup_epochs=0)
    assert drops(recipe) == expected
    assert rates(recipe)[0] == recipe.learning_rate


def test_warm_up_rises_to_the_full_rate_and_no_further() -> None:
    got = rates(Recipe(epochs=10, learning_rate=0.6, warmup_epochs=2))
    assert got[0] == pytest.approx(0.6 / (2 * STEPS + 1))
    assert got[: 2 * STEPS + 1] == sorted(got[: 2 * STEPS + 1])
    assert max(got) == got[2 * STEPS] == pytest.approx(0.6)
    assert 0 < got[-1] < 0.01
