from __future__ import annotations

import pytest

from senet.data.parts import SplitFiles, role_of, split_files
from senet.errors import SenetError


@pytest.mark.parametrize(
    ("files", "train", "test", "others"),
    [
        (["train.parquet", "test.parquet"], ["train.parquet"], ["test.parquet"], []),
        (
            ["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "data/test-0.parquet"],
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            ["data/test-0.parquet"],
            [],
        ),
        (
            ["train-0.parquet", "test-0.parquet", "validation-0.parquet", "extra-0.parquet"],
            ["train-0.parquet"],
            ["validation-0.parquet"],
            ["extra-0.parquet", "test-0.parquet"],
        ),
        (
            ["d/train/0000.parquet", "d/val/0000.parquet"],
            ["d/train/0000.parquet"],
            ["d/val/0000.parquet"],
            [],
        ),
        (["train-0.parquet"], ["train-0.parquet"], [], []),
        (["b.parquet", "a.parquet"], ["a.parquet", "b.parquet"], [], []),
        (["trainers.parquet", "tests.parquet"], ["tests.parquet", "trainers.parquet"], [], []),
    ],
)
def test_parts_are_known_by_name(
    files: list[str], train: list[str], test: list[str], others: list[str]
) -> None:
    assert split_files(files, "parquet") == SplitFiles(
        train=tuple(train), test=tuple(test), others=tuple(others)
    )


def test_a_test_part_alone_is_refused() -> None:
    with pytest.raises(SenetError, match=r"None of the parquet files 'test-0\.parquet' is a training split:"):
        split_files(["test-0.parquet"], "parquet")


@pytest.mark.parametrize(
    ("file", "role"),
    [
        ("imagenet1k-train-0001.tar", "train"),
        ("imagenet1k-validation-00.tar", "val"),
        ("mnist-test.arrow", "test"),
        ("mnist-train-00000-of-00002.arrow", "train"),
        ("train_3.v2.tar", "train"),
        ("Train/000.tar", "train"),
        ("train/val-000.tar", "val"),
        ("train-extra/shard-0.tar", "train"),
        ("constrain-0.tar", None),
        ("latest.tar", None),
        ("a-train-b-0.tar", "train"),
        ("my_train_data.parquet", "train"),
        ("my_test_data.parquet", "test"),
        ("photos_val.tar", "val"),
        ("my.test.parquet", "test"),
        ("split=test/0.parquet", "test"),
        ("data/validation/part-0.parquet", "val"),
        ("TrainingData-1.arrow", "train"),
        ("0001.tar", None),
    ],
)
def test_the_word_that_tells_a_part(file: str, role: str | None) -> None:
    assert role_of(file) == role
