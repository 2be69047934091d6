from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from senet.data.augment import random_rectangle
from senet.data.source import ArraySource
from senet.data.transforms import CENTRE, Choices, EvalTransform, TrainTransform, Transform
from senet.errors import SenetError

from .pictures import noise, quadrants, smooth

RATIOS = np.geomspace(3 / 4, 4 / 3, 50).tolist()

unit = st.floats(0, 1, exclude_max=True)
all_choices = st.builds(Choices, *[unit] * len(Choices._fields))


def hwc(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(1, 2, 0)


def train(crop: str = "pad", **options: object) -> TrainTransform:
    return TrainTransform(**{"size": 8, "channels": 3, "crop": crop, "flip": False, **options})  # type: ignore[arg-type]


@settings(deadline=None)
@given(image=st.sampled_from([(8, 8), (8, 13), (30, 9), (4, 4)]), choices=all_choices)
@pytest.mark.parametrize("crop", ["pad", "resized"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_output_has_its_shape(
    crop: str, channels: int, image: tuple[int, int], choices: Choices
) -> None:
    for transform in (
        train(crop, channels=channels, flip=True, erasing=0.5),
        EvalTransform(size=8, channels=channels, crop=crop),  # type: ignore[arg-type]
    ):
        for picture in (noise(*image), noise(*image, channels=1)):
            array = transform(picture, choices)
            assert array.shape == (channels, 8, 8) and array.dtype == np.uint8
            assert array.flags["C_CONTIGUOUS"]


@settings(deadline=None)
@given(choices=all_choices)
def test_padded_crop_is_a_window_of_the_padded_image(choices: Choices) -> None:
    picture = noise(8, 8)
    padded = np.pad(np.asarray(picture), ((4, 4), (4, 4), (0, 0)))
    top, left = math.floor(choices.top * 9), math.floor(choices.left * 9)
    expected = padded[top : top + 8, left : left + 8]
    assert np.array_equal(hwc(train()(picture, choices)), expected)


def test_every_window_of_the_padded_image_occurs() -> None:
    picture, transform, random = noise(8, 8), train(), Random(0)
    seen = {transform(picture, transform.draw(random)).tobytes() for _ in range(2000)}
    assert len(seen) == 81


def test_larger_images_are_brought_to_size_before_padding() -> None:
    choices = CENTRE._replace(top=4.5 / 9, left=4.5 / 9)  # the window without padding
    expected = smooth(16, 16).resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(hwc(train()(smooth(16, 16), choices)), np.asarray(expected))


@settings(deadline=None)
@given(choices=all_choices)
def test_flip_mirrors_half_of_the_images_and_nothing_else(choices: Choices) -> None:
    for crop in ("pad", "resized"):
        plain = train(crop)(noise(11, 8), choices)
        flipped = train(crop, flip=True)(noise(11, 8), choices)
        assert np.array_equal(flipped, plain[:, :, ::-1] if choices.flip < 0.5 else plain)


@settings(deadline=None)
@given(width=st.integers(20, 300), height=st.integers(20, 300), choices=all_choices)
def test_the_random_rectangle_keeps_to_its_area_and_ratio(width: int, height: int, choices: Choices) -> None:
    w, h = random_rectangle(width, height, 0.08, choices)
    area = (0.08 + 0.92 * choices.area) * width * height
    assert 0 < w <= width and 0 < h <= height
    assert w * h <= area * (1 + 1e-9)
    fits = any(math.sqrt(area * r) <= width and math.sqrt(area / r) <= height for r in RATIOS)
    if fits:
        assert w * h == pytest.approx(area) and 3 / 4 - 1e-9 <= w / h <= 4 / 3 + 1e-9


def test_areas_are_spread_evenly_and_ratios_reach_both_ends() -> None:
    random, transform = Random(0), train("resized")
    rectangles = [random_rectangle(400, 300, 0.08, transform.draw(random)) for _ in range(4000)]
    areas = np.array([w * h for w, h in rectangles]) / (400 * 300)
    ratios = np.array([w / h for w, h in rectangles])
    assert np.abs(np.quantile(areas, [0.25, 0.5, 0.75]) - [0.31, 0.54, 0.77]).max() < 0.02
    assert ratios.min() < 0.77 and ratios.max() > 1.31


def test_a_large_part_allows_a_small_decoding_and_a_small_part_does_not() -> None:
    transform = train("resized", size=224)
    square = CENTRE._replace(ratio=0.5)  # the ratio 1 of a square image
    assert transform.is_large_enough(225, 225, square._replace(area=0.9999))
    assert not transform.is_large_enough(223, 223, square._replace(area=0.9999))
    assert transform.is_large_enough(800, 800, square._replace(area=0.0))  # 800 sqrt(0.08) = 226.3
    assert not transform.is_large_enough(780, 780, square._replace(area=0.0))
    wide = CENTRE._replace(area=0.5, ratio=0.9999)  # 4/3: the height is sqrt(0.54 * 3/4) of the side
    assert transform.is_large_enough(353, 353, wide) and not transform.is_large_enough(351, 351, wide)
    assert train("pad").is_large_enough(8, 9, CENTRE) and not train("pad").is_large_enough(30, 7, CENTRE)


@settings(deadline=None)
@given(choices=all_choices)
def test_the_resized_crop_shows_the_rectangle(choices: Choices) -> None:
    picture = smooth(60, 40)
    w, h = random_rectangle(60, 40, 0.08, choices)
    left, top = choices.left * (60 - w), choices.top * (40 - h)
    shown = hwc(train("resized")(picture, choices)).astype(float)
    # The picture is a ramp, so each pixel tells where it came from.
    columns = left + (np.arange(8) + 0.5) * w / 8
    rows = top + (np.arange(8) + 0.5) * h / 8
    assert np.abs(shown[4, 1:7, 0] - (columns[1:7] - 0.5) * 255 / 59).max() < 4
    assert np.abs(shown[1:7, 4, 1] - (rows[1:7] - 0.5) * 255 / 39).max() < 5


def test_erasing_blackens_a_rectangle_of_the_announced_size() -> None:
    white, random = Image.new("L", (32, 32), 255), Random(0)
    transform = train("resized", size=32, channels=1, erasing=0.5)
    erased = areas = 0
    for _ in range(1000):
        array = transform(white, transform.draw(random))[0]
        rows, columns = (np.flatnonzero((array == 0).any(axis=axis)) for axis in (1, 0))
        if len(rows):
            assert (array[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 0).all()
            area = len(rows) * len(columns) / 32**2
            assert 0.01 < area < 0.38
            erased, areas = erased + 1, areas + area
    assert 430 < erased < 570
    assert 0.15 < areas / erased < 0.20


def test_erasing_leaves_the_source_alone() -> None:
    picture = noise(8, 8)
    before = picture.tobytes()
    EvalTransform(size=8, channels=3, crop="pad")(picture, CENTRE)
    train(erasing=1.0)(picture, Choices(top=4.5 / 9, left=4.5 / 9))
    assert picture.tobytes() == before
    source = ArraySource(np.full((2, 8, 8), 9, np.uint8), [0, 1], ("a", "b"))
    train(channels=1, erasing=1.0).finish(source.pixels(np.array([0]))[0], Choices(top=4.5 / 9, left=4.5 / 9))
    assert (np.asarray(source.read(0)) == 9).all()


@settings(deadline=None)
@given(
    side=st.integers(1, 16),
    row=st.integers(0, 7),
    column=st.integers(0, 7),
    choices=all_choices,
    crop=st.sampled_from(["pad", "resized"]),
)
def test_cutout_fills_a_square_around_a_pixel_and_nothing_else(
    side: int, row: int, column: int, choices: Choices, crop: str
) -> None:
    picture, fill = noise(11, 8), (7, 130, 255)
    choices = choices._replace(cutout_row=(row + 0.5) / 8, cutout_column=(column + 0.5) / 8)
    before = hwc(train(crop, flip=True, erasing=0.5)(picture, choices))
    after = hwc(train(crop, flip=True, erasing=0.5, cutout=side, fill=fill)(picture, choices))
    for y in range(8):
        for x in range(8):
            # An even square has one pixel more in front of its centre than behind.
            is_cut = all(-side / 2 <= at - (side % 2) / 2 < side / 2 for at in (y - row, x - column))
            assert after[y, x].tolist() == (list(fill) if is_cut else before[y, x].tolist())


def test_the_centre_of_cutout_is_any_pixel_so_that_squares_are_clipped_at_the_border() -> None:
    white, random = Image.new("L", (8, 8), 255), Random(0)
    transform = train("resized", channels=1, cutout=4, fill=(0,))
    counts = np.zeros((8, 8), int)
    areas = set()
    for _ in range(4000):
        cut = transform(white, transform.draw(random))[0] == 0
        rows, columns = np.flatnonzero(cut.any(axis=1)), np.flatnonzero(cut.any(axis=0))
        assert cut.sum() == len(rows) * len(columns)
        areas.add((len(rows), len(columns)))
        # The centre is two pixels behind the square's first one, also where that lies outside.
        row, column = (at[-1] - 1 if at[0] == 0 else at[0] + 2 for at in (rows, columns))
        counts[row, column] += 1
    assert areas == {(height, width) for height in (2, 3, 4) for width in (2, 3, 4)}
    # 62.5 expected for each pixel, with a standard deviation of 7.8.
    assert counts.min() > 30
    assert counts.max() < 100


def test_without_cutout_nothing_is_cut_out_and_earlier_choices_are_what_they_were() -> None:
    picture, random = noise(8, 8), Random(3)
    transform = train(flip=True, erasing=0.5)
    for _ in range(20):
        choices = transform.draw(random)
        shifted = choices._replace(cutout_row=0.1, cutout_column=0.9)
        assert np.array_equal(transform(picture, choices), transform(picture, shifted))
    numbers = Random(5)
    assert transform.draw(Random(5))[:12] == tuple(numbers.random() for _ in range(12))
    # Numbers drawn for what was added later come last: trainings from before keep their images.
    assert Choices._fields[:10] == (
        *("area", "ratio", "top", "left", "flip"),
        *("erase", "erased_area", "erased_ratio", "erased_top", "erased_left"),
    )


def test_cutout_leaves_the_source_alone() -> None:
    source = ArraySource(np.full((2, 8, 8), 9, np.uint8), [0, 1], ("a", "b"))
    transform = train("resized", channels=1, cutout=8, fill=(200,))
    assert (transform.finish(source.pixels(np.array([0]))[0], CENTRE) == 200).any()
    assert (np.asarray(source.read(0)) == 9).all()


def test_small_images_are_tested_whole_or_by_their_centre() -> None:
    transform = EvalTransform(size=8, channels=3, crop="pad")
    assert np.array_equal(hwc(transform(noise(8, 8), CENTRE)), np.asarray(noise(8, 8)))
    assert np.array_equal(hwc(transform(noise(14, 8), CENTRE)), np.asarray(noise(14, 8))[:, 3:11])
    assert transform.is_large_enough(16, 16, CENTRE) and not transform.is_large_enough(40, 15, CENTRE)


def test_photographs_are_tested_by_the_centre_of_256() -> None:
    transform = EvalTransform(size=224, channels=3, crop="resized")
    assert transform.shorter_side == 256
    assert transform.is_large_enough(513, 512, CENTRE) and not transform.is_large_enough(512, 511, CENTRE)
    picture = smooth(500, 375)
    whole = np.asarray(picture.resize((341, 256), Image.Resampling.BILINEAR))
    assert np.array_equal(hwc(transform(picture, CENTRE)), whole[16:240, 58:282])


def test_evaluation_has_no_choice() -> None:
    transform = EvalTransform(size=8, channels=3, crop="resized")
    random = Random(0)
    before = random.getstate()
    assert transform.draw(random) == CENTRE and random.getstate() == before


def test_choices_are_drawn_alike_whatever_is_switched_on() -> None:
    one = train(flip=True, erasing=0.5).draw(Random(5))
    assert one == train("resized").draw(Random(5)) and len(set(one)) == len(one)


def test_colours_are_converted() -> None:
    grey = EvalTransform(size=8, channels=1, crop="pad")(quadrants(8, 8), CENTRE)
    assert np.array_equal(grey[0], np.asarray(quadrants(8, 8, "L")))
    colour = EvalTransform(size=8, channels=3, crop="pad")(quadrants(8, 8, "L"), CENTRE)
    assert (colour == colour[0]).all() and np.array_equal(colour[0], grey[0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: EvalTransform(size=0, channels=3, crop="pad"), r"of at least 1, not 0\."),
        (lambda: EvalTransform(size=8, channels=4, crop="pad"), r"channels must be .*3, not 4\."),
        (
            lambda: EvalTransform(size=8, channels=3, crop="auto"),
            r"crop must be one of pad, resized, not 'auto'\.",
        ),
        (lambda: train(erasing=1.5), r"erasing must be .*1, not 1\.5\."),
        (lambda: train(cutout=-1, fill=(1, 2, 3)), r"cutout must be between 0 and 16, twice .*not -1\."),
        (lambda: train(cutout=17, fill=(1, 2, 3)), r"cutout must be between 0 and 16, twice .*not 17\."),
        (lambda: train(rotation=4, fill=(1, 2)), r"fill must .*the 3 channels, not \(1, 2\)\."),
        (lambda: train(randaugment=4), "fill must have .*of the 3 channels, not"),
        (
            lambda: train(rotation=181, fill=(1, 2, 3)),
            r"rotation must be between 0 and 180 degrees, not 181\.",
        ),
        (lambda: train(jitter=-1), r"jitter must be between 0 and 255, not -1\."),
        (lambda: train(randaugment=11, fill=(1, 2, 3)), r"randaugment must .*0 \(off\) and 10, not 11\."),
        (lambda: train(randaugment_layers=0), r"randaugment_layers must be between 1 and 10, not 0\."),
        (lambda: train("resized", least_area=0.0), r"least_area must be above 0 and at most 1, not 0\.0\."),
        (lambda: train(sizes=(4, 9)), r"be between 1 and 8, the .*not 9\."),
        (
            lambda: EvalTransform(size=8, channels=3, crop="pad", resize=7),
            r"or at least 8, the image size, not 7\.",
        ),
        (lambda: train(cutout=4, fill=(1,)), r"fill must have .*of the 3 channels, not \(1,\)\."),
    ],
)
def test_bad_values_are_refused(make: Callable[[], Transform], said: str) -> None:
    with pytest.raises(SenetError, match=said):
        make()
