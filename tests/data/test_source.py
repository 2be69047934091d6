from __future__ import annotations

import pickle

import numpy as np
import pytest

from senet.data.decode import ImageFacts
from senet.data.source import ArraySource, Subset
from senet.errors import SenetError

from .pictures import SpySource, encoded, names_of, noise, numbered_arrays

GREY = np.zeros((2, 4, 6), dtype=np.uint8)


def test_greyscale_arrays() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 6), dtype=np.uint8)
    source = ArraySource(images, [0, 1, 1], ("a", "b"))
    image = source.read(1)
    assert (image.mode, image.size, len(source)) == ("L", (6, 4), 3)
    assert np.array_equal(np.asarray(image), images[1])
    assert source.labels.dtype == np.int64 and source.labels.tolist() == [0, 1, 1]
    assert source.pixels(np.array([2, 0])).shape == (2, 4, 6, 1)
    assert source.examine(0) == ImageFacts(6, 4, greyscale=True)
    assert source.name(2) == "image 2"


def test_rgb_arrays() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    source = ArraySource(images, [0, 1], ("a", "b"), names=["x", "y"])
    assert source.read(1).mode == "RGB" and source.name(1) == "y"
    assert np.array_equal(np.asarray(source.read(1)), images[1])
    assert source.examine(0) == ImageFacts(6, 4, greyscale=False)


def test_one_channel_arrays_are_greyscale() -> None:
    assert ArraySource(GREY[..., None], [0, 1], ("a", "b")).read(0).mode == "L"


@pytest.mark.parametrize(
    ("images", "labels", "names", "said"),
    [
        (GREY.astype(np.float32), [0, 1], None, r"type uint8 \(0 to 255\), not float32"),
        (GREY[0], [0, 1], None, r"have the shape \(N, H, .*3\), not \(4, 6\)\."),
        (np.zeros((2, 4, 6, 4), np.uint8), [0, 1], None, r"the shape \(N, .*not \(2, 4, 6, 4\)\."),
        (np.zeros((2, 0, 6), np.uint8), [0, 1], None, "Images must have at least one"),
        (GREY, [0, 1, 1], None, "must be 2 whole numbers, one per"),
        (GREY, [0.0, 1.0], None, "must be 2 whole numbers, one per"),
        (GREY, [0, 2], None, "outside 0 to 1 .*the first is 2"),
        (GREY, [0, -1], None, "outside 0 to 1 .*the first is -1"),
        (GREY, [0, 1], ["only one"], r"per image, 2 in all, not 1\."),
    ],
)
def test_bad_arrays_are_refused(images: np.ndarray, labels: list, names: list | None, said: str) -> None:
    with pytest.raises(SenetError, match=said):
        ArraySource(images, labels, ("a", "b"), names)


def test_a_subset_keeps_order_names_and_labels() -> None:
    subset = Subset(numbered_arrays(10), np.array([7, 2, 4]))
    assert names_of(subset) == ["image 7", "image 2", "image 4"]
    assert subset.labels.tolist() == [1, 0, 0] and subset.classes == ("even", "odd")
    assert subset.read(0).getpixel((0, 0)) == 7
    assert subset.pixels(np.array([2, 1]))[:, 0, 0, 0].tolist() == [4, 2]


def test_a_subset_of_a_subset_refers_to_the_whole() -> None:
    whole = numbered_arrays(10)
    subset = Subset(Subset(whole, np.array([7, 2, 4])), np.array([2, 0]))
    assert subset.source is whole and names_of(subset) == ["image 4", "image 7"]
    assert subset.labels.tolist() == [0, 1]


def test_a_subset_passes_on_how_small_an_image_may_be() -> None:
    spy = SpySource(lambda index: encoded(noise(80, 80, index), "JPEG"), [0, 1])
    subset = Subset(spy, np.array([1]))

    def at_least_20(width: int, height: int) -> bool:
        return min(width, height) >= 20

    assert subset.read(0, at_least_20).size == (20, 20) and spy.asked == [at_least_20]
    assert subset.examine(0) == ImageFacts(80, 80, greyscale=False)
    assert subset.pixels(np.array([0])) is None


def test_sources_can_be_pickled() -> None:
    subset = pickle.loads(pickle.dumps(Subset(numbered_arrays(10), np.array([7, 2]))))
    assert names_of(subset) == ["image 7", "image 2"] and subset.read(1).getpixel((0, 0)) == 2
