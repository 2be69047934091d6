"""How images are cut out and normalised for what is evaluated: as its `Preprocess` says, at any size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from senet.data.transforms import shorter_side_for
from senet.data.views import Views
from senet.networks.preprocess import Preprocess


@dataclass(frozen=True, kw_only=True)
class View:
    """What belongs to weights: the images they see, to the last pixel.

    Attributes:
        preprocess: that the weights were tested with.
    """

    preprocess: Preprocess

    @property
    def size(self) -> int:
        """Side in pixels of what the weights were tested with."""
        return self.preprocess.crop

    @property
    def channels(self) -> int:
        """Channels of the images, 1 or 3."""
        return self.preprocess.channels

    @property
    def is_whole(self) -> bool:
        """Whether a training of senet used its images whole, as it does small ones."""
        return self.preprocess.transform == "senet" and self.preprocess.resize == self.preprocess.crop

    def views(self, size: int, resize: int | None, crops: int) -> Views:
        """Return what is cut out of an image; ``resize=None`` takes the shorter side that belongs to it."""
        shorter = self._shorter_side(size) if resize is None else resize
        return replace(self.preprocess.view, size=size, resize=shorter, crops=crops)

    def _shorter_side(self, size: int) -> int:
        own = self.preprocess
        if own.transform == "senet" and own.resize == shorter_side_for(own.crop):
            return shorter_side_for(size)
        return round(size * own.resize / own.crop)  # the same share of the image

    def normalise(self, device: torch.device) -> Normalised:
        """Return what makes bytes ready for the network."""
        return Normalised(self.preprocess, device)

    def describe(self) -> str:
        """Return mean, std and how images are resized, as text."""
        own = self.preprocess
        numbers = f"mean {_listed(own.mean)}, std {_listed(own.std)}"
        if own.transform == "senet":
            return f"bilinear, {numbers}, as in training"
        return f"{own.interpolation}, {own.channel_order} from {own.scale.replace('..', ' to ')}, {numbers}"


class Normalised:
    """Bytes (N, C, H, W) to what the network takes, on its device, as `Preprocess` computes it."""

    def __init__(self, preprocess: Preprocess, device: torch.device) -> None:
        self.preprocess, self.device = preprocess, device

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 images on the device."""
        moved = images.to(self.device, non_blocking=True)
        return self.preprocess.normalised(moved, torch.channels_last)


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
