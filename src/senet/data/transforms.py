"""From an image to the uint8 array a network's input is made of.

A transform first draws all its random choices (`Choices`), without having seen the image. From them
it knows how large the image must at least be decoded, and the rest is a function of image and choices.
Arrays leave as (C, H, W) uint8: worker processes ship a quarter of what floats would take, and
normalisation happens on the device.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple, Self

import numpy as np
from PIL import Image

from senet.data.source import Pixels
from senet.errors import SenetError

Crop = Literal["pad", "resized"]
CROPS: tuple[Crop, ...] = ("pad", "resized")

PADDING = 4
# Random area and aspect ratio as for Inception; SENet, section 6.1, trains with the same.
LEAST_AREA = 0.08
LEAST_RATIO, GREATEST_RATIO = 3 / 4, 4 / 3
# The whole picture is a little larger than the centre that is tested: 256 against 224 pixels.
WHOLE_OVER_CENTRE = 256 / 224
# Random erasing (Zhong and others, 2017): area and aspect ratio of the erased rectangle.
ERASED_AREA = (0.02, 1 / 3)
ERASED_RATIO = (0.3, 1 / 0.3)


class Choices(NamedTuple):
    """Random numbers in [0, 1) that decide one augmentation; each has one use."""

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


CENTRE = Choices()


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
            raise SenetError(f"The image size is {self.size} pixels, and 1 at least is needed.")
        if self.channels not in (1, 3):
            raise SenetError(f"Images with {self.channels} channels were asked for: 1 or 3 are possible.")
        if self.crop not in CROPS:
            raise SenetError(f"The crop is {self.crop!r}, and it must be one of {', '.join(CROPS)}.")

    @abstractmethod
    def draw(self, random: Random) -> Choices:
        """Draw the random choices for one image."""

    @abstractmethod
    def smallest(self, choices: Choices) -> int:
        """Return how many pixels both sides of the decoded image must at least have."""

    @abstractmethod
    def frame(self, image: Image.Image, choices: Choices) -> Image.Image:
        """Resize, and crop where that needs resampling."""

    @abstractmethod
    def finish(self, image_HWC: Pixels, choices: Choices) -> Pixels:
        """Do the rest, which only moves pixels; returns (size, size, C)."""

    def at_epoch(self, epoch: int) -> Self:
        """Return the transform of one epoch, counted from 0."""
        return self

    def __call__(self, image: Image.Image, choices: Choices) -> Pixels:
        """Return the image as (C, size, size) uint8."""
        framed = self.frame(image, choices)
        mode = "L" if self.channels == 1 else "RGB"
        pixels = np.asarray(framed if framed.mode == mode else framed.convert(mode))
        pixels = pixels.reshape(*pixels.shape[:2], self.channels)
        return np.ascontiguousarray(self.finish(pixels, choices).transpose(2, 0, 1))

    def needs_no_resampling(self, pixels_NHWC: Pixels) -> bool:
        """Tell whether `finish` alone does the whole transform on images of this shape."""
        _, height, width, channels = pixels_NHWC.shape
        return self.crop == "pad" and min(height, width) == self.size and channels == self.channels


@dataclass(frozen=True, kw_only=True)
class TrainTransform(Transform):
    """Random crop, horizontal flip, random erasing and Cutout, in this order.

    With crop "pad", the shorter side is brought to ``size`` where it differs, 4 black pixels are put
    around and a square is cut out at random. With "resized", a rectangle of 8 to 100 % of the area and
    an aspect ratio from 3/4 to 4/3 is cut out at random and resized to the square. Where no such ratio
    fits the drawn area (panoramas), the nearest one is cut off at the image's edge.

    Attributes:
        flip: mirror left and right with probability 1/2.
        erasing: probability of blackening a random rectangle (Zhong and others, 2017).
        cutout: side in pixels of the square that is cut out of every image (DeVries and Taylor, 2017), 0 for
            none. Its centre is any pixel of the image, so that a part of it may lie outside.
        cutout_fill: byte of each channel that stands in the square: the one nearest to the mean, for zero
            after normalisation. As bytes are rounded, up to 0.5 / (255 std) is left of it there,
            less than 0.01 for CIFAR; exactly zero would take a mask beside every batch.
    """

    flip: bool = True
    erasing: float = 0.0
    cutout: int = 0
    cutout_fill: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if not 0 <= self.erasing <= 1:
            raise SenetError(
                f"The probability of erasing is {self.erasing}, and it must lie between 0 and 1."
            )
        if not 0 <= self.cutout <= 2 * self.size:
            raise SenetError(
                f"The side of cutout is {self.cutout} pixels, and it must lie between 0 and "
                f"{2 * self.size}, twice the side of the images."
            )
        if self.cutout > 0 and len(self.cutout_fill) != self.channels:
            raise SenetError(
                f"Cutout fills with {self.cutout_fill}, and it needs a byte for each channel, "
                f"{self.channels} in all."
            )

    def draw(self, random: Random) -> Choices:
        """Draw all numbers, used or not, so that switching one augmentation off leaves the others."""
        draw = random.random
        return Choices(*(draw() for _ in Choices._fields))

    def smallest(self, choices: Choices) -> int:
        """Return a side so large that the part cut out still has ``size`` pixels each way."""
        if self.crop == "pad":
            return self.size
        return math.ceil(self.size / math.sqrt(_area(choices) * LEAST_RATIO))

    def frame(self, image: Image.Image, choices: Choices) -> Image.Image:
        """Bring the shorter side to ``size``, or cut out the random rectangle and resize it."""
        if self.crop == "pad":
            return _resize_shorter(image, self.size)
        width, height = _random_rectangle(*image.size, choices)
        left, top = choices.left * (image.width - width), choices.top * (image.height - height)
        box = (left, top, left + width, top + height)
        return image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)

    def finish(self, image_HWC: Pixels, choices: Choices) -> Pixels:
        """Crop the padded image, flip, erase and cut out."""
        if self.crop == "pad":
            image_HWC = _padded_crop(image_HWC, self.size, choices)
        if self.flip and choices.flip < 0.5:
            image_HWC = image_HWC[:, ::-1]
        if choices.erase < self.erasing:
            image_HWC = _erased(image_HWC, choices)
        if self.cutout > 0:
            image_HWC = _cut_out(image_HWC, self.cutout, self.cutout_fill, choices)
        return image_HWC


@dataclass(frozen=True, kw_only=True)
class EvalTransform(Transform):
    """The centre of the image, nothing random.

    With crop "pad", the shorter side is brought to ``size``; with "resized", to 256/224 of it (SENet,
    section 6.1, tests the centre 224 pixels of images whose shorter side is 256).
    """

    @property
    def shorter_side(self) -> int:
        """Pixels of the shorter side before the centre is cut out."""
        return self.size if self.crop == "pad" else round(self.size * WHOLE_OVER_CENTRE)

    def draw(self, random: Random) -> Choices:
        """Return the one choice there is."""
        return CENTRE

    def smallest(self, choices: Choices) -> int:
        """Return the shorter side, below which the image would have to be enlarged."""
        return self.shorter_side

    def frame(self, image: Image.Image, choices: Choices) -> Image.Image:
        """Bring the shorter side to its length."""
        return _resize_shorter(image, self.shorter_side)

    def finish(self, image_HWC: Pixels, choices: Choices) -> Pixels:
        """Cut out the centre."""
        top, left = ((side - self.size) // 2 for side in image_HWC.shape[:2])
        return image_HWC[top : top + self.size, left : left + self.size]


def _resize_shorter(image: Image.Image, side: int) -> Image.Image:
    shorter = min(image.size)
    if shorter == side:
        return image
    size = (max(side, round(image.width * side / shorter)), max(side, round(image.height * side / shorter)))
    return image.resize(size, Image.Resampling.BILINEAR)


def _area(choices: Choices) -> float:
    return LEAST_AREA + (1 - LEAST_AREA) * choices.area


def _random_rectangle(width: int, height: int, choices: Choices) -> tuple[float, float]:
    """Return the rectangle's width and height in pixels.

    The ratio is drawn among those that fit, evenly on a logarithmic scale. Drawing again until one
    fits, as is also done, would favour small areas and read more random numbers for some images.
    """
    area = _area(choices)
    least = min(max(LEAST_RATIO, area * width / height), GREATEST_RATIO)
    greatest = max(min(GREATEST_RATIO, width / (height * area)), LEAST_RATIO)
    ratio = math.exp(math.log(least) + choices.ratio * (math.log(greatest) - math.log(least)))
    pixels = area * width * height
    return min(math.sqrt(pixels * ratio), width), min(math.sqrt(pixels / ratio), height)


def _padded_crop(image_HWC: Pixels, size: int, choices: Choices) -> Pixels:
    height, width, channels = image_HWC.shape
    top = int(choices.top * (height + 2 * PADDING - size + 1)) - PADDING
    left = int(choices.left * (width + 2 * PADDING - size + 1)) - PADDING
    cropped = np.zeros((size, size, channels), np.uint8)
    seen = image_HWC[max(top, 0) : top + size, max(left, 0) : left + size]
    above, before = max(-top, 0), max(-left, 0)
    cropped[above : above + seen.shape[0], before : before + seen.shape[1]] = seen
    return cropped


def _erased(image_HWC: Pixels, choices: Choices) -> Pixels:
    height, width = image_HWC.shape[:2]
    area = height * width * (ERASED_AREA[0] + choices.erased_area * (ERASED_AREA[1] - ERASED_AREA[0]))
    low, high = (math.log(ratio) for ratio in ERASED_RATIO)
    ratio = math.exp(low + choices.erased_ratio * (high - low))
    rows = min(max(round(math.sqrt(area / ratio)), 1), height)
    columns = min(max(round(math.sqrt(area * ratio)), 1), width)
    top = int(choices.erased_top * (height - rows + 1))
    left = int(choices.erased_left * (width - columns + 1))
    erased = image_HWC.copy()
    erased[top : top + rows, left : left + columns] = 0
    return erased


def _cut_out(image_HWC: Pixels, side: int, fill: tuple[int, ...], choices: Choices) -> Pixels:
    height, width = image_HWC.shape[:2]
    top = int(choices.cutout_row * height) - side // 2
    left = int(choices.cutout_column * width) - side // 2
    cut = image_HWC.copy()
    cut[max(top, 0) : top + side, max(left, 0) : left + side] = fill
    return cut
