from __future__ import annotations

import importlib
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from senet.data.augment import jittered, random_rectangle
from senet.data.choices import CENTRE, Choices, seed_of
from senet.data.transforms import EvalTransform, TrainTransform, shorter_side_for
from tests.references import import_torchvision

from .pictures import noise, quadrants, smooth

MIDDLE = CENTRE._replace(top=4.5 / 9, left=4.5 / 9)  # of the padded crop: the image itself


def train(crop: str = "pad", **options: object) -> TrainTransform:
    return TrainTransform(**{"size": 8, "channels": 3, "crop": crop, "flip": False, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("fill", [(10, 20, 30), (77,)])
@pytest.mark.parametrize("crop", ["pad", "resized"])
@pytest.mark.parametrize("position", [0.0, 0.3, 0.5, 0.999])
def test_images_are_turned_as_torchvision_turns_them(
    fill: tuple[int, ...], crop: str, position: float
) -> None:
    import_torchvision()
    functional = importlib.import_module("torchvision.transforms.functional")
    options = {"size": 20, "channels": len(fill)}
    choices = MIDDLE._replace(angle=position, area=0.7)
    turned = train(crop, rotation=10.0, fill=fill, **options)(quadrants(), choices)
    if crop == "pad":
        framed = quadrants().resize((33, 20), Image.Resampling.BILINEAR)
    else:
        framed = Image.fromarray(train(crop, size=20)(quadrants(), choices).transpose(1, 2, 0))
    expected = functional.rotate(
        framed.convert("L" if len(fill) == 1 else "RGB"),
        10 * (2 * position - 1),
        functional.InterpolationMode.BILINEAR,
        fill=list(fill),
    )
    array = np.asarray(expected).reshape(20, -1, len(fill)).transpose(2, 0, 1)
    if crop == "pad":
        array = np.pad(array, ((0, 0), (4, 4), (4, 4)))
        top, left = int(choices.top * 9), int(choices.left * (33 + 8 - 20 + 1))
        array = array[:, top : top + 20, left : left + 20]
    assert np.array_equal(turned, array)


def test_angles_are_drawn_evenly_between_both_ends() -> None:
    """A line through the centre tells by how much it was turned."""
    line = np.zeros((65, 65), np.uint8)
    line[32, :] = 255
    transform = train("resized", size=65, channels=1, rotation=30, least_area=1.0, fill=(0,))
    random, angles = Random(0), []
    for _ in range(300):
        turned = transform(Image.fromarray(line), transform.draw(random))[0].astype(float)
        left, right = ((turned[:, x] * np.arange(65)).sum() / turned[:, x].sum() for x in (19, 45))
        angles.append(math.degrees(math.atan((right - left) / 26)))
    assert np.abs(np.quantile(angles, [0.25, 0.5, 0.75]) - [-15, 0, 15]).max() < 3
    assert min(angles) < -27 and max(angles) > 27 and np.abs(angles).max() < 31


@settings(deadline=None, max_examples=50)
@given(most=st.integers(1, 255), choice=st.floats(0, 1, exclude_max=True), channels=st.sampled_from([1, 3]))
def test_jitter_moves_each_byte_by_no_more_than_asked(most: int, choice: float, channels: int) -> None:
    image = np.asarray(noise(9, 7)).copy()[:, :, :channels]
    before = image.astype(int)
    changed = jittered(image, most, Choices(jitter=choice))
    assert changed.dtype == np.uint8 and (image == before).all()
    assert np.abs(changed - before).max() <= most and (changed != before).any()
    assert np.array_equal(changed, jittered(image, most, Choices(jitter=choice)))


def test_jitter_is_even_and_independent_for_each_pixel_and_channel() -> None:
    image = np.full((100, 100, 3), 128, np.uint8)
    moved = jittered(image, 20, Choices(jitter=0.25)).astype(int) - 128
    counts = np.bincount(moved.ravel() + 20, minlength=41)
    # 732 expected of each of the 41 values, with a standard deviation of 27.
    assert len(counts) == 41 and counts.min() > 620 and counts.max() < 850
    for other in (moved[:, :, [1, 2, 0]], np.roll(moved, 1, axis=0), np.roll(moved, 1, axis=1)):
        assert abs(np.corrcoef(moved.ravel(), other.ravel())[0, 1]) < 0.03
    assert not np.array_equal(jittered(image, 20, Choices(jitter=0.26)), moved + 128)


def test_jitter_stops_at_black_and_white() -> None:
    for value in (0, 255):
        changed = jittered(np.full((50, 50, 1), value, np.uint8), 20, CENTRE)
        assert 0.45 < (changed == value).mean() < 0.6, "half of the changes would leave the range"


def test_what_is_erased_or_cut_out_is_neither_jittered_nor_turned() -> None:
    options = {"rotation": 20.0, "jitter": 30, "fill": (1, 2, 3)}
    random = Random(2)
    for _ in range(20):
        choices = train().draw(random)
        changed = train(**options, randaugment=5)(smooth(8, 8), choices)
        both = train(**options, randaugment=5, erasing=1.0, cutout=4)(smooth(8, 8), choices)
        black, cut = (both == 0).all(axis=0), (both == np.array([[[1]], [[2]], [[3]]])).all(axis=0)
        assert black.any() or cut.any()
        assert np.array_equal(both[:, ~black & ~cut], changed[:, ~black & ~cut])


@settings(deadline=None)
@given(
    width=st.integers(20, 300),
    height=st.integers(20, 300),
    least=st.sampled_from([0.01, 0.25, 1.0]),
    area=st.floats(0, 1, exclude_max=True),
)
def test_the_least_area_bounds_the_rectangle(width: int, height: int, least: float, area: float) -> None:
    w, h = random_rectangle(width, height, least, CENTRE._replace(area=area))
    assert w * h <= (least + (1 - least) * area) * width * height * (1 + 1e-9)
    if 3 / 4 <= width / height <= 4 / 3:
        assert w * h >= least * width * height * (1 - 1e-9)


def test_a_larger_least_area_allows_a_smaller_decoding() -> None:
    corner = CENTRE._replace(area=0.0)
    # A quarter of 450 x 450 pixels has sides of 225 pixels.
    assert train("resized", size=224, least_area=0.25).is_large_enough(450, 450, corner)
    assert not train("resized", size=224, least_area=0.25).is_large_enough(446, 446, corner)
    assert not train("resized", size=224).is_large_enough(450, 450, corner)
    whole = train("resized", least_area=1.0)
    assert np.array_equal(
        whole(smooth(40, 40), CENTRE)[0],
        np.asarray(smooth(40, 40).resize((8, 8), Image.Resampling.BILINEAR))[:, :, 0],
    )


@pytest.mark.parametrize(("size", "shorter"), [(224, 256), (299, 352), (320, 366), (32, 37), (112, 128)])
def test_photographs_are_tested_as_the_paper_does(size: int, shorter: int) -> None:
    assert shorter_side_for(size) == shorter
    assert EvalTransform(size=size, channels=3, crop="resized").shorter_side == shorter
    assert EvalTransform(size=size, channels=3, crop="pad").shorter_side == size


@pytest.mark.parametrize("crop", ["pad", "resized"])
def test_the_shorter_side_of_test_images_can_be_chosen(crop: str) -> None:
    transform = EvalTransform(size=8, channels=3, crop=crop, resize=12)  # type: ignore[arg-type]
    whole = np.asarray(smooth(60, 40).resize((18, 12), Image.Resampling.BILINEAR))
    assert np.array_equal(transform(smooth(60, 40), CENTRE).transpose(1, 2, 0), whole[2:10, 5:13])
    assert transform.is_large_enough(24, 40, CENTRE) and not transform.is_large_enough(23, 40, CENTRE)
    assert not transform.needs_no_resampling(np.zeros((1, 8, 8, 3), np.uint8))


def test_images_grow_over_the_epochs() -> None:
    transform = train(sizes=(4, 4, 6), cutout=4, fill=(1, 2, 3), jitter=3)
    sides = [transform.at_epoch(epoch).size for epoch in range(5)]
    assert sides == [4, 4, 6, 8, 8]
    assert transform.at_epoch(3) is transform and transform.at_epoch(1) is transform.at_epoch(0)
    small = transform.at_epoch(0)
    assert small == train(size=4, cutout=2, fill=(1, 2, 3), jitter=3)
    assert small(noise(8, 8), CENTRE).shape == (3, 4, 4)
    assert EvalTransform(size=8, channels=3, crop="pad").at_epoch(0).size == 8


def test_seeds_tell_close_choices_apart() -> None:
    random = Random(0)
    seeds = {seed_of(random.random()) for _ in range(2000)}
    assert len(seeds) == 2000 and all(0 <= seed < 2**53 for seed in seeds)
    assert seed_of(0.0) == 0 and seed_of(2**-53) == 1 and seed_of(1 - 2**-53) == 2**53 - 1
