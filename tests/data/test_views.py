from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from senet.data.folder import FolderSource
from senet.data.loader import make_loader
from senet.data.source import ArraySource
from senet.data.transforms import CENTRE, EvalTransform
from senet.data.views import PublishedViews, Views
from senet.errors import SenetError
from senet.experiments.evaluation_views import View
from senet.networks.preprocess import Preprocess
from tests.data.pictures import noise
from tests.references import import_torchvision

CPU = torch.device("cpu")
CAFFE = Preprocess(
    crop=20, resize=24, channel_order="BGR", scale="0..255", mean=(104, 117, 123), std=(1, 1, 1)
)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(31, 40), (40, 31), (24, 24), (100, 33)])
@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(crop=20, resize=24),
        Preprocess(crop=24, resize=24, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3),
        Preprocess(crop=15, resize=22),
        CAFFE,
    ],
)
def test_published_views_are_the_weights_own_preprocessing(
    preprocess: Preprocess, size: tuple[int, int], channels: int
) -> None:
    preprocess = preprocess.with_channels(channels)
    image = noise(*size, channels=3)
    view = View(preprocess=preprocess)
    transform = view.views(view.size, None, 1)
    bytes_CHW = torch.tensor(transform(image, transform.draw(Random(0))))
    values = view.normalise(CPU)(bytes_CHW[None])
    assert torch.equal(values, preprocess(image))


def test_a_photograph_is_decoded_whole(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        noise(400, 330, seed=3).save(tmp_path / label / "1.jpg", quality=90)
    source = FolderSource(tmp_path, [["a/1.jpg"], ["b/1.jpg"]], ("a", "b"))
    preprocess = Preprocess(crop=28, resize=32)
    view = View(preprocess=preprocess)
    loader = make_loader(source, view.views(28, None, 1), batch_size=2, seed=0, workers=0, train=False)
    (batch,) = loader.epoch(0)
    with Image.open(tmp_path / "a" / "1.jpg") as image:
        assert torch.equal(view.normalise(CPU)(batch.images)[:1], preprocess(image))


@pytest.mark.parametrize("size", [(37, 50), (50, 37), (41, 41)])
def test_crops_are_torchvisions(size: tuple[int, int]) -> None:
    transforms = import_torchvision().transforms
    image = noise(*size)
    resized = transforms.Resize(32)(image)
    view = View(preprocess=Preprocess(crop=27, resize=32))
    transform = view.views(27, 32, 5)
    assert transform.planes == 15
    found = transform(image, CENTRE).reshape(5, 3, 27, 27)
    for ours, theirs in zip(found, transforms.FiveCrop(27)(resized), strict=True):
        assert np.array_equal(ours, np.asarray(theirs).transpose(2, 0, 1))


@pytest.mark.parametrize("crop", ["pad", "resized"])
@settings(max_examples=20)
@given(width=st.integers(10, 60), height=st.integers(10, 60), side=st.integers(8, 40))
def test_one_view_is_what_training_tests(crop: str, width: int, height: int, side: int) -> None:
    tested = EvalTransform(size=side, channels=3, crop=crop)  # type: ignore[arg-type]
    view = Views(size=side, channels=3, crop=crop, resize=tested.shorter_side)  # type: ignore[arg-type]
    image = noise(width, height)
    assert np.array_equal(view(image, CENTRE), tested(image, CENTRE))


def test_another_resolution_keeps_the_share_that_is_seen() -> None:
    view = View(preprocess=Preprocess())
    assert [view.views(size, None, 1).resize for size in (224, 320, 112)] == [256, 366, 128]
    assert view.views(224, 240, 1).resize == 240


@pytest.mark.parametrize("published", [False, True])
def test_images_in_memory_are_cut_like_others(published: bool) -> None:
    pixels = np.asarray(noise(12, 10)).reshape(1, 10, 12, 3)
    kind = PublishedViews if published else Views
    view = kind(size=8, channels=3, crop="resized", resize=10, crops=5)
    loader = make_loader(ArraySource(pixels, [0], ("a",)), view, batch_size=4, seed=0, workers=0, train=False)
    (batch,) = loader.epoch(0)
    assert batch.images.shape == (1, 15, 8, 8)
    assert np.array_equal(batch.images[0].numpy(), view(Image.fromarray(pixels[0]), CENTRE))


def test_bad_views_are_refused() -> None:
    with pytest.raises(SenetError, match=r"crops must be .*5, not 7\."):
        Views(size=8, channels=3, crop="resized", resize=8, crops=7)
    with pytest.raises(SenetError, match=r"test_resize must be 0 .*at least 8, the image size, not 7\."):
        Views(size=8, channels=3, crop="resized", resize=7)
