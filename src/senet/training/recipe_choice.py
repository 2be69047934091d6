"""What a training takes where its recipe leaves it open: chosen by the images, the network and its start.

Each rule below names its source, or is judged by what benchmarks/bench_defaults.py measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from senet.text import counted
from senet.training.recipe import FittedRecipe, Recipe

# He et al. (2016) train CIFAR's networks at 0.1 for batches of 128; Goyal et al. (2017) change the rate in
# proportion to the batch, which they find to hold up to batches of 8,192.
RATE, RATE_BATCH, LARGEST_SCALED_BATCH = 0.1, 128, 8192
# Without BatchNorm the first convolutions of a deep network diverge at that rate; VGG's was 0.01 for 256.
RATE_WITHOUT_NORM = 0.01
# PyTorch's transfer learning tutorial takes 0.001 for batches of 4 and 25 epochs for 244 images; half of it
# keeps more of the weights, as in senet's recipe fine-tune.
FINE_TUNING_RATE = 0.02
# Small batches give few images more steps (Brigato et al., 2021).
FEW_IMAGES, MANY_IMAGES = 2_000, 50_000
SMALL_BATCH, BATCH, LARGE_BATCH = 16, 32, 128
# From few photographs alone a network learns no fine detail, and fewer pixels allow more steps.
LARGEST_SIZE = 224
SIZES_OF_FEW = {1_000: 64, 10_000: 128}
# A training from the beginning learns little in fewer steps than these, and ends within minutes on two CPU
# cores where it takes no more arithmetic than this; a fine-tuning needs a quarter.
MULTIPLY_ADDS, MOST_IMAGES = 3e12, 100_000
LEAST_EPOCHS, MOST_EPOCHS = 10, 60
FINE_TUNING_SHARE, LEAST_FINE_TUNING_EPOCHS = 0.25, 5
# Forward, and backward to the maps and to the weights.
PASSES = 3
# Goyal et al. (2017) warm up for 5 epochs of 90.
WARMUP_SHARE, MOST_WARMUP_EPOCHS = 0.1, 5.0
WEIGHT_DECAY, FINE_TUNING_WEIGHT_DECAY = 5e-4, 1e-4


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What decides how to train where nobody says it.

    Attributes:
        images: to train on.
        multiply_adds: of the plain network for one image.
        normalised: whether the network has BatchNorm or another normalisation of batches.
        pretrained: whether the training starts from weights.
        full_size: whether the network expects photographs of 224 pixels, as weights and other packages do.
    """

    images: int = 0
    multiply_adds: float = 0.0
    normalised: bool = True
    pretrained: bool = False
    full_size: bool = True


def largest_size(situation: Situation) -> tuple[int, str]:
    """Return the side in pixels at which photographs are looked at at most, and why it is not the usual."""
    if not situation.full_size:
        for fewer, size in SIZES_OF_FEW.items():
            if situation.images < fewer:
                return size, f"for {counted(situation.images, 'image')} without pretrained weights"
    return LARGEST_SIZE, ""


def choose(recipe: Recipe, situation: Situation) -> tuple[FittedRecipe, tuple[str, ...]]:
    """Return ``recipe`` with every open setting chosen, and each choice with its reason.

    What a user gave stays; the learning rate follows the batch size, and the warm-up the epochs.

    Args:
        recipe: with ``crop`` and ``image_size`` chosen.
        situation: of the training.

    Raises:
        SenetError: a choice does not go with what was given.
    """
    values: dict[str, Any] = {each.name: getattr(recipe, each.name) for each in fields(recipe)}
    told = []
    for name, rule in _RULES.items():
        if values[name] is None:
            values[name], text = rule(values, situation)
            told.append(text)
    if values["batch_size"] > situation.images and situation.images % values["accumulate"] == 0:
        told.append(
            f"one batch of all {counted(situation.images, 'image')} instead of {values['batch_size']:,}"
        )
        values["batch_size"] = situation.images
    return FittedRecipe(**values), tuple(told)


def _epochs(values: dict[str, Any], situation: Situation) -> tuple[int, str]:
    affordable = MULTIPLY_ADDS / (PASSES * max(situation.multiply_adds, 1.0))
    wanted = min(affordable, MOST_IMAGES) / situation.images
    least = LEAST_EPOCHS
    if situation.pretrained:
        wanted, least = wanted * FINE_TUNING_SHARE, LEAST_FINE_TUNING_EPOCHS
    epochs = max(least, min(MOST_EPOCHS, round(wanted)))
    start = "from pretrained weights" if situation.pretrained else "from random initialisation"
    return epochs, f"{counted(epochs, 'epoch')} (for {counted(situation.images, 'image')}, {start})"


def _batch_size(values: dict[str, Any], situation: Situation) -> tuple[int, str]:
    images = situation.images
    batch = SMALL_BATCH if images < FEW_IMAGES else BATCH if images < MANY_IMAGES else LARGE_BATCH
    pieces = values["accumulate"]
    batch = min(math.ceil(batch / pieces) * pieces, max(images // pieces, 1) * pieces)
    return batch, f"batch size {batch} (for {counted(images, 'image')})"


def _learning_rate(values: dict[str, Any], situation: Situation) -> tuple[float, str]:
    batch = min(values["batch_size"], situation.images, LARGEST_SCALED_BATCH)
    rate, why = RATE, f"for batch size {batch:,}"
    if not situation.normalised:
        rate, why = RATE_WITHOUT_NORM, f"{why}, no BatchNorm"
    if situation.pretrained:
        rate, why = min(rate, FINE_TUNING_RATE), f"{why}, pretrained weights"
    rate = float(f"{rate * batch / RATE_BATCH:.3g}")
    return rate, f"learning rate {rate:g} ({why})"


def _warmup_epochs(values: dict[str, Any], situation: Situation) -> tuple[float, str]:
    epochs = min(round(WARMUP_SHARE * values["epochs"], 2), MOST_WARMUP_EPOCHS)
    return epochs, f"warm-up over {epochs:g} epoch{'' if epochs == 1 else 's'}"


def _weight_decay(values: dict[str, Any], situation: Situation) -> tuple[float, str]:
    decay = FINE_TUNING_WEIGHT_DECAY if situation.pretrained else WEIGHT_DECAY
    return decay, f"weight decay {decay:g}"


# In this order: the rate depends on the batch, the warm-up on the epochs.
_RULES: dict[str, Callable[[dict[str, Any], Situation], tuple[Any, str]]] = {
    "epochs": _epochs,
    "batch_size": _batch_size,
    "learning_rate": _learning_rate,
    "warmup_epochs": _warmup_epochs,
    "weight_decay": _weight_decay,
}
