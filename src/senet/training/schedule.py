"""The learning rate as a function of the step."""

from __future__ import annotations

import math

from senet.training.recipe import FittedRecipe

DEFAULT_STEP_FACTOR = 0.1


def learning_rate(recipe: FittedRecipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of one optimiser step.

    A linear warm-up reaches the full rate at the end of ``warmup_epochs``. After it the cosine
    schedule falls to zero at the end of the last epoch; the step schedule multiplies the rate by
    ``step_factor`` after each of ``step_epochs``.

    Args:
        recipe: the settings.
        step: optimiser steps done before this one, over all epochs.
        steps_per_epoch: optimiser steps of one epoch.
    """
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (math.floor(warmup) + 1)
    if recipe.schedule == "step":
        epoch = step // steps_per_epoch
        factor = DEFAULT_STEP_FACTOR if recipe.step_factor is None else recipe.step_factor
        return recipe.learning_rate * factor ** sum(epoch >= drop for drop in drops(recipe))
    total = recipe.epochs * steps_per_epoch
    done = (step - warmup) / (total - warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def drops(recipe: FittedRecipe) -> tuple[int, ...]:
    """Return the epochs after which the step schedule lowers the rate (paper: 30, 60, 90 of 100).

    In trainings of a few epochs some of these coincide or fall outside, and there are fewer drops.
    """
    default = {round(recipe.epochs * share) for share in (0.3, 0.6, 0.9)}
    return recipe.step_epochs or tuple(sorted(drop for drop in default if 0 < drop < recipe.epochs))
