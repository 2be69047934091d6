from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from senet.data.embedded import CLASSES, FILE, open_embedded
from senet.errors import SenetError

ORIGINALS = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
CHECKSUM = "bbb7483644578b79f267a68c4d082a3bbc6c75ace0b2186310c2fee009b9c2de"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "make_embedded_images.py"
    specification = importlib.util.spec_from_file_location("make_embedded_images", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_counts_and_balance() -> None:
    data = open_embedded()
    assert data.classes == CLASSES and len(set(CLASSES)) == 10
    assert np.bincount(data.train.labels).tolist() == [500] * 10
    assert np.bincount(data.test.labels).tolist() == [100] * 10
    for part in (data.train, data.test):
        image = part.read(0)
        assert (image.mode, image.size) == ("L", (28, 28))
    assert "5,000 training and 1,000 test images" in data.split


def test_no_image_is_in_both_parts() -> None:
    data = open_embedded()
    digests = [
        {image.tobytes() for image in part.pixels(np.arange(len(part)))} for part in (data.train, data.test)
    ]
    assert not digests[0] & digests[1]


def test_class_names_fit_what_the_pictures_show() -> None:
    train = open_embedded().train
    pictures = train.pixels(np.arange(len(train)))[..., 0].astype(float)
    silhouettes = [pictures[train.labels == label].mean(axis=0) for label in range(10)]

    def by(region: tuple[slice, slice]) -> list[str]:
        brightness = [silhouette[region].mean() for silhouette in silhouettes]
        return [CLASSES[label] for label in np.argsort(brightness)]

    everywhere = slice(None)
    assert by((everywhere, slice(0, 7)))[:2] == ["Trouser", "Dress"]  # narrow
    assert by((slice(0, 8), everywhere))[:2] == ["Sneaker", "Sandal"]  # flat
    assert by((slice(0, 10), slice(20, 28)))[-1] == "Ankle boot"  # heel on the right, shaft above
    assert by((slice(16, 26), slice(2, 6)))[-1] == "Bag"  # a rectangle
    sleeves = [name for name in by((slice(16, 26), slice(2, 6))) if name in (*CLASSES[0:5:2], "Shirt")]
    assert sleeves == ["T-shirt/top", "Shirt", "Coat", "Pullover"]


def test_names_are_the_originals_numbers() -> None:
    data = open_embedded()
    assert data.train.name(0) == "Fashion-MNIST train image 0"
    assert data.test.name(999).startswith("Fashion-MNIST test image ")


def test_content_is_what_was_published() -> None:
    digest = hashlib.sha256()
    with np.load(FILE, allow_pickle=False) as arrays:
        for name in sorted(arrays):
            digest.update(name.encode() + str(arrays[name].dtype).encode() + arrays[name].tobytes())
    assert digest.hexdigest() == CHECKSUM
    assert FILE.stat().st_size < 4_000_000


def test_the_licence_is_beside_the_images() -> None:
    text = FILE.with_name("LICENSE.fashion-mnist").read_text()
    assert "MIT License" in text and "2017 Zalando SE" in text and 'THE SOFTWARE IS PROVIDED "AS IS"' in text


@pytest.mark.skipif(not ORIGINALS.exists(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_file_can_be_made_again(tool: ModuleType, tmp_path: Path) -> None:
    assert tool.main([str(ORIGINALS), "--out", str(tmp_path / "again.npz")]) == 0
    with np.load(tmp_path / "again.npz") as made, np.load(FILE) as shipped:
        assert sorted(made) == sorted(shipped)
        for name in made:
            assert made[name].dtype == shipped[name].dtype and np.array_equal(made[name], shipped[name])


def test_the_time_of_day_leaves_no_trace_in_the_file(tool: ModuleType) -> None:
    arrays = {"a": np.arange(100), "b": np.eye(3)}
    content = tool.pack(arrays)
    assert content == tool.pack(arrays)
    assert {entry.date_time for entry in zipfile.ZipFile(io.BytesIO(content)).infolist()} == {
        (1980, 1, 1, 0, 0, 0)
    }


def idx(values: np.ndarray, kind: int = 8) -> bytes:
    header = bytes([0, 0, kind, values.ndim]) + b"".join(side.to_bytes(4, "big") for side in values.shape)
    return gzip.compress(header + values.astype(np.uint8).tobytes())


def test_the_tool_takes_the_first_of_each_class(tool: ModuleType, tmp_path: Path) -> None:
    labels = np.tile(np.arange(10)[::-1], 600)
    images = (np.arange(6000) % 251)[:, None, None].repeat(2, 1).repeat(2, 2)
    for prefix in ("train", "t10k"):
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    with np.load(io.BytesIO(tool.pack(tool.make(tmp_path)))) as arrays:
        assert arrays["train_numbers"].tolist() == list(range(5000))
        assert arrays["test_labels"].tolist() == labels[:1000].tolist()
        assert arrays["test_images"][260, 0, 0] == 260 % 251


def test_the_tool_refuses_what_is_not_fashion_mnist(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main([str(tmp_path), "--out", str(tmp_path / "x.npz")]) == 2
    assert "train-images-idx3-ubyte.gz cannot be read as an IDX file" in capsys.readouterr().err
    for name in ("images-idx3", "labels-idx1"):
        (tmp_path / f"train-{name}-ubyte.gz").write_bytes(idx(np.arange(30)))
    with pytest.raises(SenetError, match="fewer than 500 train images of a class"):
        tool.make(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(idx(np.arange(30), kind=13))
    with pytest.raises(SenetError, match="values of kind 13"):
        tool.make(tmp_path)
    assert not (tmp_path / "x.npz").exists()
