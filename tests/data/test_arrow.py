from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from senet.data import arrow as room
from senet.data.arrow import open_arrow_folder
from senet.data.parquet import open_parquet_folder
from senet.data.source import ImageData, UnreadableImage
from senet.errors import SenetError

from .pictures import encoded, names_of, noise, parquet, write

CLASSES = ["cat", "dog"]


def arrow(path: Path, labels: Sequence[Any], *, stream: bool = True, rows: int = 3, **options: Any) -> Path:
    """A file with the table of `parquet`, in batches of ``rows``."""
    table = pq.read_table(parquet(path.with_suffix(".parquet"), labels, **options))
    path.with_suffix(".parquet").unlink()
    write_ipc = pa.ipc.new_stream if stream else pa.ipc.new_file
    with write_ipc(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def save_to_disk(folder: Path, labels: Sequence[Any], files: int = 1, **options: Any) -> None:
    """A folder as `datasets.Dataset.save_to_disk` leaves it."""
    names = [f"data-{number:05}-of-{files:05}.arrow" for number in range(files)]
    for number, name in enumerate(names):
        arrow(folder / name, labels[number::files], **options)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))


def opened(root: Path) -> ImageData:
    return open_arrow_folder(root, test_fraction=0.25, seed=0)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_images_as_from_parquet(tmp_path: Path, stream: bool, channels: int) -> None:
    contents = [encoded(noise(5 + row, 9, row, channels)) for row in range(8)]
    labels = [0, 1, 1, 0, 0, 1, 0, 1]
    for part in ("train", "test"):
        options: dict[str, Any] = {
            "names": CLASSES,
            "contents": contents if part == "train" else contents[::-1],
        }
        arrow(tmp_path / "arrow" / f"pets-{part}.arrow", labels, stream=stream, **options)
        parquet(tmp_path / "parquet" / f"{part}.parquet", labels, **options)
    ours = opened(tmp_path / "arrow")
    theirs = open_parquet_folder(tmp_path / "parquet", test_fraction=0.25, seed=0)
    assert ours.classes == theirs.classes == ("cat", "dog") and ours.own_test
    for one, other in ((ours.train, theirs.train), (ours.test, theirs.test)):
        assert one.labels.tolist() == other.labels.tolist()
        for index in range(8):
            assert bytes(one.content(index)) == bytes(other.content(index))  # type: ignore[attr-defined]
            assert np.array_equal(np.asarray(one.read(index)), np.asarray(other.read(index)))
    assert ours.train.name(4) == "pets-train.arrow row 4 (4.png)"


def test_a_folder_of_save_to_disk_is_split(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "pets", [0, 1] * 8, files=2, names=CLASSES)
    arrow(tmp_path / "pets" / "cache-0123.arrow", [0, 1], names=CLASSES)
    data = opened(tmp_path / "pets")
    assert (len(data.train), len(data.test)) == (12, 4) and data.classes == ("cat", "dog")
    assert "25 % of each class" in data.split and not data.own_test


def test_a_dictionary_of_parts(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "train", [0, 1, 1, 0], files=2, names=CLASSES)
    save_to_disk(tmp_path / "test", [1, 0], names=CLASSES)
    save_to_disk(tmp_path / "extra", [1, 0], names=CLASSES)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test", "extra"]}')
    data = opened(tmp_path)
    assert names_of(data.test) == [
        "test/data-00000-of-00001.arrow row 0 (0.png)",
        "test/data-00000-of-00001.arrow row 1 (1.png)",
    ]
    assert data.train.labels.tolist() == [0, 1, 1, 0] and "Ignored: 'extra/data-0" in data.split


def test_what_datasets_keeps_beside_its_data_is_passed_over(tmp_path: Path) -> None:
    arrow(tmp_path / "pets-train.arrow", [0, 1] * 4, names=CLASSES)
    arrow(tmp_path / "cache-17a0.arrow", [0, 1], names=CLASSES)
    arrow(tmp_path / "tmp1x", [0, 1], names=CLASSES).rename(tmp_path / "tmp1x.arrow")
    assert len(opened(tmp_path).train) == 6
    (tmp_path / "pets-train.arrow").unlink()
    with pytest.raises(SenetError, match="contains only the cache files that"):
        opened(tmp_path)


def test_class_names_from_the_description_beside(tmp_path: Path) -> None:
    arrow(tmp_path / "a-train.arrow", [0, 1] * 4)
    feature = {"names": CLASSES, "_type": "ClassLabel"}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"features": {"label": feature}}))
    assert opened(tmp_path).classes == ("cat", "dog")
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(SenetError, match=r"repair or remove it\."):
        opened(tmp_path)


def test_several_data_sets_are_refused(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "v1", [0, 1] * 4)
    save_to_disk(tmp_path / "v2", [0, 1] * 4)
    with pytest.raises(
        SenetError,
        match=r"over several folders \('v1', 'v2'\), which .*datasets: give one of those folders\.",
    ):
        opened(tmp_path)


def test_rows_chosen_by_a_file_of_indices_are_refused(tmp_path: Path) -> None:
    save_to_disk(tmp_path, [0, 1] * 4)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**state, "_indices_files": [{"filename": "i.arrow"}]}))
    with pytest.raises(SenetError, match="selects its rows through an indices file"):
        opened(tmp_path)


def test_pictures_in_files_of_their_own(tmp_path: Path) -> None:
    picture = write(tmp_path / "elsewhere" / "7.png", encoded(noise(6, 4, 7)))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": None, "path": str(picture)}, {"bytes": None, "path": str(tmp_path / "gone.png")}] * 2
    table = pa.table({"image": pa.array(rows, kind), "label": [0, 1, 0, 1]})
    for part in ("train", "test"):
        with pa.ipc.new_stream(tmp_path / f"a-{part}.arrow", table.schema) as writer:
            writer.write_table(table)
    train = opened(tmp_path).train
    assert np.array_equal(np.asarray(train.read(0)), np.asarray(noise(6, 4, 7)))
    with pytest.raises(UnreadableImage, match=r"row 1 \(.*gone.png\) .*cannot be opened \(no such file"):
        train.read(1)


@pytest.mark.parametrize("stream", [True, False])
def test_a_file_cut_short_is_refused(tmp_path: Path, stream: bool) -> None:
    path = arrow(tmp_path / "a.arrow", [0, 1] * 4, stream=stream)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(SenetError, match=r"a\.arrow cannot be read as an Arrow file"):
        opened(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(SenetError, match=r"a\.arrow cannot be read as an Arrow file"):
        opened(tmp_path)


def test_columns_and_labels_are_checked_as_those_of_parquet(tmp_path: Path) -> None:
    arrow(tmp_path / "a.arrow", [0, 1] * 4, label="stars")
    with pytest.raises(SenetError, match=r"a\.arrow has no label column: it has 'image', 'stars', but"):
        opened(tmp_path)
    arrow(tmp_path / "a.arrow", [0, 2] * 4, names=CLASSES)
    with pytest.raises(SenetError, match=r"a\.arrow has 4 labels outside 0 to 1 \(the"):
        opened(tmp_path)


def test_a_pickled_source_carries_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = [encoded(noise(60, 60, row)) for row in range(8)]
    train = arrow(tmp_path / "a-train.arrow", [0, 1] * 4, contents=big)
    arrow(tmp_path / "a-test.arrow", [0, 1])
    source = opened(tmp_path).train
    content = pickle.dumps(source)
    assert len(content) < train.stat().st_size / 10
    again = pickle.loads(content)
    assert names_of(again) == names_of(source)
    assert np.array_equal(np.asarray(again.read(5)), np.asarray(noise(60, 60, 5)))


def test_images_are_mapped_not_read(tmp_path: Path) -> None:
    arrow(tmp_path / "a-train.arrow", [0, 1] * 400, contents=[bytes(10_000)] * 800, rows=100)
    before = pa.total_allocated_bytes()
    table = room._read(tmp_path, ["a-train.arrow"])
    assert pa.total_allocated_bytes() - before < 200_000
    assert len(table.contents) == 800


def test_names_at_once(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "train", [0, 1] * 5, files=3, names=CLASSES)
    save_to_disk(tmp_path / "test", [0, 1], names=CLASSES)
    train = opened(tmp_path).train
    chosen = np.array([9, 0, 4, 4, 3])
    assert train.names(chosen) == [train.name(index) for index in chosen.tolist()]
    assert train.names(chosen)[1].startswith("train/data-00000-of-00003.arrow row 0")
