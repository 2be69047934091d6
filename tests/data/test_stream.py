from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import time
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from senet.data import shard_cache, stream
from senet.data.grouped_order import WINDOW_GROUPS, grouped_order
from senet.data.parquet import open_parquet_files
from senet.data.parts import split_files
from senet.data.source import ImageData
from senet.data.stream import open_stream
from senet.errors import SenetError

from .pictures import encoded, names_of, noise, parquet

CLASSES = ["cat", "dog"]


class CountingFiles(LocalFileSystem):
    """Notes the bytes that are read of each file; what is to fail fails first."""

    cachable = False
    read: ClassVar[dict[str, int]] = {}
    failures: ClassVar[list[Exception]] = []

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        assert options == {"cache_type": "none"}
        if self.failures:
            raise self.failures.pop(0)
        stream = super().open(path, mode)
        name = Path(path).name

        def read(length: int = -1) -> bytes:
            content: bytes = stream.f.read(length)
            self.read[name] = self.read.get(name, 0) + len(content)
            return content

        stream.read = read
        return stream


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stream, "PAUSES", (0.0,) * 2)
    monkeypatch.setattr(shard_cache, "RESERVE", 0)
    monkeypatch.setattr(CountingFiles, "read", {})
    monkeypatch.setattr(CountingFiles, "failures", [])
    return tmp_path / "cache" / "stream"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The name of each shard, a line for each time it is fetched, whichever process does it."""
    path = tmp_path / "log"
    fetch = stream._fetch

    def noted(open_files: Any, shard: stream.RemoteShard, target: Any) -> None:
        fetch(open_files, shard, target)
        with path.open("a") as lines:
            lines.write(f"{shard.file}\n")

    monkeypatch.setattr(stream, "_fetch", noted)
    return path


def shards(root: Path, train: int, test: int = 1, rows: int = 10, side: int = 40) -> list[str]:
    files = []
    for part, count in (("train", train), ("test", test)):
        for number in range(count):
            file = f"data/{part}-{number:05}.parquet"
            contents = [encoded(noise(side, side, 1000 * number + row)) for row in range(rows)]
            table = pq.read_table(
                parquet(root / file, [row % 2 for row in range(rows)], CLASSES, contents=contents)
            )
            pq.write_table(table, root / file, row_group_size=4)
            files.append(file)
    return files


def opened(root: Path, files: list[str], open_files: Any = CountingFiles, **options: Any) -> ImageData:
    given = {"cache_gb": None, "test_fraction": 0.2, "seed": 0, **options}
    return open_stream(open_files, str(root), split_files(files, "parquet"), **given)


def fetched(cache: Path) -> int:
    return len(list(cache.glob("*.arrow")))


def test_the_same_images_as_when_downloaded(tmp_path: Path, cache: Path) -> None:
    files = shards(tmp_path, 3)
    data = opened(tmp_path, files)
    local = open_parquet_files(tmp_path, split_files(files, "parquet"), test_fraction=0.2, seed=0)
    assert data.classes == local.classes and data.split == local.split and data.own_test
    assert data.train.labels.tolist() == local.train.labels.tolist()
    assert names_of(data.train) == [name.split(" (")[0] for name in names_of(local.train)]
    for index in [29, 0, 11, 10, 3]:
        assert np.array_equal(np.asarray(data.train.read(index)), np.asarray(local.train.read(index)))
    assert np.array_equal(np.asarray(data.test.read(4)), np.asarray(local.test.read(4)))
    assert data.train.groups.tolist() == [0] * 10 + [1] * 10 + [2] * 10


def test_only_labels_are_read_before_the_first_image(tmp_path: Path, cache: Path) -> None:
    files = shards(tmp_path, 3, rows=12, side=80)
    data = opened(tmp_path, files)
    size = (tmp_path / files[0]).stat().st_size
    # The end of a file, 64 KiB, is read at once; what stands there tells where the labels are.
    assert (
        all(read < 66_000 < size / 3 for read in CountingFiles.read.values()) and len(CountingFiles.read) == 4
    )
    before = dict(CountingFiles.read)
    for index in (12, 13, 23):
        data.train.read(index)
    assert fetched(cache) == 1
    (kept,) = cache.glob("*.arrow")
    assert str(pa.ipc.open_file(kept).schema.field("image").type) == "struct<bytes: binary>"
    assert pa.ipc.open_file(kept).schema.names == ["image", "crc32"]
    changed = {name for name, read in CountingFiles.read.items() if read != before[name]}
    assert changed == {"train-00001.parquet"}
    assert CountingFiles.read["train-00001.parquet"] < size + 3 * 66_000


def test_what_was_fetched_is_kept(tmp_path: Path, cache: Path) -> None:
    files = shards(tmp_path, 2)
    opened(tmp_path, files).train.read(0)
    CountingFiles.read.clear()
    again = opened(tmp_path, files)
    again.train.read(3)
    assert not CountingFiles.read and fetched(cache) == 1
    time.sleep(0.01)
    parquet(tmp_path / files[0], [1, 0] * 5, CLASSES)
    changed = opened(tmp_path, files)
    assert changed.train.labels[:2].tolist() == [1, 0] and changed.train.read(0).size == (8, 8)


def test_a_limit_on_the_disk(tmp_path: Path, cache: Path, log: Path) -> None:
    files = shards(tmp_path, 12)
    size = 10 * (40 * 40 * 3)
    limit = (WINDOW_GROUPS + 2) * size / 1e9
    data = opened(tmp_path, files, cache_gb=limit)
    order = grouped_order(data.train.groups, 0, 0)
    most = 0
    for index in order.tolist():
        data.train.read(index)
        most = max(most, sum(path.stat().st_size for path in cache.glob("*.arrow")))
    assert most <= limit * 1e9 and WINDOW_GROUPS <= fetched(cache) < 12
    # In the order for groups each shard is fetched once.
    assert sorted(log.read_text().split()) == sorted(files[:12])
    with pytest.raises(SenetError, match=r"0\.000246, not 1e-06: the images"):
        opened(tmp_path, files, cache_gb=1e-6)


def test_the_least_recently_opened_shard_makes_room(tmp_path: Path, cache: Path) -> None:
    def make(stream: BinaryIO) -> None:
        table = pa.table({"a": [bytes(1000)]})
        with pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)

    shards = shard_cache.ShardCache(tmp_path, 5000)
    opened = {name: shards.open(name, 1600, make) for name in "abc"}
    for number, name in enumerate("acb"):
        os.utime(tmp_path / f"{name}.arrow", ns=(number, number))
    shards.open("a", 1600, make)
    shards.open("d", 1600, make)
    assert sorted(path.stem for path in tmp_path.glob("*.arrow")) == ["a", "b", "d"]
    assert opened["c"]["a"][0].as_py() == bytes(1000)
    (tmp_path / "a.arrow").write_bytes(b"damaged")
    assert shards.open("a", 1600, make)["a"][0].as_py() == bytes(1000)


def test_a_full_disk_makes_room_as_well(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = opened(tmp_path, shards(tmp_path, 3))
    for index in (0, 10):
        data.train.read(index)
    monkeypatch.setattr(shard_cache, "RESERVE", 10**18)
    data.train.read(20)
    assert fetched(cache) == 1


def damage(cache: Path, what: bytes, offset: int = 20) -> None:
    (path,) = cache.glob("*.arrow")
    content = bytearray(path.read_bytes())
    content[content.index(what) + offset] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("what", [b"IDAT", b"ARROW1"])
def test_a_damaged_shard_is_fetched_again(tmp_path: Path, cache: Path, log: Path, what: bytes) -> None:
    files = shards(tmp_path, 1)
    content = bytes(opened(tmp_path, files).train.source.content(0))  # type: ignore[attr-defined]
    damage(cache, what, 20 if what == b"IDAT" else 12)
    assert bytes(opened(tmp_path, files).train.source.content(0)) == content  # type: ignore[attr-defined]
    assert log.read_text().split() == [files[0]] * 2


def test_a_shard_that_is_always_damaged_is_told(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, writes = stream._fetch, []

    def damaged(open_files: Any, shard: stream.RemoteShard, target: Any) -> None:
        writes.append(shard)
        sink = io.BytesIO()
        fetch(open_files, shard, sink)
        target.write(sink.getvalue().replace(b"IDAT", b"IDAX"))

    monkeypatch.setattr(stream, "_fetch", damaged)
    train = opened(tmp_path, shards(tmp_path, 1)).train
    with pytest.raises(SenetError, match=r"data/train-00000\.parquet row 3 in .* is damaged even after"):
        train.read(3)
    assert len(writes) == 2
    monkeypatch.setattr(stream, "_fetch", lambda open_files, shard, target: target.write(b"nothing"))
    with pytest.raises(SenetError, match="cannot be read as an Arrow file"):
        train.read(3)


def test_a_shard_that_changed_since_its_labels_were_read(tmp_path: Path) -> None:
    files = shards(tmp_path, 1)
    train = opened(tmp_path, files).train
    parquet(tmp_path / files[0], [0, 1] * 4, CLASSES)
    with pytest.raises(SenetError, match="has 8 rows but had 10 when its labels were read: the"):
        train.read(0)


def test_a_network_that_breaks_now_and_then(tmp_path: Path, cache: Path) -> None:
    data = opened(tmp_path, shards(tmp_path, 2))
    CountingFiles.failures += [OSError("reset"), TimeoutError()]
    assert np.array_equal(np.asarray(data.train.read(11)), np.asarray(noise(40, 40, 1001)))
    CountingFiles.failures += [OSError("reset by peer")] * 3
    with pytest.raises(SenetError, match=r"data/train-00000\.parquet could not be read \(reset by peer\)"):
        data.train.read(0)
    assert fetched(cache) == 1 and not list(cache.glob("*writing"))
    assert data.train.read(0).size == (40, 40)


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    files = shards(tmp_path, 1)
    with pytest.raises(SenetError, match=r"train-00007\.parquet could not be read .*train-00007"):
        opened(tmp_path, [*files, "data/train-00007.parquet"])
    (tmp_path / files[0]).write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(SenetError, match=r"train-00000\.parquet could not be read"):
        opened(tmp_path, files)
    parquet(tmp_path / files[0], [0, 1], label="stars")
    with pytest.raises(SenetError, match=r"train-00000\.parquet has no label column"):
        opened(tmp_path, files)


def test_an_unreadable_image_is_replaced_by_one_of_its_part(tmp_path: Path) -> None:
    contents: list[bytes | None] = [encoded(noise(10 + row, 8, row)) for row in range(6)]
    contents[2], contents[3] = None, b"nonsense"
    parquet(tmp_path / "train-0.parquet", [0, 1] * 3, CLASSES, contents=contents)
    parquet(tmp_path / "test-0.parquet", [0, 1], CLASSES)
    train = opened(tmp_path, ["train-0.parquet", "test-0.parquet"]).train
    with pytest.warns(UserWarning, match=r"train-0\.parquet row 2 cannot be read .*bytes are missing"):
        assert train.read(2).width == 14
    assert train.read(3).width == 15


def test_other_file_systems_and_a_plain_binary_column(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    contents = [encoded(noise(9, 7, row)) for row in range(10)]
    pq.write_table(pa.table({"img": contents, "label": ["b", "a"] * 5}), tmp_path / "a.parquet")
    files.pipe("/pets/a.parquet", (tmp_path / "a.parquet").read_bytes())
    data = opened(Path("/pets"), ["a.parquet"], partial(fsspec.filesystem, "memory"), test_fraction=0.4)
    assert data.classes == ("a", "b") and len(data.train) == 6 and not data.own_test
    first = int(data.train.name(0).split()[-1])
    assert np.array_equal(np.asarray(data.train.read(0)), np.asarray(noise(9, 7, first)))


@pytest.mark.parametrize("test", ["train", "test"])
def test_a_column_before_the_labels_that_tells_parts(tmp_path: Path, test: str) -> None:
    columns = {"split": ["train", test] * 5, "label": ["b", "b", "a", "a", "b"] * 2}
    contents = [encoded(noise(9, 7, row)) for row in range(10)]
    pq.write_table(pa.table({**columns, "image": contents}), tmp_path / "a.parquet")
    if test == "train":
        assert opened(tmp_path, ["a.parquet"]).classes == ("a", "b")
    else:
        with pytest.raises(
            SenetError,
            match=r"a\.parquet contains several splits \('test', 'train' in its column "
            r"'split'\): .*that column to",
        ):
            opened(tmp_path, ["a.parquet"])


def test_a_pickled_source_fetches_for_itself(tmp_path: Path, cache: Path) -> None:
    train = opened(tmp_path, shards(tmp_path, 2)).train
    train.read(0)
    again = pickle.loads(pickle.dumps(train))
    assert names_of(again) == names_of(train)
    assert np.array_equal(np.asarray(again.read(15)), np.asarray(noise(40, 40, 1005))) and fetched(cache) == 2


def _read_all(data: ImageData, results: Any) -> None:
    results.put([data.train.read(index).size for index in range(len(data.train))])


@pytest.mark.slow
def test_processes_share_what_one_of_them_fetches(tmp_path: Path, cache: Path, log: Path) -> None:
    files = shards(tmp_path, 6, rows=20)
    data = opened(tmp_path, files)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_read_all, args=(data, results)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert found == [[(40, 40)] * 120] * 4
    assert sorted(log.read_text().split()) == sorted(files[:6])
