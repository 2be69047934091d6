from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from senet.data.folder import open_folder
from senet.data.source import ImageData, UnreadableImage
from senet.errors import SenetError

from .pictures import class_folders, names_of, noise, write


def opened(root: Path, seed: int = 0, test_fraction: float = 0.2) -> ImageData:
    return open_folder(root, test_fraction=test_fraction, seed=seed)


def names_and_labels(data: ImageData) -> list[tuple[str, int]]:
    parts = (data.train, data.test)
    return [(part.name(index), int(part.labels[index])) for part in parts for index in range(len(part))]


def test_class_folders_are_split_by_class(tmp_path: Path) -> None:
    data = opened(class_folders(tmp_path / "pets", {"dog": 20, "cat": 10}))
    assert data.classes == data.train.classes == data.test.classes == ("cat", "dog")
    assert np.bincount(data.train.labels).tolist() == [8, 16]
    assert np.bincount(data.test.labels).tolist() == [2, 4]
    assert not set(names_of(data.train)) & set(names_of(data.test))
    assert all(name.startswith(data.classes[label] + "/") for name, label in names_and_labels(data))
    assert "24 training and 6 test images" in data.split and "seed 0" in data.split
    assert data.name == "pets"


def test_pictures_belong_to_their_names(tmp_path: Path) -> None:
    data = opened(class_folders(tmp_path, {"cat": 5, "dog": 5}))
    for index, name in enumerate(names_of(data.train)):
        folder, number = name.removesuffix(".png").split("/")
        expected = noise(8, 8, seed=("cat", "dog").index(folder) * 1000 + int(number))
        assert np.array_equal(np.asarray(data.train.read(index)), np.asarray(expected))


def test_the_split_repeats_and_depends_on_the_seed(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"cat": 20, "dog": 20})
    first, again, other = (names_of(opened(root, seed).test) for seed in (0, 0, 1))
    assert first == again != other


def test_order_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path, {"cat": 12, "dog": 12})
    write(root / "cat" / "more" / "1.png")
    before = names_and_labels(opened(root))
    really = os.scandir

    class Reversed:
        def __init__(self, folder: Path) -> None:
            with really(folder) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *exception: object) -> None:
            return None

    monkeypatch.setattr(os, "scandir", Reversed)
    assert names_and_labels(opened(root)) == before


@pytest.mark.parametrize("test_part", ["val", "valid", "validation", "test", "Testing"])
def test_given_parts_are_kept(tmp_path: Path, test_part: str) -> None:
    class_folders(tmp_path / "train", {"cat": 3, "dog": 4})
    class_folders(tmp_path / test_part, {"dog": 2, "cat": 1})
    data = opened(tmp_path)
    assert names_of(data.train)[0] == "train/cat/000.png"
    assert names_of(data.test) == [f"{test_part}/{n}" for n in ("cat/000.png", "dog/000.png", "dog/001.png")]
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1] and data.test.labels.tolist() == [0, 1, 1]
    assert f"7 training images from train/ and 3 test images from {test_part}/" in data.split


def test_validation_is_preferred_over_test_and_the_rest_is_named(tmp_path: Path) -> None:
    for part in ("train", "test", "val", "extra"):
        class_folders(tmp_path / part, {"cat": 2, "dog": 2})
    data = opened(tmp_path)
    assert all(name.startswith("val/") for name in names_of(data.test))
    assert "Not used: 'extra', 'test'." in data.split


def test_train_alone_is_split(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"cat": 10, "dog": 10})
    data = opened(tmp_path)
    assert (len(data.train), len(data.test)) == (16, 4) and names_of(data.test)[0].startswith("train/cat/")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = opened(class_folders(tmp_path, {"bus": 5, "train": 5, "test": 5}))
    assert data.classes == ("bus", "test", "train")


def test_the_mapping_comes_from_the_training_part(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"ant": 2, "bee": 2, "cow": 2})
    class_folders(tmp_path / "val", {"bee": 2, "cow": 3})
    data = opened(tmp_path)
    assert data.classes == ("ant", "bee", "cow") and data.test.labels.tolist() == [1, 1, 2, 2, 2]
    assert "There is no test image of 'ant'." in data.split


def test_a_class_only_in_validation_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"ant": 2, "cow": 2})
    class_folders(tmp_path / "val", {"ant": 2, "bee": 2})
    with pytest.raises(SenetError, match=r"val has a folder for 'bee' and .*train has none"):
        opened(tmp_path)


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"cat": 5, "dog": 5})
    write(root / "cat" / ".hidden.png")
    write(root / "cat" / ".thumbnails" / "1.png")
    write(root / "cat" / "notes.txt")
    write(root / ".git" / "1.png")
    write(root / "__MACOSX" / "cat" / "1.png")
    data = opened(root)
    assert data.classes == ("cat", "dog") and len(data.train) + len(data.test) == 10


def test_nested_folders_and_capital_suffixes_belong_to_the_class(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"cat": 5, "dog": 5})
    write(root / "cat" / "2024" / "may" / "IMG.PNG")
    data = opened(root)
    assert "cat/2024/may/IMG.PNG" in names_of(data.train) + names_of(data.test)
    assert data.classes == ("cat", "dog")


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    elsewhere = class_folders(tmp_path / "elsewhere", {"dog": 5})
    root = class_folders(tmp_path / "pets", {"cat": 5})
    (root / "dog").symlink_to(elsewhere / "dog", target_is_directory=True)
    (root / "cat" / "link.png").symlink_to(root / "cat" / "000.png")
    (root / "cat" / "loop").symlink_to(root, target_is_directory=True)
    data = opened(root)
    names = names_of(data.train) + names_of(data.test)
    assert data.classes == ("cat", "dog") and "cat/link.png" in names and "dog/000.png" in names
    assert not any("loop" in name for name in names)


def test_loose_pictures_are_mentioned(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 5, "dog": 5})
    write(root / "cover.png")
    assert "Not used: 1 pictures in pets/ outside its class folders." in opened(root).split


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"cat": 5, "dog": 5})
    write(root / "bird" / "notes.txt", b"no bird yet")
    with pytest.raises(SenetError, match="no pictures for 'bird'"):
        opened(root)


def test_one_class_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(SenetError, match="only the class 'cat'"):
        opened(class_folders(tmp_path / "one", {"cat": 5}))
    class_folders(tmp_path / "zip" / "pets", {"cat": 5, "dog": 5})
    with pytest.raises(SenetError, match=r"Did you mean .*zip/pets\?"):
        opened(tmp_path / "zip")


def test_a_folder_without_pictures_says_what_is_expected(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt")
    with pytest.raises(SenetError, match=r"no pictures in .*one folder per class.*\.jpg, \.jpeg"):
        opened(tmp_path)


def test_pictures_without_class_folders_say_what_is_expected(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    with pytest.raises(SenetError, match=r"1 pictures, but none inside a class folder.*one folder per class"):
        opened(tmp_path)


def test_parts_without_class_folders_are_not_taken_for_classes(tmp_path: Path) -> None:
    write(tmp_path / "train" / "cat.1.png")
    write(tmp_path / "test" / "1.png")
    with pytest.raises(SenetError, match="no train/ with class folders"):
        opened(tmp_path)


def test_a_test_part_without_classes_says_what_to_do(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"cat": 5, "dog": 5})
    write(tmp_path / "test" / "1.png")
    with pytest.raises(SenetError, match=r"test has no class folders: .*give .*train alone"):
        opened(tmp_path)


def test_a_class_too_small_to_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(SenetError, match="Class 'dog' has 1 image"):
        opened(class_folders(tmp_path, {"cat": 5, "dog": 1}))


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    data = opened(class_folders(tmp_path, {"cat": 5, "dog": 5}))
    (tmp_path / data.train.name(0)).unlink()
    with pytest.raises(UnreadableImage, match=r"cat/00\d.png cannot be .*no such file"):
        data.train.read(0)


def test_names_of_any_encoding(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"kätzchen": 3, "犬": 3})
    odd = Path(os.fsdecode(os.fsencode(root / "犬") + b"/\xff.png"))
    try:
        write(odd)
    except OSError:
        odd = write(root / "犬" / "x.png")  # this file system allows only UTF-8
    data = opened(root)
    assert data.classes == ("kätzchen", "犬") and len(data.train) + len(data.test) == 7
    for part in (data.train, data.test):
        for index in range(len(part)):
            part.read(index)
            part.name(index).encode()


def test_a_folder_source_can_be_pickled(tmp_path: Path) -> None:
    data = opened(class_folders(tmp_path, {"cat": 5, "dog": 5}))
    again = pickle.loads(pickle.dumps(data.train))
    assert names_of(again) == names_of(data.train)
    assert np.array_equal(np.asarray(again.read(3)), np.asarray(data.train.read(3)))
