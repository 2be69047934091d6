"""From an image to the uint8 array a network's input is made of.

A transform first draws all its random choices (`Choices`), without having seen the image. From them
it knows which decoded sizes are large enough, and the rest is a function of image and choices.
Arrays leave as (C, H, W) uint8: worker processes ship a quarter of what floats would take, and
normalisation happens on the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Literal, Self

import numpy as np
from PIL import Image

from senet.data.augment import (
    cut_out,
    erased,
    jittered,
    padded_crop,
    random_rectangle,
    resize_shorter,
    resized_crop,
)
from senet.data.choices import CENTRE, Choices, seed_of
from senet.data.randaugment import randaugment, rotate
from senet.data.source import Pixels
from senet.errors import SenetError

__all__ = ["CENTRE", "CROPS", "Choices", "Crop", "EvalTransform", "TrainTransform", "Transform"]

Crop = Literal["pad", "resized"]
CROPS: tuple[Crop, ...] = ("pad", "resized")

# Evaluation shrinks by at least this much after a reduced decoding: less would show in the pixels, because
# reducing averages squares where resizing weighs neighbours. Training images vary more than that anyway.
LEAST_SHRINKING = 2
# SENet, section 5.1, cuts the centre out of images whose shorter side is this long ...
TESTED_SHORTER_SIDES = {224: 256, 299: 352}
# ... and other sizes get the proportion of the first.
WHOLE_OVER_CENTRE = 256 / 224

# What an augmentation may be: least, greatest, and how an error says it.
_RANGES = {
    "least_area": (1e-4, 1, "above 0 and at most 1"),
    "erasing": (0, 1, "between 0 and 1"),
    "rotation": (0, 180, "between 0 and 180 degrees"),
    "jitter": (0, 255, "between 0 and 255"),
    "randaugment": (0, 10, "between 0 (off) and 10"),
    "randaugment_layers": (1, 10, "between 1 and 10"),
}


@dataclass(frozen=True, kw_only=True)
class Transform(ABC):
    """What every transform has.

    Attributes:
        size: side of the square that leaves, in pixels.
        channels: 1 for greyscale, 3 for RGB; images are converted.
        crop: "pad" for small images, which are used whole, or "resized" for photographs.

    Raises:
        SenetError: a value is not allowed.
    """

    size: int
    channels: int
    crop: Crop

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SenetError(f"image_size must be a whole number of at least 1, not {self.size}.")
        if self.channels not in (1, 3):
            raise SenetError(f"channels must be 1 or 3, not {self.channels}.")
        if self.crop not in CROPS:
            raise SenetError(f"crop must be one of {', '.join(CROPS)}, not {self.crop!r}.")

    @property
    def planes(self) -> int:
        """Channels of the array that leaves: those of the image, for each of the crops it is cut into."""
        return self.channels

    @abstractmethod
    def draw(self, random: Random) -> Choices:
        """Draw the random choices for one image."""

    @abstractmethod
    def is_large_enough(self, width: int, height: int, choices: Choices) -> bool:
        """Tell whether an upright image, reduced to this many pixels while decoding, is enough."""

    @abstractmethod
    def frame(self, image: Image.Image, choices: Choices) -> Image.Image:
        """Resize, and crop where that needs resampling."""

    @abstractmethod
    def finish(self, image_HWC: Pixels, choices: Choices) -> Pixels:
        """Do the rest on the pixels; returns (size, size, C)."""

    def at_epoch(self, epoch: int) -> Self:
        """Return the transform of one epoch, counted from 0."""
        return self

    def __call__(self, image: Image.Image, choices: Choices) -> Pixels:
        """Return the image as (planes, size, size) uint8."""
        pixels = np.asarray(self.converted(self.frame(image, choices)))
        pixels = pixels.reshape(*pixels.shape[:2], self.channels)
        return np.ascontiguousarray(self.finish(pixels, choices).transpose(2, 0, 1))

    def converted(self, image: Image.Image) -> Image.Image:
        """Return the image in greyscale or RGB, as ``channels`` says."""
        mode = "L" if self.channels == 1 else "RGB"
        return image if image.mode == mode else image.convert(mode)

    def needs_no_resampling(self, pixels_NHWC: Pixels) -> bool:
        """Tell whether `finish` alone does the whole transform on images of this shape."""
        _, height, width, channels = pixels_NHWC.shape
        return self.crop == "pad" and min(height, width) == self.size and channels == self.channels


@dataclass(frozen=True, kw_only=True)
class TrainTransform(Transform):
    """Random crop, rotation, flip, RandAugment, jitter, erasing and Cutout, in this order.

    With crop "pad", the shorter side is brought to ``size`` where it differs, the image is turned, 4 black
    pixels are put around and a square is cut out at random. With "resized", a rectangle of ``least_area`` to
    100 % of the area and an aspect ratio from 3/4 to 4/3 is cut out at random, resized to the square and
    turned. Where no such ratio fits the drawn area (panoramas), the nearest is cut off at the image's edge.

    Attributes:
        sizes: side of the images in the first epochs, one for each; later ones have ``size``.
        least_area: smallest share of the area that crop "resized" keeps.
        flip: mirror left and right with probability 1/2.
        erasing: probability of blackening a random rectangle (Zhong and others, 2017).
        cutout: side in pixels of the square that is cut out of every image (DeVries and Taylor, 2017), 0 for
            none. Its centre is any pixel of the image, so that a part of it may lie outside. Where ``sizes``
            makes images smaller, it is smaller in proportion.
        rotation: images are turned around their centre by an angle drawn evenly between plus and minus so
            many degrees, bilinear (the released models have 10).
        jitter: a whole number between plus and minus this, another one for each pixel and channel, is added
            (the released models have 20).
        randaugment: strength of RandAugment (Cubuk and others, 2020), 1 to 10; 0 for none.
        randaugment_layers: operations that RandAugment applies, one after the other.
        fill: byte of each channel that stands in Cutout's square and in what turning, shearing and moving
            bring in from outside the image: the one nearest to the mean, for zero after normalisation. As
            bytes are rounded, up to 0.5 / (255 std) is left of it there, less than 0.01 for CIFAR; exactly
            zero would take a mask beside every batch.
    """

    sizes: tuple[int, ...] = ()
    least_area: float = 0.08
    flip: bool = True
    erasing: float = 0.0
    cutout: int = 0
    rotation: float = 0.0
    jitter: int = 0
    randaugment: int = 0
    randaugment_layers: int = 2
    fill: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        for name, (low, high, text) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise SenetError(f"{name} must be {text}, not {getattr(self, name)}.")
        if not 0 <= self.cutout <= 2 * self.size:
            raise SenetError(
                f"cutout must be between 0 and {2 * self.size}, twice the image size, not {self.cutout}."
            )
        if (self.cutout or self.rotation or self.randaugment) and len(self.fill) != self.channels:
            raise SenetError(
                f"fill must have one byte for each of the {self.channels} channels, not {self.fill}."
            )
        outside = [side for side in self.sizes if not 1 <= side <= self.size]
        if outside:
            raise SenetError(
                f"start_size must be between 1 and {self.size}, the final image size, not {outside[0]}."
            )

    def draw(self, random: Random) -> Choices:
        """Draw all numbers, used or not, so that switching one augmentation off leaves the others."""
        draw = random.random
        return Choices(*(draw() for _ in Choices._fields))

    def at_epoch(self, epoch: int) -> TrainTransform:
        """Return the transform with the image size of one epoch."""
        side = self.sizes[epoch] if epoch < len(self.sizes) else self.size
        return self if side == self.size else _smaller(self, side)

    def is_large_enough(self, width: int, height: int, choices: Choices) -> bool:
        """Tell whether the whole image, or the part cut out, has ``size`` pixels each way."""
        if self.crop == "pad":
            return min(width, height) >= self.size
        return min(random_rectangle(width, height, self.least_area, choices)) >= self.size

    def frame(self, image: Image.Image, choices: Choices) -> Image.Image:
        """Bring the shorter side to ``size``, or cut out the random rectangle and resize it; then turn."""
        if self.crop == "pad":
            framed = resize_shorter(image, self.size)
        else:
            framed = resized_crop(image, self.size, self.least_area, choices)
        if self.rotation == 0:
            return framed
        return rotate(self.converted(framed), self.rotation * (2 * choices.angle - 1), self.fill)

    def finish(self, image_HWC: Pixels, choices: Choices) -> Pixels:
        """Crop the padded image, and do what does not depend on the crop."""
        if self.crop == "pad":
            image_HWC = padded_crop(image_HWC, self.size, choices)
        if self.flip and choices.flip < 0.5:
            image_HWC = image_HWC[:, ::-1]
        if self.randaugment > 0:
            image_HWC = self._randaugmented(image_HWC, choices)
        if self.jitter > 0:
            image_HWC = jittered(image_HWC, self.jitter, choices)
        if choices.erase < self.erasing:
            image_HWC = erased(image_HWC, choices)
        if self.cutout > 0:
            image_HWC = cut_out(image_HWC, self.cutout, self.fill, choices)
        return image_HWC

    def needs_no_resampling(self, pixels_NHWC: Pixels) -> bool:
        """Tell whether `finish` alone does the whole transform on images of this shape."""
        return self.rotation == 0 and super().needs_no_resampling(pixels_NHWC)

    def _randaugmented(self, image_HWC: Pixels, choices: Choices) -> Pixels:
        image = Image.fromarray(image_HWC[:, :, 0] if self.channels == 1 else image_HWC)
        changed = randaugment(
            image,
            strength=self.randaugment,
            layers=self.randaugment_layers,
            fill=self.fill,
            seed=seed_of(choices.operations),
        )
        return np.asarray(changed).reshape(image_HWC.shape)


# Asked for with every batch, and all images of a batch have one size.
@lru_cache(maxsize=64)
def _smaller(transform: TrainTransform, size: int) -> TrainTransform:
    cutout = round(transform.cutout * size / transform.size)
    return replace(transform, size=size, sizes=(), cutout=cutout)


@dataclass(frozen=True, kw_only=True)
class EvalTransform(Transform):
    """The centre of the image, nothing random.

    Attributes:
        resize: pixels that the shorter side is brought to before the centre is cut out; 0 takes ``size`` with
            crop "pad", and with "resized" 256 for 224 and 352 for 299 (SENet, section 5.1), and 256/224 of
            other sizes.
    """

    resize: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if self.resize != 0 and self.resize < self.size:
            raise SenetError(
                f"test_resize must be 0 (chosen) or at least {self.size}, the image size, not {self.resize}."
            )

    @property
    def shorter_side(self) -> int:
        """Pixels of the shorter side before the centre is cut out."""
        if self.resize:
            return self.resize
        return self.size if self.crop == "pad" else shorter_side_for(self.size)

    def draw(self, random: Random) -> Choices:
        """Return the one choice there is."""
        return CENTRE

    def is_large_enough(self, width: int, height: int, choices: Choices) -> bool:
        """Tell whether the shorter side is at least twice as long as it is going to be."""
        return min(width, height) >= LEAST_SHRINKING * self.shorter_side

    def frame(self, image: Image.Image, choices: Choices) -> Image.Image:
        """Bring the shorter side to its length."""
        return resize_shorter(image, self.shorter_side)

    def finish(self, image_HWC: Pixels, choices: Choices) -> Pixels:
        """Cut out the centre."""
        top, left = ((side - self.size) // 2 for side in image_HWC.shape[:2])
        return image_HWC[top : top + self.size, left : left + self.size]

    def needs_no_resampling(self, pixels_NHWC: Pixels) -> bool:
        """Tell whether `finish` alone does the whole transform on images of this shape."""
        return self.shorter_side == self.size and super().needs_no_resampling(pixels_NHWC)


def shorter_side_for(size: int) -> int:
    """Return the shorter side in pixels of photographs whose centre of ``size`` pixels is tested."""
    return TESTED_SHORTER_SIDES.get(size, round(size * WHOLE_OVER_CENTRE))
