from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from senet.data.images import open_images
from senet.data.source import ImageData
from senet.errors import SenetError

from .pictures import encoded, noise

PICTURES = [encoded(noise(6, 5, row)) for row in range(12)]
IMAGES = [{"bytes": picture, "path": f"{row}.png"} for row, picture in enumerate(PICTURES)]
LABELS = [0, 1, 2] * 4


def write(path: Path, columns: dict[str, Any], description: object = None) -> Path:
    """A parquet or an Arrow file; ``description``, text or object, stands under the key huggingface."""
    table = pa.table(columns)
    if description is not None:
        text = description if isinstance(description, str | bytes) else json.dumps(description)
        table = table.replace_schema_metadata({"huggingface": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    return path


def feature(names: object, column: str = "label") -> dict[str, Any]:
    return {"info": {"features": {column: {"names": names, "_type": "ClassLabel"}}}}


def opened(path: Path) -> ImageData:
    return open_images(path, test_fraction=0.25)


DEEP = "[" * 100_000
BAD_DESCRIPTIONS = [
    (DEEP, r"valid JSON \(maximum .*a JSON array .*string\): repair or remove it\."),
    ("{", "is not valid JSON"),
    (b"\xff{}", "is not valid JSON"),
    ([1], "be a JSON object, not a list: repair or"),
    ({"info": [1]}, "be a JSON object, not a list: repair or"),
    ({"info": {"features": [1]}}, "be a JSON object, not a list: repair or"),
    (feature("cat"), "has class names that are not a list of strings"),
    (feature([["cat"], 1]), "has class names that are not a list of strings"),
    (feature([None, "a", "b"]), "has class names that are not a list of strings"),
    (feature(["cat", "dog", "cat"]), "the class 'cat' twice: give each class a"),
    (feature(["cat", "", "dog"]), "has a class without a name"),
]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize(("description", "said"), BAD_DESCRIPTIONS, ids=range(len(BAD_DESCRIPTIONS)))
def test_descriptions_of_another_shape_are_refused(
    tmp_path: Path, suffix: str, description: object, said: str
) -> None:
    path = write(tmp_path / f"a{suffix}", {"image": IMAGES, "label": LABELS}, description)
    with pytest.raises(SenetError, match=said):
        opened(path)


@pytest.mark.parametrize("description", [{}, {"info": None}, {"info": {}}, feature([]), feature(None)])
def test_descriptions_that_say_nothing_are_read(tmp_path: Path, description: object) -> None:
    path = write(tmp_path / "a.parquet", {"image": IMAGES, "label": LABELS}, description)
    assert opened(path).classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(["b", "a", " c "] * 4).dictionary_encode(),
        pa.array(["b", "a", "c"] * 4, pa.large_string()),
        pa.array([False, True, True] * 4),
        pa.array([3, 1, 2] * 4, pa.uint64()),
    ],
)
def test_labels_of_many_types(tmp_path: Path, labels: Any) -> None:
    expected = [str(value).strip().lower() for value in labels.to_pylist()]
    for suffix in (".parquet", ".arrow"):
        data = opened(write(tmp_path / f"a{suffix}", {"image": IMAGES, "label": labels}))
        assert data.classes == tuple(sorted(set(expected)))
        for part in (data.train, data.test):
            for index, label in enumerate(part.labels):
                assert data.classes[label] == expected[int(part.name(index).split()[2])]


@pytest.mark.parametrize(
    ("labels", "names", "said"),
    [
        (
            [1, 2, 3] * 4,
            "abc",
            r"a\.parquet run from 1 to 3, but the 3 class names are numbered from 0: "
            r"subtract 1 from .*that 0 is",
        ),
        ([0, 1, 3] * 4, "abc", r"a\.parquet has 4 labels outside 0 to 2 \(the"),
        ([0.0, 1.0, 2.0] * 4, None, r"in a\.parquet are of type double:"),
        ([None] * 12, None, "of type null"),
        ([0, 1, None] * 4, None, "4 images in a.parquet have no label"),
        (["a", "b", " "] * 4, None, "4 images in a.parquet have no label"),
        ([[0]] * 12, None, "of type list"),
        ([{"a": 1}] * 12, None, "of type struct"),
        (pa.array([2**64 - 1, 0, 1] * 4, pa.uint64()), None, "label 18446744073709551615 .* is too large"),
        ([2**63 - 1, -(2**63), 1] * 4, None, r"a\.parquet has 4 negative labels \(the"),
        ([7] * 12, None, "only the class '7'"),
        ([b"a", b"b"] * 6, None, "of type binary"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, labels: Any, names: str | None, said: str) -> None:
    columns = {"image": IMAGES, "label": labels}
    path = write(tmp_path / "a.parquet", columns, None if names is None else feature(list(names)))
    with pytest.raises(SenetError, match=said):
        opened(path)


KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (
            [{"bytes": None, "path": "x.png"}] * 12,
            r"a\.parquet contains no images, only paths such as x\.png:",
        ),
        (
            pa.array([{"bytes": None, "path": "x.png"}] * 12, KIND),
            r"a\.parquet contains no images, only paths such",
        ),
        (pa.array([None] * 12, KIND), r"a\.parquet contains no images, only empty values:"),
        ([{"bytes": list(b"abc"), "path": "x"}] * 12, r"The image column of a\.parquet must have Hugging"),
        ([{"bytes": {"bytes": b"x"}}] * 12, "have Hugging Face's image type, struct<bytes:"),
        ([list(b"abc")] * 12, "have Hugging Face's image type, struct<bytes:"),
        ([[{"bytes": b"abc"}]] * 12, "have Hugging Face's image type, struct<bytes:"),
        (["x.png"] * 12, "have Hugging Face's image type, struct<bytes:"),
        ([None] * 12, r"The image column of a\.parquet contains"),
    ],
)
def test_images_that_are_none(tmp_path: Path, images: Any, said: str) -> None:
    with pytest.raises(SenetError, match=said):
        opened(write(tmp_path / "a.parquet", {"image": images, "label": LABELS}))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("path", [7, {"a": 1}, ["x"], b"\xff", None])
def test_paths_that_are_no_text_are_left_out(tmp_path: Path, suffix: str, path: Any) -> None:
    images = [{"bytes": picture, "path": path} for picture in PICTURES]
    data = opened(write(tmp_path / f"a{suffix}", {"image": images, "label": LABELS}))
    assert data.train.read(0).size == (6, 5) and data.train.name(0).split(" (")[0] == data.train.name(0)


def test_columns_used_and_ignored_are_named(tmp_path: Path) -> None:
    columns = {"coarse_label": [0, 1] * 6, "Img": IMAGES, "fine_label": LABELS, "caption": ["x"] * 12}
    data = opened(write(tmp_path / "a.parquet", columns))
    assert data.classes == ("0", "1", "2")
    assert data.split.endswith(" Columns used: 'Img', 'fine_label'; ignored: 'coarse_label', 'caption'.")
    columns = {"picture": IMAGES, "id": list(range(12)), "species": LABELS}
    data = opened(write(tmp_path / "b.arrow", columns, feature(["x", "y", "z"], "species")))
    assert data.classes == ("x", "y", "z")
    assert data.split.endswith(" Columns used: 'picture', 'species'; ignored: 'id'.")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_column_that_tells_parts_is_not_passed_over(tmp_path: Path, suffix: str) -> None:
    for split, refused in [
        (["train", "test", "train"], True),
        (["a", "b", "test"], False),
        ([1, 2, 3], False),
    ]:
        for encode in (False, True):
            column = pa.array(split * 4)
            columns = {
                "image": IMAGES,
                "label": LABELS,
                "split": column.dictionary_encode() if encode else column,
            }
            path = write(tmp_path / f"a{suffix}", columns)
            if refused:
                with pytest.raises(
                    SenetError,
                    match=r"contains several splits \('test', 'train' in its column 'split'\): "
                    r"write .*that column to",
                ):
                    opened(path)
            else:
                assert "ignored: 'split'." in opened(path).split


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays(
        [pa.array(IMAGES), pa.array(LABELS), pa.array(LABELS)], ["image", "label", "label"]
    )
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SenetError, match=r"has several columns named 'label': give each a different name\."):
        opened(tmp_path / "a.parquet")


def test_files_of_one_part_may_store_bytes_differently(tmp_path: Path) -> None:
    large = pa.array(IMAGES, pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())]))
    for suffix in (".parquet", ".arrow"):
        for number, images in enumerate((IMAGES, large, PICTURES)):
            write(tmp_path / suffix / f"{number}{suffix}", {"image": images, "label": LABELS})
        data = opened(tmp_path / suffix)
        pixels = {np.asarray(data.train.read(index)).tobytes() for index in range(len(data.train))}
        assert len(data.train) + len(data.test) == 36 and len(pixels) <= 12


def test_columns_of_every_file_are_named(tmp_path: Path) -> None:
    write(tmp_path / "0.parquet", {"image": pa.array(PICTURES).dictionary_encode(), "label": LABELS})
    write(tmp_path / "1.parquet", {"image": IMAGES, "label": LABELS, "caption": LABELS})
    data = opened(tmp_path)
    assert data.train.read(0).size == (6, 5) and data.split.endswith("; ignored: 'caption'.")


def test_a_test_part_alone_is_said_to_be_trained_on(tmp_path: Path) -> None:
    write(tmp_path / "my_test_data.parquet", {"image": IMAGES, "label": LABELS})
    with pytest.raises(
        SenetError, match=r"None of the parquet files 'my_test_data\.parquet' is a training split:"
    ):
        opened(tmp_path)
    said = " my_test_data.parquet is named like a test split but was given alone, so it is trained on."
    assert said in opened(tmp_path / "my_test_data.parquet").split


def test_no_rows_are_refused(tmp_path: Path) -> None:
    empty = pa.table({"image": pa.array([], KIND), "label": pa.array([], pa.int64())})
    for part, table in (
        ("train", pa.table({"image": pa.array(IMAGES, KIND), "label": LABELS})),
        ("test", empty),
    ):
        pq.write_table(table, tmp_path / f"{part}.parquet")
    with pytest.raises(SenetError, match=r"There are no images in test\.parquet"):
        opened(tmp_path)
    with pytest.raises(SenetError, match=r"There are no images in test\.parquet"):
        opened(tmp_path / "test.parquet")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".tar"])
def test_folders_of_that_name_alone_are_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix.upper()}").symlink_to(tmp_path / "gone")
    with pytest.raises(SenetError, match=rf"There are no {suffix} files in "):
        opened(tmp_path)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"PARE" + bytes(40) + b"PARE", b"ARROW1\0\0" * 3, b"\x1f\x8b" * 20]
)
def test_other_content_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(SenetError, match=r"cannot be read as a.* file .*copy or download it again"):
        opened(tmp_path / f"a{suffix}")


def test_parts_by_the_rule_of_folders(tmp_path: Path) -> None:
    columns = {"image": IMAGES, "label": LABELS}
    for train, test, other in [
        ("my_train_data.parquet", "my_test_data.parquet", "extra.parquet"),
        ("split=train/0.parquet", "split=test/0.parquet", "split=unlabelled/0.parquet"),
        ("data/train/0.parquet", "data/val/0.parquet", "data/test/0.parquet"),
        ("photos_train.arrow", "photos_val.arrow", "photos.arrow"),
    ]:
        root = tmp_path / train.replace("/", "-")
        for file in (train, test, other):
            write(root / file, columns)
        data = opened_whole(root)
        assert (len(data.train), len(data.test)) == (12, 12) and data.own_test
        assert data.test.name(0).startswith(test.removesuffix(" ")) and f"Ignored: '{other}'." in data.split


def opened_whole(path: Path) -> ImageData:
    return open_images(path)
