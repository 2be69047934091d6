from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from senet.data import statistics as room
from senet.data.source import ArraySource, Subset
from senet.data.statistics import channel_statistics
from senet.data.transforms import EvalTransform
from senet.errors import SenetError

from .pictures import jpeg_folder, numbered_arrays

RGB = EvalTransform(size=8, channels=3, crop="pad")


def test_mean_and_deviation_of_each_channel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (130, 8, 8, 3), dtype=np.uint8)
    images[..., 1] //= 4
    mean, deviation = channel_statistics(ArraySource(images, [0, 1] * 65, ("a", "b")), RGB)
    assert mean == pytest.approx((images / 255).mean(axis=(0, 1, 2)))
    assert deviation == pytest.approx((images / 255).std(axis=(0, 1, 2)))


def test_at_most_2000_images_spread_evenly_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    assert room.MOST_IMAGES == 2000
    monkeypatch.setattr(room, "MOST_IMAGES", 5)
    mean, _ = channel_statistics(numbered_arrays(201), EvalTransform(size=8, channels=1, crop="pad"))
    assert mean == pytest.approx([100 / 255])  # images 0, 50, 100, 150 and 200


def test_one_colour_never_divides_by_zero() -> None:
    source = ArraySource(np.full((4, 8, 8), 77, np.uint8), [0, 1] * 2, ("a", "b"))
    assert channel_statistics(source, EvalTransform(size=8, channels=1, crop="pad")) == (
        (pytest.approx(77 / 255),),
        (1 / 255,),
    )


def test_workers_change_nothing(tmp_path: Path) -> None:
    source = jpeg_folder(tmp_path, 12)
    assert channel_statistics(source, RGB, workers=2) == channel_statistics(source, RGB)


def test_no_images_are_refused() -> None:
    with pytest.raises(SenetError, match="no images"):
        channel_statistics(Subset(numbered_arrays(3), np.arange(0)), RGB)
