from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from senet.data.loader import Batch, ImageLoader, make_loader
from senet.data.source import ArraySource, ImageSource, Subset
from senet.data.transforms import EvalTransform, TrainTransform, Transform
from senet.errors import SenetError
from senet.randomness import seed_from

from .pictures import SpySource, encoded, jpeg_folder, noise, numbered_arrays

AUGMENT = TrainTransform(size=8, channels=1, crop="pad", erasing=0.3)
PLAIN = EvalTransform(size=8, channels=1, crop="pad")
PHOTOS = TrainTransform(size=16, channels=3, crop="resized")


@pytest.fixture
def loaders() -> Iterator[Any]:
    made: list[ImageLoader] = []

    def make(
        source: ImageSource,
        transform: Transform = AUGMENT,
        *,
        workers: int = 0,
        train: bool = True,
        seed: int = 1,
    ) -> ImageLoader:
        made.append(make_loader(source, transform, batch_size=4, seed=seed, workers=workers, train=train))
        return made[-1]

    yield make
    for loader in made:
        loader.close()


def same(left: Iterable[Batch], right: Iterable[Batch]) -> bool:
    pairs = list(zip(left, right, strict=True))
    return bool(pairs) and all(torch.equal(a, b) for one, two in pairs for a, b in zip(one, two, strict=True))


def order(batches: Iterable[Batch]) -> list[int]:
    return torch.cat([batch.indices for batch in batches]).tolist()


def test_batches_hold_images_labels_and_indices_that_belong_together(loaders: Any) -> None:
    source = numbered_arrays(22)
    for batch in loaders(source, PLAIN).epoch(0):
        assert batch.images.shape == (4, 1, 8, 8) and batch.images.dtype == torch.uint8
        assert batch.labels.dtype == batch.indices.dtype == torch.int64
        assert torch.equal(batch.images[:, 0, 3, 3].long(), batch.indices)
        assert torch.equal(batch.labels, batch.indices % 2)


def test_training_shuffles_anew_each_epoch_and_leaves_out_the_incomplete_batch(loaders: Any) -> None:
    loader = loaders(numbered_arrays(22))
    first, second = order(loader.epoch(0)), order(loader.epoch(1))
    assert len(loader) == 5 and len(first) == len(set(first)) == 20
    assert first != second and first != sorted(first)
    assert order(loader.epoch(0)) == first
    assert order(loaders(numbered_arrays(22), seed=2).epoch(0)) != first


def test_over_the_epochs_every_image_is_seen_equally_often(loaders: Any) -> None:
    loader = loaders(numbered_arrays(6))
    seen = np.bincount([index for epoch in range(300) for index in order(loader.epoch(epoch))], minlength=6)
    assert seen.sum() == 1200 and seen.min() > 160 and seen.max() < 240


@pytest.mark.parametrize(("count", "batches"), [(1, 1), (3, 1), (4, 1), (5, 1), (8, 2)])
def test_the_only_batch_is_kept_even_when_incomplete(loaders: Any, count: int, batches: int) -> None:
    loader = loaders(numbered_arrays(count))
    assert len(loader) == batches and len(order(loader.epoch(0))) == min(count, 4 * batches)


def test_testing_keeps_the_order_and_every_image(loaders: Any) -> None:
    loader = loaders(numbered_arrays(22), PLAIN, train=False)
    assert len(loader) == 6 and order(loader.epoch(0)) == order(loader.epoch(5)) == list(range(22))


def test_the_augmentation_depends_on_seed_epoch_and_image_only(loaders: Any) -> None:
    source = Subset(numbered_arrays(9), np.arange(1, 9))
    for epoch in (0, 3):
        for batch in loaders(source).epoch(epoch):
            for image, index in zip(batch.images, batch.indices.tolist(), strict=True):
                choices = AUGMENT.draw(Random(seed_from("augment", 1, epoch, index)))
                assert np.array_equal(image.numpy(), AUGMENT(source.read(index), choices))


def test_arrays_are_transformed_as_images_are(loaders: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 11, 3), dtype=np.uint8)
    from senet.data.source import ArraySource

    arrays = ArraySource(images, [0, 1] * 6, ("a", "b"))
    files = SpySource(lambda index: encoded(arrays.read(index)), [0, 1] * 6)
    for transform in (
        TrainTransform(size=8, channels=3, crop="pad", erasing=0.3),
        TrainTransform(size=6, channels=3, crop="pad"),
        TrainTransform(size=8, channels=1, crop="pad"),
        TrainTransform(size=8, channels=3, crop="resized"),
        TrainTransform(size=8, channels=3, crop="pad", rotation=30, jitter=9, fill=(1, 2, 3)),
        TrainTransform(size=8, channels=3, crop="pad", randaugment=5, fill=(1, 2, 3)),
        TrainTransform(size=8, channels=3, crop="pad", sizes=(8, 4, 4)),
        EvalTransform(size=8, channels=3, crop="pad"),
        EvalTransform(size=6, channels=3, crop="pad", resize=8),
        EvalTransform(size=6, channels=3, crop="resized"),
    ):
        assert same(loaders(arrays, transform).epoch(2), loaders(files, transform).epoch(2))


def test_training_images_grow_over_the_epochs(loaders: Any) -> None:
    loader = loaders(numbered_arrays(8), TrainTransform(size=8, channels=1, crop="pad", sizes=(4, 6)))
    assert [next(loader.epoch(epoch)).images.shape[-1] for epoch in range(4)] == [4, 6, 8, 8]


def test_balanced_and_repeated_images_are_augmented_anew_each_time() -> None:
    source = Subset(pictures_of_two_classes(12), np.array([0, 2, 4, 6, 8, 10, 1]))
    loader = make_loader(
        source, AUGMENT, batch_size=7, seed=1, workers=0, train=True, sampling="balanced", repeats=2
    )
    (batch,) = loader.epoch(0)
    assert (batch.indices[:6:2] == batch.indices[1::2]).all()
    assert sorted(batch.labels[::2].tolist()) == [0, 0, 1, 1]
    seen: dict[int, int] = {}
    for image, index in zip(batch.images, batch.indices.tolist(), strict=True):
        again = (seen[index],) if index in seen else ()
        choices = AUGMENT.draw(Random(seed_from("augment", 1, 0, index, *again)))
        assert np.array_equal(image.numpy(), AUGMENT(source.read(index), choices))
        seen[index] = seen.get(index, 0) + 1
    assert len(seen) < 5, "the one image of its class came more than twice"


def pictures_of_two_classes(count: int) -> ImageSource:
    return SpySource(lambda index: encoded(noise(8, 8, index)), [index % 2 for index in range(count)])


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")
def test_batches_do_not_depend_on_the_number_of_workers(tmp_path: Path, loaders: Any) -> None:
    source = jpeg_folder(tmp_path, 23)
    for epoch in range(2):
        expected = list(loaders(source, PHOTOS, workers=0).epoch(epoch))
        for workers in (1, 2, 3):
            assert same(loaders(source, PHOTOS, workers=workers).epoch(epoch), expected)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("train", [True, False])
def test_an_epoch_started_later_is_exactly_the_rest(loaders: Any, workers: int, train: bool) -> None:
    source = numbered_arrays(22)
    whole = list(loaders(source, train=train).epoch(3))
    loader = loaders(source, train=train, workers=workers)
    for start in range(len(whole)):
        assert same(loader.epoch(3, start), whole[start:])
    assert list(loader.epoch(3, len(whole))) == []


@pytest.mark.parametrize("start", [-1, 6])
def test_a_start_outside_the_epoch_is_refused(loaders: Any, start: int) -> None:
    with pytest.raises(SenetError, match=f"The epoch has 5 batches, so it cannot resume at batch {start}"):
        loaders(numbered_arrays(22)).epoch(0, start)


@pytest.mark.parametrize("workers", [0, 2])
def test_abandoned_epochs_do_no_harm(loaders: Any, workers: int) -> None:
    source = numbered_arrays(80)
    expected = [list(loaders(source).epoch(epoch)) for epoch in range(4)]
    loader = loaders(source, workers=workers)
    for epoch in (0, 1, 2):
        for batch, other in zip(loader.epoch(epoch), expected[epoch], strict=False):
            assert torch.equal(batch.images, other.images)
            if epoch < 2:
                break
    loader.epoch(1)  # never started
    assert same(loader.epoch(3), expected[3])


@pytest.mark.parametrize("workers", [0, 2])
def test_starting_an_epoch_ends_the_one_before(loaders: Any, workers: int) -> None:
    source = numbered_arrays(80)
    loader = loaders(source, workers=workers)
    old = loader.epoch(0)
    next(old)
    new = loader.epoch(1)
    first = next(new)
    assert list(old) == []
    assert same([first, *new], loaders(source).epoch(1))


def test_workers_stay_and_leave_with_close(loaders: Any) -> None:
    loader = loaders(numbered_arrays(40), workers=2)
    list(loader.epoch(0))
    before = workers_of(loader)
    list(loader.epoch(1))
    assert workers_of(loader) == before and len(before) == 2
    loader.close()
    for process in before:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert len(list(loader.epoch(2))) == 10


def workers_of(loader: ImageLoader) -> list[int]:
    return [worker.pid for worker in loader._processes._iterator._workers]  # type: ignore[union-attr]


def test_ctrl_c_is_left_to_the_main_process(loaders: Any) -> None:
    source = numbered_arrays(80)
    loader = loaders(source, workers=2)
    batches = loader.epoch(0)
    got = [next(batches), next(batches)]  # one of each worker: both are up
    for process in workers_of(loader):
        os.kill(process, signal.SIGINT)
    got += batches
    assert same(got, loaders(source).epoch(0))


def test_a_worker_that_is_killed_is_explained_and_replaced(loaders: Any) -> None:
    source = numbered_arrays(80)
    loader = loaders(source, workers=2)
    batches = loader.epoch(0)
    next(batches)
    for process in workers_of(loader):
        os.kill(process, signal.SIGKILL)
    time.sleep(0.2)  # nothing is raised here, between two batches
    with pytest.raises(
        SenetError, match=r"was killed, most .*memory \(/dev/shm\) ran .*use fewer workers \(now 2\) or"
    ):
        list(batches)
    assert same(loader.epoch(0), loaders(source).epoch(0))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_damaged_in_mid_training_is_named(tmp_path: Path, loaders: Any, workers: int) -> None:
    source = jpeg_folder(tmp_path, 20)
    (tmp_path / "007.jpg").write_bytes(b"gone")
    loader = loaders(source, PHOTOS, workers=workers)
    with pytest.raises(
        SenetError, match=r"007\.jpg cannot be read as an image: unsupported image format; supported are"
    ):
        list(loader.epoch(0))
    (tmp_path / "007.jpg").write_bytes(encoded(noise(40, 40), "JPEG"))
    assert len(list(loader.epoch(0))) == 5


class Broken(SpySource):
    def content(self, index: int) -> bytes:
        raise RuntimeError("a defect of senet")


@pytest.mark.parametrize("workers", [0, 1])
def test_defects_are_not_dressed_up(loaders: Any, workers: int) -> None:
    with pytest.raises(RuntimeError, match="a defect of senet") as caught:
        list(loaders(Broken(lambda index: b"", [0, 1] * 4), workers=workers).epoch(0))
    assert not isinstance(caught.value, SenetError)


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_numbers_are_left_alone(loaders: Any, workers: int) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    loader = loaders(numbered_arrays(20), workers=workers)
    for epoch in range(2):
        list(loader.epoch(epoch))
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]


def test_images_are_decoded_only_as_large_as_needed(loaders: Any) -> None:
    spy = SpySource(lambda index: encoded(noise(64, 64, index), "JPEG"), [0, 1] * 2)
    list(loaders(spy, PHOTOS, train=False).epoch(0))
    choices = [PHOTOS.draw(Random(seed_from("augment", 1, 0, index))) for index in range(4)]
    for asked, choice in zip(spy.asked, choices, strict=True):
        assert asked is not None
        for size in ((64, 64), (32, 32), (16, 16), (8, 8), (4, 30)):
            assert asked(*size) == PHOTOS.is_large_enough(*size, choice)


def test_what_goes_to_spawned_workers_can_be_pickled(tmp_path: Path, loaders: Any) -> None:
    loader = loaders(jpeg_folder(tmp_path, 8), PHOTOS)
    images = pickle.loads(pickle.dumps(loader._images))
    task = [(0, 3, 0), (0, 1, 0)]
    assert torch.equal(images.__getitems__(task).images, loader._images.__getitems__(task).images)


@pytest.mark.parametrize(
    ("count", "batch_size", "workers", "said"),
    [
        (0, 4, 0, "no images"),
        (4, 0, 0, r"of at least 1, not 0\."),
        (4, 4, -1, r"workers must be from 0 .*, not -1\."),
    ],
)
def test_bad_numbers_are_refused(count: int, batch_size: int, workers: int, said: str) -> None:
    source = Subset(numbered_arrays(4), np.arange(count))
    with pytest.raises(SenetError, match=said):
        make_loader(source, PLAIN, batch_size=batch_size, seed=0, workers=workers, train=True)


def test_streamed_images_come_shard_by_shard() -> None:
    source = ArraySource(np.zeros((100, 8, 8), np.uint8), np.arange(100) % 2, ("a", "b"))
    source.groups = np.arange(100) // 10
    transform = EvalTransform(size=8, channels=1, crop="pad")
    loader = make_loader(source, transform, batch_size=10, seed=0, workers=0, train=True)
    shards = [set((batch.indices // 10).tolist()) for batch in loader.epoch(0)]
    window = set().union(*shards[:4])
    assert len(window) == 4 and not window & set().union(*shards[4:])
    with pytest.raises(SenetError, match="Balanced sampling needs all classes at"):
        make_loader(source, transform, batch_size=10, seed=0, workers=0, train=True, sampling="balanced")
