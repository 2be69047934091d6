"""The size of training images, which grows over the epochs where the recipe asks for it."""

from __future__ import annotations

from senet.training.recipe import FittedRecipe

# Networks for photographs halve their maps five times, those for small images twice.
LEAST_LARGE_SIZE = 64
LARGE_STEP, SMALL_STEP = 32, 4
DEFAULT_SHARE = 0.75


def training_size(recipe: FittedRecipe, epoch: int) -> int:
    """Return the side in pixels of one epoch's training images.

    It grows evenly from ``start_size`` to ``image_size``, which it has from epoch ``grow_epochs`` on (by
    default after three quarters of the epochs). Between the two it is rounded to a multiple of 32, or of 4
    where ``image_size`` is below 64.

    Args:
        recipe: with ``image_size`` chosen, not automatic.
        epoch: from 0.
    """
    grown = grown_after(recipe)
    if recipe.start_size == 0 or epoch >= grown:
        return recipe.image_size
    if epoch == 0:
        return recipe.start_size
    even = recipe.start_size + (recipe.image_size - recipe.start_size) * epoch / grown
    step = LARGE_STEP if recipe.image_size >= LEAST_LARGE_SIZE else SMALL_STEP
    return min(max(round(even / step) * step, recipe.start_size), recipe.image_size)


def grown_after(recipe: FittedRecipe) -> int:
    """Return the epochs after which training images have their full size, where they grow."""
    return recipe.grow_epochs or int(DEFAULT_SHARE * recipe.epochs)


def first_sizes(recipe: FittedRecipe) -> tuple[int, ...]:
    """Return `training_size` of every epoch before the images have their full size."""
    sizes = [training_size(recipe, epoch) for epoch in range(recipe.epochs)]
    return tuple(sizes[: sum(size < recipe.image_size for size in sizes)])
