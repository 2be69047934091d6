"""Decoding a JPEG at a part of its size and transforming it, against decoding it whole."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from senet.data.decode import decode
from senet.data.transforms import CENTRE, Choices, EvalTransform, TrainTransform, Transform

from .pictures import encoded, noise, photograph_like


@pytest.fixture(scope="module")
def photograph() -> bytes:
    return encoded(photograph_like(960, 720), "JPEG", quality=90)


def both_ways(transform: Transform, content: bytes, choices: Choices) -> tuple[int, np.ndarray]:
    """Return by how much the decoding was reduced, and how far pixels are from those of the plain path."""
    whole = decode(content, "x")
    reduced = decode(content, "x", partial(transform.is_large_enough, choices=choices))
    plain = transform(whole, choices).astype(int)
    return round(whole.width / reduced.width), np.abs(transform(reduced, choices) - plain)


def resized(
    transform: Transform, image: Image.Image, choices: Choices
) -> list[tuple[tuple[float, float], tuple[int, int]]]:
    """Return the size of each part of the image that the transform resizes, and what to."""
    seen: list[tuple[tuple[float, float], tuple[int, int]]] = []
    resize = image.resize

    def spy(size: tuple[int, int], resample: Image.Resampling, **options: Any) -> Image.Image:
        left, top, right, bottom = options.get("box", (0, 0, *image.size))
        seen.append(((right - left, bottom - top), size))
        return resize(size, resample, **options)

    image.resize = spy  # type: ignore[method-assign, assignment]
    transform(image, choices)
    return seen


# In grey levels of 255: the mean difference and the one that 99 % of the pixels stay within.
MEAN, NEARLY_ALL = 2, 8


@pytest.mark.parametrize(("size", "reduction"), [(224, 2), (96, 4), (48, 8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_training_images_are_nearly_those_of_the_plain_path(
    photograph: bytes, size: int, reduction: int, channels: int
) -> None:
    transform, random = TrainTransform(size=size, channels=channels, crop="resized"), Random(0)
    found = [both_ways(transform, photograph, transform.draw(random)) for _ in range(20)]
    differences = [difference for each, difference in found if each == reduction]
    assert len(differences) >= 5
    assert max(difference.mean() for difference in differences) <= MEAN
    assert max(np.quantile(difference, 0.99) for difference in differences) <= NEARLY_ALL


@pytest.mark.parametrize("size", [128, 64, 32])
def test_test_images_are_closer_still(photograph: bytes, size: int) -> None:
    reduction, difference = both_ways(
        EvalTransform(size=size, channels=3, crop="resized"), photograph, CENTRE
    )
    assert reduction > 1
    assert difference.mean() <= MEAN / 2 and np.quantile(difference, 0.99) <= NEARLY_ALL / 2


@settings(deadline=None, max_examples=60)
@given(
    sides=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    orientation=st.sampled_from([1, 6]),
    area=st.floats(0, 1, exclude_max=True),
    ratio=st.floats(0, 1, exclude_max=True),
    crop=st.sampled_from(["pad", "resized"]),
)
def test_nothing_is_enlarged_because_it_was_decoded_smaller(
    sides: tuple[int, int], orientation: int, area: float, ratio: float, crop: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(noise(*sides), "JPEG", exif=exif)
    whole = decode(content, "x")
    choices = CENTRE._replace(area=area, ratio=ratio)
    for transform in (
        TrainTransform(size=16, channels=3, crop=crop),  # type: ignore[arg-type]
        EvalTransform(size=16, channels=3, crop=crop),  # type: ignore[arg-type]
    ):
        reduced = decode(content, "x", partial(transform.is_large_enough, choices=choices))
        if reduced.size != whole.size:
            for source, target in resized(transform, reduced, choices):
                assert source[0] >= target[0] - 1e-6 and source[1] >= target[1] - 1e-6
