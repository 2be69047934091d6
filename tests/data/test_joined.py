from __future__ import annotations

import numpy as np
import pytest

from senet.data.joined import Joined
from senet.data.source import ArraySource, Subset
from tests.small import CLASSES, small_source

INDICES = np.array([6, 0, 3, 2], dtype=np.int64)


def test_both_sources_in_their_order() -> None:
    first, second = small_source(4), small_source(5, seed=1)
    joined = Joined(first, second)
    assert len(joined) == 9 and joined.classes == CLASSES
    for index in range(9):
        source, own = (first, index) if index < 4 else (second, index - 4)
        assert np.array_equal(np.asarray(joined.read(index)), np.asarray(source.read(own)))
        assert joined.labels[index] == source.labels[own]
        assert joined.name(index) == source.name(own)
        assert joined.examine(index) == source.examine(own)
    pixels = joined.pixels(INDICES)
    assert pixels is not None
    for found, index in zip(pixels, INDICES.tolist(), strict=True):
        assert np.array_equal(found[:, :, 0], np.asarray(joined.read(index)))


def test_images_of_two_sizes_are_read_one_by_one() -> None:
    joined = Joined(small_source(4), small_source(5, side=9))
    assert joined.pixels(INDICES) is None
    assert joined.read(8).size == (9, 9)


def test_parts_of_one_source_are_the_whole() -> None:
    whole = small_source(12)
    parts = [Subset(whole, np.arange(start, 12, 2)) for start in (0, 1)]
    joined = Joined(*parts)
    assert sorted(joined.name(index) for index in range(12)) == sorted(whole.name(i) for i in range(12))


def test_other_classes_are_a_mistake() -> None:
    other = ArraySource(np.zeros((2, 8, 8), np.uint8), [0, 1], ("x", "y"))
    with pytest.raises(AssertionError):
        Joined(small_source(4), other)
