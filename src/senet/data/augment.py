"""What augmentation does to the pixels of one image, as functions of the choices drawn for it."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from senet.data.choices import Choices, seed_of
from senet.data.source import Pixels

PADDING = 4
# Aspect ratios of the random crop as for Inception; SENet, section 5.1, trains with the same.
LEAST_RATIO, GREATEST_RATIO = 3 / 4, 4 / 3
# Random erasing (Zhong and others, 2017): area and aspect ratio of the erased rectangle.
ERASED_AREA = (0.02, 1 / 3)
ERASED_RATIO = (0.3, 1 / 0.3)


def resize_shorter(image: Image.Image, side: int) -> Image.Image:
    """Bring the shorter side of an image to ``side`` pixels."""
    shorter = min(image.size)
    if shorter == side:
        return image
    size = (max(side, round(image.width * side / shorter)), max(side, round(image.height * side / shorter)))
    return image.resize(size, Image.Resampling.BILINEAR)


def random_area(choices: Choices, least_area: float) -> float:
    """Return the share of an image's area, from ``least_area`` to 1, that the random crop keeps."""
    return least_area + (1 - least_area) * choices.area


def random_rectangle(width: int, height: int, least_area: float, choices: Choices) -> tuple[float, float]:
    """Return the width and height in pixels of the rectangle that is cut out of an image.

    The ratio is drawn among those that fit, evenly on a logarithmic scale. Drawing again until one
    fits, as is also done, would favour small areas and read more random numbers for some images.
    """
    area = random_area(choices, least_area)
    least = min(max(LEAST_RATIO, area * width / height), GREATEST_RATIO)
    greatest = max(min(GREATEST_RATIO, width / (height * area)), LEAST_RATIO)
    ratio = math.exp(math.log(least) + choices.ratio * (math.log(greatest) - math.log(least)))
    pixels = area * width * height
    return min(math.sqrt(pixels * ratio), width), min(math.sqrt(pixels / ratio), height)


def resized_crop(image: Image.Image, size: int, least_area: float, choices: Choices) -> Image.Image:
    """Cut the random rectangle out of an image and resize it to a square of ``size`` pixels."""
    width, height = random_rectangle(*image.size, least_area, choices)
    left, top = choices.left * (image.width - width), choices.top * (image.height - height)
    box = (left, top, left + width, top + height)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)


def padded_crop(image_HWC: Pixels, size: int, choices: Choices) -> Pixels:
    """Cut a random square out of an image with 4 black pixels around it."""
    height, width, channels = image_HWC.shape
    top = int(choices.top * (height + 2 * PADDING - size + 1)) - PADDING
    left = int(choices.left * (width + 2 * PADDING - size + 1)) - PADDING
    cropped = np.zeros((size, size, channels), np.uint8)
    seen = image_HWC[max(top, 0) : top + size, max(left, 0) : left + size]
    above, before = max(-top, 0), max(-left, 0)
    cropped[above : above + seen.shape[0], before : before + seen.shape[1]] = seen
    return cropped


def jittered(image_HWC: Pixels, most: int, choices: Choices) -> Pixels:
    """Add a whole number from ``-most`` to ``most`` to every byte, and keep the sum within 0 to 255."""
    generator = np.random.Generator(np.random.PCG64(seed_of(choices.jitter)))
    values = generator.integers(-most, most, image_HWC.shape, dtype=np.int16, endpoint=True)
    values += image_HWC
    return values.clip(0, 255, out=values).astype(np.uint8)


def erased(image_HWC: Pixels, choices: Choices) -> Pixels:
    """Return a copy with a random rectangle in black."""
    height, width = image_HWC.shape[:2]
    area = height * width * (ERASED_AREA[0] + choices.erased_area * (ERASED_AREA[1] - ERASED_AREA[0]))
    low, high = (math.log(ratio) for ratio in ERASED_RATIO)
    ratio = math.exp(low + choices.erased_ratio * (high - low))
    rows = min(max(round(math.sqrt(area / ratio)), 1), height)
    columns = min(max(round(math.sqrt(area * ratio)), 1), width)
    top = int(choices.erased_top * (height - rows + 1))
    left = int(choices.erased_left * (width - columns + 1))
    image = image_HWC.copy()
    image[top : top + rows, left : left + columns] = 0
    return image


def cut_out(image_HWC: Pixels, side: int, fill: tuple[int, ...], choices: Choices) -> Pixels:
    """Return a copy with a square of ``side`` pixels around a random pixel filled."""
    height, width = image_HWC.shape[:2]
    top = int(choices.cutout_row * height) - side // 2
    left = int(choices.cutout_column * width) - side // 2
    image = image_HWC.copy()
    image[max(top, 0) : top + side, max(left, 0) : left + side] = fill
    return image
