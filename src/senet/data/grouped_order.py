"""A random order for images that are fetched in groups, which a cache can follow."""

from __future__ import annotations

import numpy as np

from senet.data.source import ImageSource, Indices
from senet.errors import SenetError
from senet.randomness import seed_from

# More groups at a time mix images better and need more of them on the disk.
WINDOW_GROUPS = 4
# Groups that are looked at where not all images can be.
SAMPLED_GROUPS = 4


def grouped_order(groups: Indices, seed: int, epoch: int, *, window_groups: int = WINDOW_GROUPS) -> Indices:
    """Return a permutation that shuffles the groups, and then the images of a few groups at a time.

    The order is a function of its arguments alone, so that a training resumes to the same bits. Each
    group is needed in one stretch: all images of ``window_groups`` groups come before the next group's
    first. With one window over all groups the order is a plain shuffle.

    Args:
        groups: (N,), the group of each image.
        seed: of the training.
        epoch: from 0.
        window_groups: groups whose images are mixed.

    Returns:
        (N,) int64, indices of the images.

    Raises:
        SenetError: ``window_groups`` is below 1.
    """
    if window_groups < 1:
        raise SenetError(f"window_groups must be a whole number of at least 1, not {window_groups}.")
    generator = np.random.Generator(np.random.PCG64(seed_from("order", seed, epoch)))
    order = generator.permutation(len(groups))
    distinct, positions = np.unique(groups, return_inverse=True)
    windows = generator.permutation(len(distinct)) // window_groups
    return order[np.argsort(windows[positions[order]], kind="stable")].astype(np.int64)


def sample_evenly(source: ImageSource, most: int) -> Indices:
    """Return ascending indices of images evenly spaced over a source, (n,) int64 with n at most ``most``.

    Where images are fetched in groups, they come from `SAMPLED_GROUPS` groups evenly spaced, so that
    the rest need not be fetched.
    """
    indices = np.arange(len(source), dtype=np.int64)
    if source.groups is not None:
        distinct = np.unique(source.groups)
        chosen = distinct[_evenly(len(distinct), SAMPLED_GROUPS)]
        indices = np.flatnonzero(np.isin(source.groups, chosen))
    return indices[_evenly(len(indices), most)]


def _evenly(count: int, most: int) -> Indices:
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
