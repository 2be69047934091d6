"""From a picture to what a network takes: the preprocessing that belongs to its weights.

Imports torch, NumPy and Pillow only when a picture is made ready, so that the table of released
checkpoints can be listed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from senet.checks import finite_numbers, one_of, positive, require_type
from senet.errors import SenetError
from senet.networks.specs import NetworkSpec
from senet.schema import shown

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from senet.data.pictures import Picture
    from senet.data.views import Views

Interpolation = Literal["bilinear", "bicubic"]
ChannelOrder = Literal["RGB", "BGR"]
Scale = Literal["0..1", "0..255"]
TransformOf = Literal["torchvision", "senet"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WORDNET_ORDER = "ImageNet-1k, sorted by WordNet id"
"""The order of classes in every checkpoint of the table but the authors' own files, which have another."""

# The shorter side of an image before its centre is cut out (Section 6.1 of the paper).
_SHORTER_SIDES = {224: 256, 299: 352}
_CHOICES = {
    "interpolation": get_args(Interpolation),
    "channel_order": get_args(ChannelOrder),
    "scale": get_args(Scale),
    "transform": get_args(TransformOf),
}


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Resize the shorter side, cut out the centre, bring the values to the network's scale.

    The same picture gives the same numbers as the transforms with which the weights were tested: those of
    torchvision and timm, or those of senet's own trainings. They round sizes and crops differently, and
    senet's decodes large JPEG files at a fraction of their size.

    Attributes:
        crop: side in pixels of the square that is cut out.
        resize: pixels of the shorter side before that.
        interpolation: of the resizing, antialiased.
        channels: of the images the network takes: 3, or 1 for greyscale.
        channel_order: of three channels.
        scale: of the values before mean and std: black to white is 0 to 1 or 0 to 255.
        mean: subtracted from each channel, in ``scale`` and ``channel_order``.
        std: what each channel is divided by after that.
        labels: the name of the order of the classes, or ``None`` where the weights are fresh.
        transform: whose sizes, crops and order of arithmetic: ``"torchvision"`` (and timm) or ``"senet"``.
        levels: of 16-bit greyscale, the values that are black and white; ``None`` stands for 0 and 65535.

    Raises:
        SenetError: a value is not allowed.
    """

    crop: int = 224
    resize: int = 256
    interpolation: Interpolation = "bilinear"
    channels: int = 3
    channel_order: ChannelOrder = "RGB"
    scale: Scale = "0..1"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    labels: str | None = None
    transform: TransformOf = "torchvision"
    levels: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("crop", "resize", "channels"):
            value = positive(f"{name} of the preprocessing", getattr(self, name))
            object.__setattr__(self, name, value)
        for name, allowed in _CHOICES.items():
            one_of(f"{name} of the preprocessing", getattr(self, name), allowed)
        if self.resize < self.crop:
            raise SenetError(
                f"resize of the preprocessing must be at least the crop, {self.crop}, not {self.resize}."
            )
        for name in ("mean", "std"):
            given, called = getattr(self, name), f"{name} of the preprocessing"
            numbers = finite_numbers(called, given)
            if len(numbers) != self.channels:
                raise SenetError(
                    f"{called} must have one number for each of the {self.channels} channels, not "
                    f"{shown(given)}."
                )
            object.__setattr__(self, name, numbers)
        if min(self.std) <= 0:
            raise SenetError(f"std of the preprocessing must be above 0, not {self.std!r}.")
        if self.levels is not None:
            levels = finite_numbers("levels of the preprocessing", self.levels)
            object.__setattr__(self, "levels", tuple(map(int, levels)))
            if len(levels) != 2 or not all(each == int(each) and 0 <= each <= 65535 for each in levels):
                raise SenetError(
                    f"levels of the preprocessing must be two values from 0 to 65535, not {self.levels!r}."
                )
        if self.labels is not None:
            require_type("labels of the preprocessing", self.labels, str, "the name of an order of classes")
        others = (self.interpolation, self.channel_order, self.scale)
        if self.transform == "senet" and others != ("bilinear", "RGB", "0..1"):
            raise SenetError(
                "The transform 'senet' only supports bilinear, RGB and 0..1: choose the transform "
                f"'torchvision' for {', '.join(others)}."
            )

    @classmethod
    def of(cls, spec: NetworkSpec) -> Self:
        """Return what a network with fresh weights takes.

        That is the paper's crop with ImageNet's mean and std. Images of the CIFAR networks are used whole.
        """
        side = spec.input_size
        return cls(crop=side, resize=_SHORTER_SIDES.get(side, side)).with_channels(spec.in_channels)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Return what `dataclasses.asdict` and JSON made of one.

        Raises:
            SenetError: a field that does not exist, or a value that is not allowed.
        """
        unknown = values.keys() - {each.name for each in fields(cls)}
        if unknown:
            raise SenetError(f"Preprocessing has no field {', '.join(sorted(unknown))}.")
        return cls(**values)

    def with_channels(self, channels: int) -> Self:
        """Return the same for images of another number of channels.

        One channel gets the mean of the means; more repeat those there are in turn, as the first
        convolution's weights are repeated.
        """
        if channels == self.channels:
            return self
        return replace(
            self, channels=channels, mean=_spread(self.mean, channels), std=_spread(self.std, channels)
        )

    @property
    def view(self) -> Views:
        """What is done to a decoded picture, up to bytes (channels, crop, crop).

        Raises:
            SenetError: the network takes images of neither 1 nor 3 channels.
        """
        from senet.data.views import PublishedViews, Views

        if self.channels not in (1, 3):
            raise SenetError(
                f"Image files have 1 or 3 channels, but this network takes {self.channels}: prepare its "
                "input yourself."
            )
        if self.transform == "senet":
            return Views(size=self.crop, channels=self.channels, crop="resized", resize=self.resize)
        return PublishedViews(
            size=self.crop,
            channels=self.channels,
            crop="resized",
            resize=self.resize,
            interpolation=self.interpolation,
        )

    def normalised(self, pixels: Tensor, memory_format: torch.memory_format | None = None) -> Tensor:
        """Return bytes (N, channels, height, width), in RGB, as float32 for the network, where they are."""
        import torch

        layout = torch.contiguous_format if memory_format is None else memory_format
        if self.channel_order == "BGR":
            pixels = pixels.flip(1)
        floats = pixels.to(torch.float32, memory_format=layout)
        mean, std = (
            torch.tensor(each, device=pixels.device).view(1, -1, 1, 1) for each in (self.mean, self.std)
        )
        if self.transform == "senet":  # in the order of operations of its training
            return floats.sub_(mean * 255).mul_(1 / (std * 255))
        return ((floats / 255 if self.scale == "0..1" else floats) - mean) / std

    def __call__(self, images: Picture | Sequence[Picture]) -> Tensor:
        """Return a float32 batch, (N, channels, crop, crop): what a test of the weights sees, to the bit.

        Pictures are decoded as for a training: upright as EXIF tells, transparent parts white, 16 bits scaled
        to 8 by ``levels``, CMYK and palettes as RGB. A large JPEG is decoded at the size that the training's
        tests take; one that Pillow has loaded already, an array or a tensor is taken as it is.

        Args:
            images: a picture or a list of them, each a path, the bytes of a file, a Pillow image of any mode,
                a uint8 array (H, W, C) or (H, W), or a uint8 tensor (C, H, W) or (H, W).

        Raises:
            SenetError: something else, a file that is no picture, or the network takes images of neither
                1 nor 3 channels.
        """
        import numpy as np
        import torch

        from senet.data.choices import CENTRE
        from senet.data.pictures import open_picture

        view = self.view
        pictures: Sequence[Any] = images if isinstance(images, list | tuple) else [images]
        if not pictures:
            raise SenetError("images must have at least one image, not an empty list.")
        opened = (open_picture(picture, view, self.levels) for picture in pictures)
        return self.normalised(torch.from_numpy(np.stack([view(image, CENTRE) for image in opened])))


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[index % len(values)] for index in range(channels))
