"""How images are cut out and normalised for what is evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from senet.data.views import PublishedViews, Views
from senet.networks.preprocess import Preprocess
from senet.training.images import Normalise, test_transform
from senet.training.recipe import Recipe


class View(Protocol):
    """What belongs to weights: the images they see."""

    @property
    def size(self) -> int:
        """Side in pixels of what the network was tested with."""

    @property
    def channels(self) -> int:
        """Channels of the images, 1 or 3."""

    def views(self, size: int, resize: int | None, crops: int) -> Views:
        """Return what is cut out of an image; ``resize=None`` takes the shorter side that belongs to it."""

    def normalise(self, device: torch.device) -> Normalise:
        """Return what makes bytes ready for the network."""

    def describe(self) -> str:
        """Return mean, std and how images are resized, as text."""


@dataclass(frozen=True, kw_only=True)
class TrainedView:
    """As a run folder's training tests.

    Attributes:
        recipe: of the training.
        channels: of its images.
        mean: of each channel, 0 to 1.
        std: of each channel.
    """

    recipe: Recipe
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def size(self) -> int:
        """Side in pixels that the training tested with."""
        return self.recipe.image_size

    def views(self, size: int, resize: int | None, crops: int) -> Views:
        """Return what is cut out of an image."""
        own = self.recipe.test_resize
        # Of another size, the same share of the image is seen.
        scaled = round(own * size / self.size) if own and size != self.size else own
        tested = test_transform(
            Recipe(image_size=size, test_resize=scaled, crop=self.recipe.crop), self.channels
        )
        return Views(
            size=size,
            channels=self.channels,
            crop=tested.crop,
            resize=tested.shorter_side if resize is None else resize,
            crops=crops,
        )

    def normalise(self, device: torch.device) -> Normalise:
        """Return what the training normalises with."""
        return Normalise(self.mean, self.std, device)

    def describe(self) -> str:
        """Return mean and std, as text."""
        return f"bilinear, mean {_listed(self.mean)}, std {_listed(self.std)} as in its training"


@dataclass(frozen=True, kw_only=True)
class PublishedView:
    """As the publisher of weights tests, to the last pixel.

    Attributes:
        preprocess: that belongs to the weights.
    """

    preprocess: Preprocess

    @property
    def size(self) -> int:
        """Side in pixels that the weights were tested with."""
        return self.preprocess.crop

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.preprocess.channels

    def views(self, size: int, resize: int | None, crops: int) -> Views:
        """Return what is cut out of an image."""
        own = self.preprocess
        return PublishedViews(
            size=size,
            channels=own.channels,
            crop="resized",
            resize=round(size * own.resize / own.crop) if resize is None else resize,
            crops=crops,
            interpolation=own.interpolation,
        )

    def normalise(self, device: torch.device) -> Normalise:
        """Return what computes as `Preprocess` does, on a batch."""
        return _PreprocessNormalise(self.preprocess, device)

    def describe(self) -> str:
        """Return mean, std and how images are resized, as text."""
        own = self.preprocess
        return (
            f"{own.interpolation}, {own.channel_order} from {own.scale.replace('..', ' to ')}, "
            f"mean {_listed(own.mean)}, std {_listed(own.std)}"
        )


class _PreprocessNormalise(Normalise):
    """In the order of operations of `Preprocess`, so that the same bytes give the same floats."""

    def __init__(self, preprocess: Preprocess, device: torch.device) -> None:
        super().__init__(preprocess.mean, preprocess.std, device)
        self.reverse, self.full = preprocess.channel_order == "BGR", preprocess.scale == "0..1"
        self.shift, self.divisor = (
            torch.tensor(each, device=device).view(1, -1, 1, 1) for each in (preprocess.mean, preprocess.std)
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 images on the device."""
        moved = images.to(self.device, non_blocking=True)
        floats = (moved.flip(1) if self.reverse else moved).to(torch.float32, memory_format=self.layout)
        return ((floats / 255 if self.full else floats) - self.shift) / self.divisor


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
