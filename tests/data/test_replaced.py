from __future__ import annotations

import warnings

import numpy as np
import pytest

from senet.data.replaced import ReplacedImages
from senet.data.source import Subset, UnreadableImage

from .pictures import SpySource, encoded, names_of, noise

LABELS = [0, 1, 0, 0, 1, 0, 0, 0]
GROUPS = np.array([0, 0, 0, 0, 0, 0, 1, 1])


def images(*bad: int) -> ReplacedImages:
    """Image i is 10 + i pixels wide."""
    spy = SpySource(lambda index: b"" if index in bad else encoded(noise(10 + index, 4, index)), LABELS)
    spy.groups = GROUPS
    return ReplacedImages(spy)


@pytest.mark.parametrize(
    ("bad", "index", "instead"),
    [((), 2, 2), ((2,), 2, 3), ((2, 3), 2, 5), ((2, 3, 5), 2, 0), ((5,), 5, 0), ((4,), 4, 1), ((6,), 6, 7)],
)
@pytest.mark.filterwarnings("ignore:spy")
def test_the_next_of_its_class_and_group_stands_in(bad: tuple[int, ...], index: int, instead: int) -> None:
    assert images(*bad).read(index).width == 10 + instead


def test_it_is_told_once() -> None:
    source = images(2, 4)
    with pytest.warns(
        UserWarning, match=r"spy 2 cannot be read .* It is replaced by the next image of its class"
    ):
        source.read(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source.read(2)
        source.read(4)
    assert source.replaced == {2, 4}


def test_where_none_is_readable_the_image_is_named() -> None:
    with pytest.raises(UnreadableImage, match="spy 1 cannot be read"):
        images(1, 4).read(1)


def test_examining_shows_the_damage() -> None:
    with pytest.raises(UnreadableImage, match="spy 2"):
        images(2).examine(2)


@pytest.mark.filterwarnings("ignore:spy")
def test_the_images_of_another_part_never_stand_in() -> None:
    spy = SpySource(lambda index: b"" if index == 2 else encoded(noise(10 + index, 4, index)), LABELS)
    spy.groups = GROUPS
    part = ReplacedImages(Subset(spy, np.array([0, 1, 2, 5])))
    assert part.read(2).width == 15 and names_of(part) == ["spy 0", "spy 1", "spy 2", "spy 5"]
    assert part.names(np.array([3, 0])) == ["spy 5", "spy 0"]
    assert part.labels.tolist() == [0, 1, 0, 0] and part.groups.tolist() == [0, 0, 0, 0]


@pytest.mark.filterwarnings("ignore:spy")
def test_how_small_an_image_may_be_is_passed_on() -> None:
    source = images(2)
    source.read(2, 7)
    assert source.source.asked == [7, 7]
