"""Which images an epoch takes, in which order: a function of (seed, epoch) only."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from senet.data.grouped_order import grouped_order
from senet.data.source import Indices
from senet.errors import SenetError
from senet.randomness import seed_from

Sampling = Literal["shuffle", "balanced"]


def epoch_order(
    labels: Indices,
    *,
    seed: int,
    epoch: int,
    sampling: Sampling = "shuffle",
    repeats: int = 1,
    groups: Indices | None = None,
) -> tuple[Indices, Indices]:
    """Return the images of one epoch and, for each, how often it has come before in this epoch.

    An epoch is as long as there are images, whatever is asked for. With ``repeats`` (repeated augmentation;
    Hoffer and others, 2020) it takes N / repeats draws, and the images of each stand next to each other.
    So they stand in one batch; where ``repeats`` does not divide the batch size, those of the last image of
    a batch go on in the next one.

    With sampling "balanced" (class-aware sampling; Shen and others, 2016, as the first versions of the SENet
    paper had it), classes are drawn equally often. Each has a shuffled list of its images, and the next list
    begins where all images of the last one have come, also over the end of an epoch: an image that a large
    class had no room for comes before another one does again.

    Args:
        labels: (N,) of all training images.
        seed: of the training.
        epoch: from 0.
        sampling: every image once, or every class equally often.
        repeats: how often an image comes one time after the other.
        groups: (N,) of images that are fetched together, which a shuffled order then keeps together.

    Returns:
        Indices (N,) and repetitions (N,), which tell the augmentations of one image apart.

    Raises:
        SenetError: ``repeats`` is below 1.
    """
    if repeats < 1:
        raise SenetError(f"repeats must be a whole number of at least 1, not {repeats}.")
    generator = np.random.Generator(np.random.PCG64(seed_from("order", seed, epoch)))
    draws = math.ceil(len(labels) / repeats)
    if sampling == "balanced":
        chosen = generator.permutation(_balanced_draws(labels, seed, epoch * draws, draws))
        order = chosen.repeat(repeats)[: len(labels)]
        return order, _repetitions(order)
    if groups is None:
        chosen = generator.permutation(len(labels)).astype(np.int64)[:draws]
    else:
        chosen = grouped_order(groups, seed, epoch)[:draws]
    return chosen.repeat(repeats)[: len(labels)], np.arange(len(labels)) % repeats


def _balanced_draws(labels: Indices, seed: int, done: int, draws: int) -> Indices:
    """Return the images of ``draws`` draws after the first ``done``, class by class.

    All draws of a training take the classes in turns: of n draws, class k of K has (n - k) / K, rounded up.
    """
    by_class = np.argsort(labels, kind="stable").astype(np.int64)
    counts = np.unique(labels, return_counts=True)[1]
    members = np.split(by_class, np.cumsum(counts)[:-1])
    taken = []
    for number, images in enumerate(members):
        first, last = (-((number - drawn) // len(members)) for drawn in (done, done + draws))
        taken.append(_from_shuffled_lists(images, first, last, seed, number))
    return np.concatenate(taken)


def _from_shuffled_lists(images: Indices, first: int, last: int, seed: int, number: int) -> Indices:
    """Return places ``first`` to ``last`` of the shuffled lists of one class, laid end to end."""
    size = len(images)
    lists = [
        np.random.Generator(np.random.PCG64(seed_from("class list", seed, number, each))).permutation(images)
        for each in range(first // size, math.ceil(last / size))
    ]
    start = first - first // size * size
    return np.concatenate([images[:0], *lists])[start : start + last - first]


def _repetitions(order: Indices) -> Indices:
    """Return for each place how often its image stands before it."""
    by_image = np.argsort(order, kind="stable")
    ordered = order[by_image]
    begins = np.append(True, ordered[1:] != ordered[:-1])[: len(order)]
    place = np.arange(len(order))
    before = place - np.maximum.accumulate(np.where(begins, place, 0))
    repetitions = np.empty_like(order)
    repetitions[by_image] = before
    return repetitions
