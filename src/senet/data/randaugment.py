"""RandAugment (Cubuk and others, 2020): random operations of one strength, one after the other.

The operations are the 14 of the paper, applied by Pillow. As later implementations do, every one of them
changes an image more the greater the strength is; in the authors' code, posterising and solarising did the
opposite. At strength 10 each has the range that AutoAugment (Cubuk and others, 2019) gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from PIL import Image, ImageEnhance, ImageOps

GREATEST_STRENGTH = 10

GREATEST_ANGLE = 30.0
GREATEST_SHEAR = 0.3
# AutoAugment moved images of 331 pixels by up to 150.
GREATEST_SHIFT = 150 / 331
# How far the factors of colour, contrast, brightness and sharpness go from 1, which changes nothing.
GREATEST_CHANGE = 0.9
# Of eight bits, so many are taken away.
MOST_BITS = 4

# What a pixel from outside the image is, and how much an operation does, from -1 to 1.
Fill = tuple[int, ...]
Operation = Callable[[Image.Image, float, Fill], Image.Image]


def rotate(image: Image.Image, degrees: float, fill: Fill) -> Image.Image:
    """Turn an image counter-clockwise around its centre, bilinear, within its frame."""
    return image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=_colour(fill))


def _identity(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return image


def _autocontrast(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return ImageOps.equalize(image)


def _rotate(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return rotate(image, GREATEST_ANGLE * amount, fill)


def _solarize(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return ImageOps.solarize(image, round(256 * (1 - abs(amount))))


def _posterize(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(MOST_BITS * abs(amount)))


def _color(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return ImageEnhance.Color(image).enhance(1 + GREATEST_CHANGE * amount)


def _contrast(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(1 + GREATEST_CHANGE * amount)


def _brightness(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1 + GREATEST_CHANGE * amount)


def _sharpness(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(1 + GREATEST_CHANGE * amount)


def _shear_x(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return _affine(image, (1, GREATEST_SHEAR * amount, 0, 0, 1, 0), fill)


def _shear_y(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return _affine(image, (1, 0, 0, GREATEST_SHEAR * amount, 1, 0), fill)


def _translate_x(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return _affine(image, (1, 0, round(GREATEST_SHIFT * amount * image.width), 0, 1, 0), fill)


def _translate_y(image: Image.Image, amount: float, fill: Fill) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, round(GREATEST_SHIFT * amount * image.height)), fill)


COLOR = "color"
OPERATIONS: Mapping[str, Operation] = {
    "identity": _identity,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "rotate": _rotate,
    "solarize": _solarize,
    COLOR: _color,
    "posterize": _posterize,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
_FOR_COLOUR = tuple(OPERATIONS.values())
# Greyscale has no colour to change, so the draw is among the other 13.
_FOR_GREY = tuple(operation for name, operation in OPERATIONS.items() if name != COLOR)


def randaugment(image: Image.Image, *, strength: int, layers: int, fill: Fill, seed: int) -> Image.Image:
    """Apply ``layers`` operations, each drawn from all of them, to an image in mode "L" or "RGB".

    Args:
        image: of any size.
        strength: 1 to 10, the same for every operation; the direction is drawn.
        layers: how many.
        fill: byte of each channel for what comes in from outside the image.
        seed: decides operations and directions.
    """
    random = Random(seed)
    operations = _FOR_GREY if image.mode == "L" else _FOR_COLOUR
    for _ in range(layers):
        # Of Python's generator, only random() is promised to give the same numbers in every version.
        operation = operations[int(random.random() * len(operations))]
        sign = -1 if random.random() < 0.5 else 1
        image = operation(image, sign * strength / GREATEST_STRENGTH, fill)
    return image


def _affine(
    image: Image.Image, matrix: tuple[float, float, float, float, float, float], fill: Fill
) -> Image.Image:
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        matrix,
        resample=Image.Resampling.BILINEAR,
        fillcolor=_colour(fill),
    )


def _colour(fill: Fill) -> int | Fill:
    return fill[0] if len(fill) == 1 else fill
