"""What can end a training early, as sentences that say what to do."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from pathlib import Path

import torch

from senet.errors import SenetError
from senet.text import counted
from senet.training.recipe import FittedRecipe

# The CPU's allocator has no error class of its own, and oneDNN, which runs convolutions there, only says what
# it could not make.
_SIGNS_ON_A_CPU = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "could not create a primitive",
    "could not create a memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether ``error`` means that a tensor found no place."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS_ON_A_CPU)


def largest_that_fits(run: Callable[[int], None], images: int, device: torch.device) -> int:
    """Return how many images fit, trying halves of ``images``; 0 where not even two do.

    Args:
        run: runs forward and backward on so many images.
        images: that did not fit.
        device: whose unused memory is given back between two tries.
    """
    while images > 2:
        images = max(2, images // 2)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            run(images)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return images
    return 0


def out_of_memory(
    recipe: FittedRecipe, images: int, fits: int | None, device: torch.device, processes: int
) -> SenetError:
    """Return the error that says what to do.

    Args:
        recipe: of the training.
        images: that one process had to hold at once.
        fits: how many would fit; ``None`` where that could not be tried.
        device: that is too small.
        processes: how many share every batch.
    """
    what = (
        f"A training step with {counted(images, 'image')} does not fit into the memory of {device} "
        f"(batch_size {recipe.batch_size}"
    )
    what += f", accumulate {recipe.accumulate})" if recipe.accumulate > 1 else ")"
    if fits == 0:
        return SenetError(
            f"{what}, not even with two: choose a smaller image size or network, or use recompute."
        )
    smaller = fits or max(1, images // 2)
    found = f"{smaller} would fit" if fits else f"{smaller} may fit"
    batch = smaller * recipe.accumulate * processes
    advice = f"start over in another folder with batch_size {batch}"
    # Every process cuts its share of a batch; where there are few images, that is less than batch_size says.
    share = images * recipe.accumulate
    accumulate = _dividing(math.gcd(recipe.batch_size, share), at_least=-(-share // smaller))
    if accumulate is not None:
        advice += f", or with accumulate {accumulate}, which computes the same steps in smaller parts"
    return SenetError(f"{what}; {found}: {advice}.")


def _dividing(number: int, *, at_least: int) -> int | None:
    """Return the smallest divisor of ``number`` that is at least so large, if there is one."""
    return next((each for each in range(at_least, number + 1) if number % each == 0), None)


def not_finite(
    what: str, value: float | str, *, step: int, epoch: int, kept: Path, rate: float
) -> SenetError:
    """Return the error for a training that has diverged.

    Args:
        what: became ``value``, such as "The loss".
        value: nan or infinite.
        step: in which that was seen.
        epoch: counted from 1.
        kept: where the last good checkpoint is, if there is one.
        rate: the recipe's learning rate.
    """
    last = f"the last good checkpoint is {kept}" if kept.exists() else "no checkpoint was written yet"
    return SenetError(
        f"{what} became {value} at step {step} (epoch {epoch}) in {kept.parent}; {last}. Try a learning "
        f"rate below {rate} or a longer warm-up, in a new folder."
    )
