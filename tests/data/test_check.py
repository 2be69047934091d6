from __future__ import annotations

import dataclasses
import io
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from senet.data import check as room
from senet.data.check import CheckedImages, check_images
from senet.data.duplicates import facts_of
from senet.data.folder import open_folder
from senet.data.images import open_images
from senet.data.part import Part
from senet.data.replaced import ReplacedImages
from senet.data.source import ArraySource, ImageData, ImageSource, Subset
from senet.data.statistics import channel_statistics
from senet.data.transforms import EvalTransform
from senet.errors import SenetError
from senet.training.execution import Execution
from senet.training.processes import Processes
from tests.training.threads import in_threads

from .pictures import SpySource, class_folders, encoded, names_of, noise, numbered_arrays, parquet, write


def folders(root: Path, cats: int = 75, dogs: int = 75) -> ImageData:
    return open_folder(class_folders(root, {"cat": cats, "dog": dogs}), test_fraction=0.2, seed=0)


def data_of(train: ImageSource, test: ImageSource) -> ImageData:
    return ImageData(name="x", location="x", train=train, test=test, classes=train.classes, split="x")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_picture_among_good_ones_is_left_out_and_named(tmp_path: Path, workers: int) -> None:
    data = folders(tmp_path)
    name = data.train.name(70)
    cut(tmp_path / name)
    checked = check_images(data, workers=workers)
    assert [found for found, _ in checked.unreadable] == [name]
    assert "truncated" in checked.unreadable[0][1]
    kept = names_of(data.train)
    kept.remove(name)
    assert names_of(checked.data.train) == kept
    assert checked.data.train.labels.tolist() == np.delete(data.train.labels, 70).tolist()
    assert checked.data.test is data.test
    for index in range(len(checked.data.train)):
        checked.data.train.read(index)


def test_a_damaged_test_picture_is_left_out_too(tmp_path: Path) -> None:
    data = folders(tmp_path)
    cut(tmp_path / data.test.name(3))
    checked = check_images(data, workers=0)
    assert checked.unreadable[0][0] == data.test.name(3)
    assert len(checked.data.test) == 29 and checked.data.train is data.train


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_are_refused_with_numbers_names_and_reasons(tmp_path: Path, workers: int) -> None:
    data = folders(tmp_path)
    for index in range(5):
        cut(tmp_path / data.train.name(index))
    first = data.train.name(0)
    with pytest.raises(
        SenetError,
        match=rf"5 of 150 .*at most 3 may be skipped.*--max-unreadable \({first}: the file is "
        rf"truncated.*and 2 more",
    ):
        check_images(data, workers=workers)


@pytest.mark.parametrize(
    ("images", "most", "allowed"),
    [
        (20, None, 2),
        (10, None, 1),
        (30, None, 3),
        (200, None, 3),
        (400, None, 4),
        (20, 5, 5),
        (20, 0, 0),
        (20, 0.25, 5),
        (20, 1, 1),
    ],
)
def test_how_many_damaged_images_are_left_out(
    tmp_path: Path, images: int, most: float | None, allowed: int
) -> None:
    """By default one of a hundred, or up to three, but no more than one of ten."""
    spy = SpySource(
        lambda index: b"" if index < 2 * damaged else encoded(noise(8, 8, index)), [0, 1] * images
    )
    data = data_of(
        Subset(spy, np.arange(0, 2 * images, 2)[: images - 4]),
        Subset(spy, np.arange(2 * images - 8, 2 * images, 2)),
    )
    data = dataclasses.replace(data, classes=("0",))
    damaged = allowed
    assert len(check_images(data, workers=0, most_unreadable=most).unreadable) == allowed
    damaged = allowed + 1
    with pytest.raises(
        SenetError, match=rf"{damaged} of {images} images cannot be read, and at most {allowed} may"
    ):
        check_images(data, workers=0, most_unreadable=most)


@pytest.mark.parametrize("most", [1.5, -1, float("nan"), -0.1, "5 %", True])
def test_a_number_or_a_share_may_be_unreadable(most: Any) -> None:
    with pytest.raises(
        SenetError, match=r"max_unreadable must .*a number of images such as 5, or a share such as"
    ):
        Execution(max_unreadable=most)


@pytest.mark.parametrize(("part", "said"), [("train", "training"), ("val", "test")])
def test_a_class_that_loses_every_picture_is_named(tmp_path: Path, part: str, said: str) -> None:
    class_folders(tmp_path / "train", {"cat": 150, "dog": 1})
    class_folders(tmp_path / "val", {"cat": 2, "dog": 1})
    cut(tmp_path / part / "dog" / "000.png")
    data = open_folder(tmp_path, test_fraction=0.2, seed=0)
    with pytest.raises(SenetError, match=f"All {said} images of 'dog' are unreadable.*{part}/dog/000.png"):
        check_images(data, workers=0)


def test_channels_and_sizes() -> None:
    grey = SpySource(lambda i: encoded(noise(100 + 10 * i, 200, channels=1), "JPEG"), [0, 1, 0])
    colour = SpySource(lambda i: encoded(noise(300, 300), "JPEG"), [0, 1])
    checked = check_images(data_of(grey, grey), workers=0)
    assert checked.channels == 1
    assert (checked.median_width, checked.median_height, checked.median_size) == (110, 200, 110)
    assert check_images(data_of(grey, colour), workers=0).channels == 3
    assert check_images(data_of(colour, grey), workers=0).median_size == 300


def test_the_median_of_shorter_sides_mixes_upright_and_wide_pictures() -> None:
    mixed = SpySource(lambda i: encoded(noise(*((40, 90) if i % 2 else (90, 40)))), [0, 1, 0, 1])
    checked = check_images(data_of(mixed, mixed), workers=0)
    assert (checked.median_width, checked.median_height, checked.median_size) == (65, 65, 40)


def test_arrays_in_memory_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = numbered_arrays(20, size=28)
    monkeypatch.setattr(type(arrays), "examine", lambda *_: pytest.fail("decoded"))
    checked = check_images(data_of(arrays, arrays), workers=2)
    assert (checked.channels, checked.median_size, checked.unreadable) == (1, 28, ())
    assert checked.data.train is arrays


@pytest.mark.parametrize("workers", [0, 2])
def test_progress_rises_to_the_total(tmp_path: Path, workers: int) -> None:
    told: list[tuple[int, int]] = []
    check_images(folders(tmp_path), workers=workers, progress=lambda *numbers: told.append(numbers))
    done = [number for number, _ in told]
    assert done == sorted(set(done)) and done[-1] == 150 and len(done) >= 3
    assert {total for _, total in told} == {150}


def test_parquet_files_are_checked_in_workers(tmp_path: Path) -> None:
    contents = [encoded(noise(8, 8, seed=number)) for number in range(150)]
    contents[40] = contents[40][:50]
    parquet(tmp_path / "train.parquet", [0, 1] * 75, contents=contents)
    parquet(tmp_path / "test.parquet", [0, 1])
    checked = check_images(open_images(tmp_path), workers=2)
    assert [name for name, _ in checked.unreadable] == ["train.parquet row 40 (40.png)"]


def test_a_bomb_is_left_out(tmp_path: Path) -> None:
    from .test_decode import bomb

    data = folders(tmp_path)
    write(tmp_path / data.train.name(0), bomb(20_000, 20_000))
    assert "400,000,000 pixels" in check_images(data, workers=0).unreadable[0][1]


class Killer(SpySource):
    def content(self, index: int) -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_worker_that_is_killed_is_explained() -> None:
    killer: Any = Killer(lambda index: b"", [0, 1])
    with pytest.raises(SenetError, match="was checking images was killed, most likely because memory"):
        check_images(data_of(killer, killer), workers=1)


def test_a_negative_number_of_workers_is_refused() -> None:
    arrays = numbered_arrays(4)
    with pytest.raises(SenetError, match=r"workers must be from 0 .*, not -1\."):
        check_images(data_of(arrays, arrays), workers=-1)


class Grouped(SpySource):
    """Twenty groups of ten images; those of groups 0, 6, 13 and 19 are checked."""

    def __init__(self, bad: set[int]) -> None:
        self.fetched: set[int] = set()

        def make(index: int) -> bytes:
            self.fetched.add(index // 10)
            return b"" if index in bad else encoded(noise(8 + index // 10, 9, index))

        super().__init__(make, [index % 2 for index in range(200)])
        self.groups = np.repeat(np.arange(20), 10)


def grouped(bad: set[int]) -> tuple[Grouped, ImageData]:
    spy = Grouped(bad)
    return spy, data_of(ReplacedImages(spy), ReplacedImages(spy))


def test_of_images_fetched_in_groups_a_sample_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    spy, data = grouped({65, 55})
    monkeypatch.setattr(room, "MOST_UNREADABLE", 0.05)
    checked = check_images(data, workers=0)
    assert spy.fetched == {0, 6, 13, 19}
    assert [name for name, _ in checked.unreadable] == ["spy 65", "spy 65"]
    assert len(checked.data.train) == 199 and checked.median_width == 8 + 13
    assert checked.data.train.groups is not None and 55 in checked.data.train.indices
    assert 65 not in checked.data.train.indices
    assert checked.note.startswith("Only 80 of 400 images were checked, in 4 shards of the training split")
    channel_statistics(checked.data.train, EvalTransform(size=8, channels=3, crop="pad"))
    assert spy.fetched == {0, 6, 13, 19}


def test_a_sample_with_too_many_unreadable_images_is_refused() -> None:
    _, data = grouped({5, 60, 135})
    with pytest.raises(
        SenetError, match=r"6 of 80 images cannot be read, and at most 3 may .*and 3 more\)\."
    ):
        check_images(data, workers=0)


def test_images_that_are_all_looked_at_need_no_note(tmp_path: Path) -> None:
    assert check_images(folders(tmp_path), workers=0).note == ""


@pytest.mark.parametrize("count", [2, 3, 5])
def test_processes_that_share_the_checking_find_what_one_finds(tmp_path: Path, count: int) -> None:
    """Of 240 training images in four tasks, damaged ones lie in the shares of several processes."""
    data = folders(tmp_path, 150, 150)
    for index in (0, 70, 130):
        cut(tmp_path / data.train.name(index))
    alone = check_images(data, workers=0)
    assert len(alone.unreadable) == 3
    told: dict[int, list[int]] = {number: [] for number in range(count)}

    def work(processes: Processes) -> CheckedImages:
        return check_images(
            data,
            workers=0,
            progress=lambda done, total: told[processes.number].append(done),
            part=Part(process=processes.number, processes=processes.count),
            gather=processes.gather,
        )

    for shared in in_threads(count, work):
        assert shared.unreadable == alone.unreadable
        assert names_of(shared.data.train) == names_of(alone.data.train)
        assert dataclasses.replace(shared, data=data) == dataclasses.replace(alone, data=data)
    assert all(numbers == sorted(numbers) and max(numbers, default=0) <= 300 for numbers in told.values())
    assert max(told[0]) > 150, "progress is that of all processes"


def test_processes_that_share_an_array_look_at_it_once() -> None:
    arrays = numbered_arrays(20, size=28)

    def work(processes: Processes) -> CheckedImages:
        part = Part(process=processes.number, processes=processes.count)
        return check_images(data_of(arrays, arrays), workers=0, part=part, gather=processes.gather)

    for shared in in_threads(2, work):
        assert (shared.channels, shared.median_size, shared.unreadable) == (1, 28, ())


def deep(low: int, high: int, seed: int) -> bytes:
    """16-bit greyscale with values from ``low`` to ``high``."""
    values = np.random.default_rng(seed).integers(low, high + 1, (16, 16)).astype(np.uint16)
    values.flat[:2] = low, high
    return encoded(Image.fromarray(values))


@pytest.mark.parametrize("workers", [0, 2])
def test_16_bits_are_scaled_by_one_range_of_all_training_images(tmp_path: Path, workers: int) -> None:
    """12-bit values keep their contrast, and two classes that differ in brightness only still differ."""
    for part in ("train", "val"):
        for number in range(4):
            write(tmp_path / part / "low" / f"{number}.png", deep(1000, 1200, number))
            write(
                tmp_path / part / "high" / f"{number}.png", deep(3000, 3200 + 400 * (part == "val"), number)
            )
    checked = check_images(open_folder(tmp_path, test_fraction=0.2, seed=0), workers=workers)
    assert checked.levels == (1000, 3200) and checked.channels == 1
    for source in (checked.data.train, checked.data.test):
        high, low = (np.asarray(source.read(index)) for index in (0, 4))
        assert source.classes == ("high", "low")
        assert (low.min(), low.max()) == (0, 23) and high.min() == 232 and high.max() == 255
        assert len(np.unique(low)) == 24


def test_given_levels_are_used_for_any_images() -> None:
    spy = SpySource(lambda index: deep(0, 100, index), [0, 1])
    checked = check_images(data_of(spy, spy), workers=0, levels=(0, 200))
    assert checked.levels == (0, 200) and np.asarray(checked.data.train.read(0)).max() == 128


def test_the_content_is_the_same_for_the_same_bytes_only(tmp_path: Path) -> None:
    data = folders(tmp_path, 5, 5)
    before = check_images(data, workers=0).content
    assert check_images(data, workers=2).content == before
    path = tmp_path / data.test.name(1)
    stat = path.stat()
    picture = path.read_bytes()
    path.write_bytes(encoded(noise(8, 8, seed=99)))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert check_images(data, workers=0).content != before
    path.write_bytes(picture)
    assert check_images(data, workers=0).content == before
    arrays, other = numbered_arrays(20, size=28), numbered_arrays(20, size=28)
    other._images[3, 0, 0] ^= 1
    contents = [check_images(data_of(each, arrays), workers=0).content for each in (arrays, arrays, other)]
    assert contents[0] == contents[1] != contents[2]


def test_the_versions_of_shards_stand_for_images_that_are_not_looked_at() -> None:
    contents = []
    for version in ("a", "a", "b"):
        spy, data = grouped(set())
        spy.version = version
        data = data_of(ReplacedImages(spy), Subset(ReplacedImages(spy), np.arange(200)))
        contents.append(check_images(data, workers=0).content)
    assert contents[0] == contents[1] != contents[2]


def photographs(count: int, **options: Any) -> list[bytes]:
    """Large-scale detail, another one in each."""
    found = []
    for seed in range(count):
        rough = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8))
        found.append(encoded(rough.resize((64, 48), Image.Resampling.BICUBIC), "JPEG", **options))
    return found


def said(train: list[bytes], test: list[bytes], labels: list[int] | None = None) -> list[str]:
    sources = [SpySource(each.__getitem__, [0, 1] * (len(each) // 2)) for each in (train, test)]
    if labels is not None:
        sources[0].labels = np.array(labels)
    return list(check_images(data_of(*sources), workers=0).warnings)


def test_test_images_among_the_training_images_are_counted() -> None:
    images = photographs(14)
    assert said(images[:10], images[10:]) == []
    (sentence,) = said(images[:10], [images[3], images[10], images[0], images[11]])
    assert sentence.startswith("2 of 4 test images are identical to a training image (spy 0 is spy 3)")
    assert said(images[:10], [images[3], images[10]])[0].startswith("1 of 2 test images is identical to")


@pytest.mark.parametrize("change", ["compressed", "resized", "another format", "greyscale"])
def test_test_images_that_look_like_training_images_are_counted(change: str) -> None:
    images = photographs(12)
    picture = Image.open(io.BytesIO(images[3]))
    again = {
        "compressed": encoded(picture, "JPEG", quality=40),
        "resized": encoded(picture.resize((100, 80), Image.Resampling.BICUBIC), "JPEG"),
        "another format": encoded(picture, "PNG"),
        "greyscale": encoded(picture.convert("L"), "PNG"),
    }[change]
    (sentence,) = said(images[:10], [again, images[11]])
    assert sentence.startswith(
        "1 of 2 test images is nearly identical to a training image (such as spy 0 and spy 3)"
    )


def test_images_with_little_in_them_are_not_taken_for_the_same() -> None:
    """Flat images are alike in 8 × 8 cells; of 6,000 articles of clothing no two are."""
    dim = [encoded(noise(48, 40, seed).point(lambda level: level // 8 + 100)) for seed in range(8)]
    assert said(dim[:4], dim[4:]) == []
    embedded = open_images(None)
    assert check_images(embedded, workers=0).warnings == ()


def test_one_picture_under_several_labels_is_counted() -> None:
    images = photographs(8)
    (sentence,) = said(
        [images[0], images[0], images[1], images[1], images[2], images[3]], images[4:6], [0, 1, 1, 1, 0, 1]
    )
    assert sentence == (
        "1 training image has more than one label (spy 0 as '0' and spy 1 as '1'): keep the right one."
    )


def test_images_of_one_colour_are_counted() -> None:
    images = photographs(6)
    black = [encoded(Image.new("RGB", (8 + side, 8), "black")) for side in range(2)]
    (sentence,) = said([*images[:2], *black], images[2:4])
    assert sentence.startswith("2 of 4 training images are a single colour (such as spy 2)")
    assert said([images[0]] * 4, images[2:4])[-1].startswith("All 4 training images are identical")
    assert said([deep(7, 7, 0), deep(9, 9, 0)], images[:2])[0].startswith(
        "2 of 2 training images are a single colour"
    )


def test_facts_of_arrays_are_those_of_the_same_images_in_files() -> None:
    for side, channels in ((24, 1), (16, 3), (8, 1)):
        pixels = np.random.default_rng(0).integers(0, 256, (3, side, 2 * side, channels), dtype=np.uint8)
        source = ArraySource(pixels, [0, 1, 0], ("a", "b"))
        rows = facts_of(pixels)
        for index in range(3):
            facts = source.examine(index)
            assert (rows["width"][index], rows["height"][index]) == (facts.width, facts.height)
            assert bytes(rows["digest"][index]) == facts.digest and not rows["plain"][index]
            expected = pixels[index].reshape(8, side // 8, 8, -1).mean(axis=(1, 3)).ravel()
            assert np.abs(rows["thumbnail"][index] - expected).max() < 1
    assert facts_of(np.zeros((2, 5, 3, 1), np.uint8))["plain"].all()
