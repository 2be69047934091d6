"""MixUp and CutMix: pairs of images, and of targets, mixed on the training device."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from senet.errors import SenetError
from senet.randomness import seed_from
from senet.text import counted

Floats = npt.NDArray[np.float64]


class _Pairs(NamedTuple):
    """The pairs of one piece: where they start in it, how many, and the first one's number in the batch."""

    start: int
    many: int
    number: int


class Mixing:
    """Mixes the images of a batch in pairs, both of each pair.

    Positions 2k and 2k + 1 of the whole batch are a pair; with ``repeats`` R, where R copies of an image
    stand next to each other, positions 2Rk + i and 2Rk + R + i for i below R, so that no image is mixed with
    itself. An image whose partner is missing, or in another piece, stays as it is. All random numbers are
    functions of (seed, step, pair), so that pieces of whole pairs are mixed as the whole batch would be.

    With a share s drawn from Beta(a, a), MixUp (Zhang and others, 2018) takes s of an image and 1 - s of its
    partner, for pixels and targets alike. CutMix (Yun and others, 2019) exchanges a rectangle of the area
    1 - s, its centre any pixel; what of it lies outside is cut off, and targets get the shares of the areas.

    Args:
        mixup: a of MixUp; 0 is off.
        cutmix: a of CutMix; 0 is off. With both, each batch takes one of the two at even odds.
        seed: of the training.
        repeats: how many copies of an image stand next to each other.

    Raises:
        SenetError: neither is on, or a value is out of range.
    """

    def __init__(self, *, mixup: float = 0.0, cutmix: float = 0.0, seed: int, repeats: int = 1) -> None:
        for name, value in (("mixup", mixup), ("cutmix", cutmix)):
            if not 0 <= value < math.inf:
                raise SenetError(f"{name} must be 0 (off) or above, not {value}.")
        if mixup == 0 and cutmix == 0:
            raise SenetError("mixup and cutmix are both 0: there is nothing to mix.")
        if repeats < 1:
            raise SenetError(f"repeats must be a whole number of at least 1, not {repeats}.")
        self.mixup, self.cutmix, self.seed, self.repeats = mixup, cutmix, seed, repeats

    def __call__(
        self, images: Tensor, targets: Tensor, *, step: int, first: int, total: int
    ) -> tuple[Tensor, Tensor]:
        """Mix one piece of a batch in place, and return it.

        Args:
            images: (N, C, H, W), normalised floats or bytes; the nearest byte is taken.
            targets: (N, K) probabilities.
            step: of the optimiser.
            first: position of the piece's first image in the whole batch.
            total: images of the whole batch.

        Raises:
            SenetError: the piece has no pair of images.
        """
        pairs = self._pairs(first, len(images))
        generator = np.random.Generator(np.random.PCG64(seed_from("mix", self.seed, step)))
        takes_mixup = generator.random() < 0.5 if self.mixup and self.cutmix else self.mixup > 0
        a = self.mixup if takes_mixup else self.cutmix
        # Drawn for the whole batch, so that a pair's numbers do not depend on how it was cut.
        shares, centres = generator.beta(a, a, total // 2), generator.random((total // 2, 2))
        mine = slice(pairs.number, pairs.number + pairs.many)
        one, other = self._halves(images, pairs)
        if takes_mixup:
            mixed_share = shares[mine]
            _mix(one, other, self._beside(mixed_share, one))
        else:
            boxes = _boxes(shares[mine], centres[mine], *images.shape[2:])
            mixed_share = 1 - _areas(boxes) / images[0, 0].numel()
            _exchange(one, other, boxes)
        one, other = self._halves(targets, pairs)
        _mix(one, other, self._beside(mixed_share, one))
        return images, targets

    def _pairs(self, first: int, count: int) -> _Pairs:
        group = 2 * self.repeats
        start = -first % group
        groups = max(count - start, 0) // group
        if groups == 0:
            raise SenetError(
                f"MixUp and CutMix cannot form a pair from the {counted(count, 'image')} that a process gets "
                "at a time: use larger batches, or fewer parts (--accumulate), so that "
                f"it gets at least {group}."
            )
        return _Pairs(start, groups * self.repeats, (first + start) // 2)

    def _halves(self, values: Tensor, pairs: _Pairs) -> tuple[Tensor, Tensor]:
        """Return views (G, R, ...) of the first and the second image of all pairs."""
        paired = values[pairs.start : pairs.start + 2 * pairs.many]
        groups = paired.view(-1, 2, self.repeats, *values.shape[1:])
        return groups[:, 0], groups[:, 1]

    def _beside(self, shares: Floats, values: Tensor) -> Tensor:
        """Return one number per pair in a shape that fits ``values`` (G, R, ...)."""
        kind = values.dtype if values.is_floating_point() else torch.float32
        return (
            torch.from_numpy(shares)
            .to(values.device, kind)
            .view(*values.shape[:2], *[1] * (values.dim() - 2))
        )


def _mix(one: Tensor, other: Tensor, share: Tensor) -> None:
    """Keep ``share`` of each and take the rest of its partner."""
    if one.is_floating_point():
        moved = (other - one).mul_(1 - share)
    else:
        # Bytes wrap around, so what is moved may be negative; the sums are bytes again.
        moved = (other.float() - one).mul_(1 - share).round_().to(torch.int16)
    one += moved
    other -= moved


def _exchange(one: Tensor, other: Tensor, boxes: npt.NDArray[np.int64]) -> None:
    # One pair after the other: masks over all of them move whole images, and took up to 30 times as long.
    for number, (top, bottom, left, right) in enumerate(boxes.tolist()):
        pair = divmod(number, one.shape[1])
        here, there = (each[pair][:, top:bottom, left:right] for each in (one, other))
        kept = here.clone()
        here.copy_(there)
        there.copy_(kept)


def _boxes(shares: Floats, centres: Floats, height: int, width: int) -> npt.NDArray[np.int64]:
    """Return top, bottom, left and right of each pair's rectangle in pixels, (pairs, 4)."""
    limits = []
    for side, centre in ((height, centres[:, 0]), (width, centres[:, 1])):
        length = np.floor(side * np.sqrt(1 - shares))
        begin = np.floor(centre * side) - length // 2
        limits += [begin.clip(0, side), (begin + length).clip(0, side)]
    return np.stack(limits, axis=1).astype(np.int64)


def _areas(boxes: npt.NDArray[np.int64]) -> Floats:
    heights, widths = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    return (heights * widths).astype(np.float64)
