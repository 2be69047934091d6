"""The random numbers that decide one image's augmentation, drawn before the image is seen."""

from __future__ import annotations

from typing import NamedTuple

# Seeds made of a choice have as many bits as a float's fraction.
_SEEDS = 2**53


class Choices(NamedTuple):
    """Random numbers in [0, 1) that decide one augmentation; each has one use.

    What needs many numbers, RandAugment and jitter, seeds a generator with its one. New fields come last,
    so that trainings from before them keep their images.
    """

    area: float = 0.5
    ratio: float = 0.5
    top: float = 0.5
    left: float = 0.5
    flip: float = 0.5
    erase: float = 0.5
    erased_area: float = 0.5
    erased_ratio: float = 0.5
    erased_top: float = 0.5
    erased_left: float = 0.5
    cutout_row: float = 0.5
    cutout_column: float = 0.5
    angle: float = 0.5
    jitter: float = 0.5
    operations: float = 0.5


CENTRE = Choices()


def seed_of(choice: float) -> int:
    """Return the seed in [0, 2**53) that a number in [0, 1) stands for."""
    return int(choice * _SEEDS)
