from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from senet.data import parquet as room
from senet.data.parquet import available_memory, open_parquet_folder
from senet.data.source import ImageData, UnreadableImage
from senet.errors import SenetError

from .pictures import encoded, names_of, noise, parquet


def opened(root: Path, seed: int = 0) -> ImageData:
    return open_parquet_folder(root, test_fraction=0.2, seed=seed)


def two_parts(root: Path, train: Sequence[Any], test: Sequence[Any], **options: Any) -> ImageData:
    parquet(root / "train-00000-of-00001.parquet", train, **options)
    parquet(root / "test-00000-of-00001.parquet", test, **options)
    return opened(root)


def test_hugging_face_layout_with_class_names(tmp_path: Path) -> None:
    data = two_parts(tmp_path, [1, 0, 1], [0, 1], names=["cat", "dog"])
    assert data.classes == data.train.classes == data.test.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [1, 0, 1] and data.test.labels.tolist() == [0, 1]
    assert data.train.labels.dtype == np.int64
    for index in range(3):
        assert np.array_equal(np.asarray(data.train.read(index)), np.asarray(noise(8, 8, seed=index)))
    assert data.test.name(1) == "test-00000-of-00001.parquet row 1 (1.png)"
    assert "3 training images from train-00000-of-00001.parquet and 2 test images" in data.split


def test_several_files_are_one_part_and_rows_are_named(tmp_path: Path) -> None:
    for number in (1, 0):
        parquet(
            tmp_path / f"train-{number}.parquet",
            [number, 1 - number],
            contents=[encoded(noise(8, 8, seed=10 * number + row)) for row in range(2)],
        )
    parquet(tmp_path / "test-0.parquet", [0, 1])
    train = opened(tmp_path).train
    assert train.labels.tolist() == [0, 1, 1, 0]
    assert [name.split(" (")[0] for name in names_of(train)] == [
        "train-0.parquet row 0",
        "train-0.parquet row 1",
        "train-1.parquet row 0",
        "train-1.parquet row 1",
    ]
    assert np.array_equal(np.asarray(train.read(3)), np.asarray(noise(8, 8, seed=11)))


def test_without_a_test_part_it_is_split_by_class(tmp_path: Path) -> None:
    parquet(tmp_path / "train.parquet", [0] * 20 + [1] * 10, ["cat", "dog"])
    data = opened(tmp_path)
    assert np.bincount(data.train.labels).tolist() == [16, 8]
    assert np.bincount(data.test.labels).tolist() == [4, 2]
    assert "20 % of each class" in data.split


@pytest.mark.parametrize(("image", "label"), [("img", "fine_label"), ("image", "labels")])
def test_other_column_names(tmp_path: Path, image: str, label: str) -> None:
    data = two_parts(tmp_path, [0, 1], [0, 1], names=["a", "b"], image=image, label=label)
    assert data.classes == ("a", "b") and data.train.read(0).size == (8, 8)


@pytest.mark.parametrize(
    "label_type", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
)
def test_labels_may_be_names(tmp_path: Path, label_type: pa.DataType) -> None:
    data = two_parts(tmp_path, ["dog", "cat", "eel"], ["eel", "dog"], label_type=label_type)
    assert data.classes == ("cat", "dog", "eel")
    assert data.train.labels.tolist() == [1, 0, 2] and data.test.labels.tolist() == [2, 1]


def test_numbers_without_names_are_their_own_names(tmp_path: Path) -> None:
    data = two_parts(tmp_path, [10, 2, 1], [2, 10])
    assert data.classes == ("1", "10", "2")
    assert data.train.labels.tolist() == [1, 2, 0] and data.test.labels.tolist() == [2, 1]


def test_the_mapping_comes_from_the_training_part(tmp_path: Path) -> None:
    data = two_parts(tmp_path, ["ant", "bee", "cow"], ["bee", "cow"])
    assert data.classes == ("ant", "bee", "cow") and data.test.labels.tolist() == [1, 2]
    assert "There are no test images of 'ant'." in data.split


@pytest.mark.parametrize(
    ("train", "test", "options", "said"),
    [
        (
            [0, 1],
            [-1, -1],
            {"names": ["a", "b"]},
            r"has 2 labels outside 0 to 1 \(the first is -1\): images .*marked -1, cannot",
        ),
        ([0, 2], [0, 1], {"names": ["a", "b"]}, r"has 1 label outside 0 to 1 \(the first is 2\): images"),
        ([-1, 0, 1], [0, 1], {}, r"has 1 negative label \(the first is -1\): images"),
        ([0, 1], [0, 7], {}, r"has images of '7', but the training split has none\."),
        (["a", "b"], ["c"], {}, r"has images of 'c', but the training split has none\."),
        ([0, 1], [0], {"names": ["a", "b", "c"]}, "has no image of 'c': add images"),
        ([3, 3], [3], {}, "only the class '3'"),
        ([0.5, 1.5], [0.5], {}, r"in train-00000-of-00001\.parquet are of type double:"),
        ([[0], [1]], [[0]], {}, r"in train-00000-of-00001\.parquet are of type list<element:"),
        ([0, None], [0], {}, "1 image in train-.* has no label"),
    ],
)
def test_bad_labels_are_refused(
    tmp_path: Path, train: list[Any], test: list[Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SenetError, match=said):
        two_parts(tmp_path, train, test, **options)


def test_parts_must_name_the_same_classes(tmp_path: Path) -> None:
    parquet(tmp_path / "train.parquet", [0, 1], ["cat", "dog"])
    parquet(tmp_path / "test.parquet", [0, 1], ["dog", "cat"])
    with pytest.raises(SenetError, match=r"The class names in test\.parquet differ"):
        opened(tmp_path)
    parquet(tmp_path / "train-2.parquet", [0, 1], ["cat", "eel"])
    with pytest.raises(
        SenetError, match=r"parquet files 'train-2\.parquet', 'train\.parquet' have different class names:"
    ):
        opened(tmp_path)


def test_missing_columns_are_listed(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "stars": [1]}), tmp_path / "a.parquet")
    said = r"a\.parquet has no image column: it has 'text', 'stars', but needs one of 'image', 'img'\."
    with pytest.raises(SenetError, match=said):
        opened(tmp_path)
    parquet(tmp_path / "a.parquet", [0, 1], label="stars")
    with pytest.raises(SenetError, match="no label column: it has 'image', 'stars', but"):
        opened(tmp_path)


def test_a_column_of_another_kind_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["a.png", "b.png"], "label": [0, 1]}), tmp_path / "a.parquet")
    with pytest.raises(SenetError, match=r"The image column of a\.parquet must"):
        opened(tmp_path)


def test_plain_binary_images(tmp_path: Path) -> None:
    contents = [encoded(noise(8, 8, seed=number)) for number in range(4)]
    pq.write_table(pa.table({"image": contents, "label": [0, 0, 1, 1]}), tmp_path / "a.parquet")
    data = opened(tmp_path)
    assert data.train.read(0).size == (8, 8) and data.train.name(0).startswith("a.parquet row ")


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    contents = [encoded(noise(8, 8)), None, b"nonsense", encoded(noise(8, 8))]
    parquet(tmp_path / "train.parquet", [0, 1, 0, 1], contents=contents)
    parquet(tmp_path / "test.parquet", [0, 1])
    train = opened(tmp_path).train
    with pytest.raises(UnreadableImage, match=r"train.parquet row 1 \(1.png\) .* bytes are missing"):
        train.read(1)
    with pytest.raises(
        UnreadableImage, match=r"train\.parquet row 2 \(2\.png\) cannot .*image format; supported are"
    ):
        train.examine(2)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "train.parquet", [0, 1])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SenetError, match=r"train\.parquet cannot be read as a parquet file"):
        opened(tmp_path)


def test_files_larger_than_memory_are_refused_before_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet(tmp_path / "train.parquet", [0, 1] * 5)
    opened(tmp_path)
    monkeypatch.setattr(room, "available_memory", lambda: 1000)
    monkeypatch.setattr(room.pq, "read_table", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(SenetError, match=r"need 0\.0 GB of memory but only 0\.0 GB are free: unpack"):
        opened(tmp_path)


def test_available_memory_is_plausible() -> None:
    free = available_memory()
    assert free is not None and 10**7 < free < 10**14


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "train.parquet", [0, 1] * 5)
    parquet(tmp_path / ".cache" / "train.parquet", [5, 6])
    assert opened(tmp_path).classes == ("0", "1")


def test_a_parquet_source_can_be_pickled(tmp_path: Path) -> None:
    train = two_parts(tmp_path, [1, 0, 1], [0, 1], names=["cat", "dog"]).train
    again = pickle.loads(pickle.dumps(train))
    assert names_of(again) == names_of(train)
    assert np.array_equal(np.asarray(again.read(2)), np.asarray(train.read(2)))
