from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from senet.data.folder import FileSource, open_folder
from senet.data.images import open_images
from senet.data.source import ImageData, UnreadableImage
from senet.errors import SenetError

from .pictures import class_folders, encoded, names_of, noise, write


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
    assert "Ignored: 'extra', 'test'." in data.split


def test_train_alone_is_split(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"cat": 10, "dog": 10})
    data = opened(tmp_path)
    assert (len(data.train), len(data.test)) == (16, 4) and names_of(data.test)[0].startswith("train/cat/")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = opened(class_folders(tmp_path, {"bus": 5, "train": 5, "car": 5}))
    assert data.classes == ("bus", "car", "train")


def test_the_mapping_comes_from_the_training_part(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"ant": 2, "bee": 2, "cow": 2})
    class_folders(tmp_path / "val", {"bee": 2, "cow": 3})
    data = opened(tmp_path)
    assert data.classes == ("ant", "bee", "cow") and data.test.labels.tolist() == [1, 1, 2, 2, 2]
    assert "There are no test images of 'ant'." in data.split


def test_a_class_only_in_validation_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"ant": 2, "cow": 2})
    class_folders(tmp_path / "val", {"ant": 2, "bee": 2})
    with pytest.raises(SenetError, match=r"has a folder for 'bee' but .*train"):
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
    assert "Ignored: 1 image in pets/ outside its class folders." in opened(root).split


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"cat": 5, "dog": 5})
    write(root / "bird" / "notes.txt", b"no bird yet")
    with pytest.raises(SenetError, match="images for 'bird', only 1"):
        opened(root)


def test_one_class_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(SenetError, match="only the class 'cat'"):
        opened(class_folders(tmp_path / "one", {"cat": 5}))
    class_folders(tmp_path / "zip" / "pets", {"cat": 5, "dog": 5})
    with pytest.raises(SenetError, match=r"Did you mean .*zip/pets\?"):
        opened(tmp_path / "zip")


def test_a_folder_without_pictures_says_what_is_expected(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt")
    with pytest.raises(
        SenetError, match=r"only 1 file \(\.txt 1\)\. The .*is one folder per class \(cats/1\.jpg"
    ):
        opened(tmp_path)


@pytest.mark.parametrize("pictures", ["", "images/"])
@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ("labels.csv", r"If 'labels\.csv' lists the images, give .*labels\.csv\.$"),
        ("pets.zip", r"Unpack 'pets\.zip' first, if the images are in it\.$"),
    ],
)
def test_what_lies_beside_pictures_without_class_folders_is_advised(
    tmp_path: Path, pictures: str, beside: str, said: str
) -> None:
    write(tmp_path / f"{pictures}1.png")
    write(tmp_path / beside)
    with pytest.raises(SenetError, match=said):
        opened(tmp_path)


def test_pictures_without_class_folders_say_what_is_expected(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    with pytest.raises(
        SenetError,
        match=r"has 1 image but no class folder with .*is one folder per class \(cats/1\.jpg, "
        r".*folders inside train/",
    ):
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
    with pytest.raises(SenetError, match="Class 'dog' has only 1 image, but"):
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


def tree(root: Path, spec: str) -> Path:
    """``"train/cat 3, notes.txt"``: three pictures in train/cat, each another one, and a text."""
    for number, entry in enumerate(spec.split(", ")):
        path, _, count = entry.rpartition(" ")
        if path:
            class_folders(root, {path: int(count)}, seed=number)
        else:
            write(root / count, b"text")
    return root


TWO = "{0}/cat 4, {0}/dog 4"


def parts_of(*names: str) -> str:
    return ", ".join(TWO.format(name) for name in names)


@pytest.mark.parametrize(
    ("train", "test", "others"),
    [
        ("training_set", "test_set", ""),
        ("Train", "Dev", ""),
        ("train_images", "val_images", ""),
        ("TrainingData", "ValidationData", ""),
        ("train-data", "holdout", ""),
        ("dataset_train", "dataset_test", ""),
        ("TRN", "eval", ""),
        ("seg_train/seg_train", "seg_test/seg_test", "seg_pred"),
        ("train/images", "valid/images", ""),
        ("train2017", "val2017", ""),
        ("train", "val", "test"),
        ("train", "test", "extra"),
        ("pets train", "pets test", ""),
        ("cats_and_dogs_train", "catsdogs-test", ""),
        ("train", "val", "train_small"),
    ],
)
def test_parts_by_the_names_people_give_them(tmp_path: Path, train: str, test: str, others: str) -> None:
    """Nothing but the training part is trained on, and what is not used is named."""
    data = opened(tree(tmp_path, parts_of(train, test, *([others] if others else []))))
    assert data.classes == ("cat", "dog") and data.own_test
    assert {name.rsplit("/", 2)[0] for name in names_of(data.train)} == {train}
    assert {name.rsplit("/", 2)[0] for name in names_of(data.test)} == {test}
    assert f"8 training images from {train.partition('/')[0]}/" in data.split
    assert (f"Ignored: {others!r}." in data.split) == bool(others)


@pytest.mark.parametrize(
    ("spec", "classes"),
    [
        ("bus 4, car 4, train 4", "bus car train"),
        ("bus 4, car 4, plane 4, test 4, train 4", "bus car plane test train"),
        ("bullet_train 4, steam_train 4", "bullet_train steam_train"),
        ("bullet_train/2020 4, bullet_train/2021 4, bus/2020 4", "bullet_train bus"),
        ("crash_test/a 4, blood_test/a 4", "blood_test crash_test"),
        ("dev 4, prod 4", "dev prod"),
    ],
)
def test_classes_that_are_called_like_parts(tmp_path: Path, spec: str, classes: str) -> None:
    assert opened(tree(tmp_path, spec)).classes == tuple(classes.split())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (parts_of("dataset/train", "dataset/val") + ", demo 4", r"dataset contains train/ and val/, "
r"the splits "
r".*did you mean "
r".*dataset\?"),
        (f"{TWO.format('dataset/train')}, demo 4", r"dataset contains train/, the .*a dataset: did you mean "
r".*dataset\?"),
        (TWO.format("zip/pets"), r"only the class 'zip'.*Did you mean .*/zip/pets\?"),
        (parts_of("zip/train", "zip/test"), r"zip contains test/ and train/, the .*dataset: did you "
r"mean .*zip\?"),
        ("cat/train 4, cat/test 4, dog/train 4, dog/test 4", "test images would be trained on"),
        ("cats_train 4, cats_test 4, dogs_train 4, dogs_test 4", "'cats_test', 'cats_train', which look"),
        ("train_cats 4, val_cats 4, train_dogs 4", "contains 'train_cats', 'val_cats', which look like the"),
        ("train 4, test 4", r"is divided into 'test', 'train', but has no train/ with class folders\. The "
r".*per class \(cats/1\.jpg, .*such folders inside train/ and"),
        ("bus 4, train 4, test 4", "divided into 'test', 'train'"),
        ("train/a 4, train/b 4, bus 4", r"but also 'bus' with images: .*is a class\."),
        (parts_of("val") + ", bus 4", r"contains val/ with class folders but no train/: add train/, or "
r"rename val/ if "
r".*a class\."),
        (parts_of("train_a", "train_b", "val"), "contains train_a/ and train_b/, and it .*which to "
"use: move the"),
        (parts_of("train", "test_a", "test_b"), "contains test_a/ and test_b/, and it .*which to "
"use: move the"),
        ("train/cat 4, train/dog 4, test 4", "test has no class folders"),
        ("train/Cat 4, train/dog 4, val/cat 4, val/dog 4", r"folder for 'cat' .*did you mean 'Cat'"),
        ("train/cat 4, train/dog 4, val/cat 4, val/dog  4", r"folder for 'dog ' .*did you mean 'dog'"),
    ],
)  # fmt: skip
def test_folders_that_may_be_parts_or_classes_are_refused(tmp_path: Path, spec: str, message: str) -> None:
    with pytest.raises(SenetError, match=message):
        opened(tree(tmp_path, spec))


def test_a_loose_picture_does_not_turn_parts_into_classes(tmp_path: Path) -> None:
    data = opened(tree(tmp_path, parts_of("train", "val") + ", train 1"))
    assert data.classes == ("cat", "dog") and "1 image in train/ outside its class folders" in data.split


def test_a_flat_validation_part_leaves_the_test_part_with_classes(tmp_path: Path) -> None:
    data = opened(tree(tmp_path, parts_of("train", "test") + ", val 4"))
    assert "test images from test/" in data.split and "Ignored: 'val'." in data.split


def test_class_folders_that_hold_the_same_folders_are_said(tmp_path: Path) -> None:
    data = opened(tree(tmp_path, parts_of("2019", "2020")))
    assert data.classes == ("2019", "2020") and "the same subfolders, 'cat', 'dog'" in data.warnings[0]
    assert (
        opened(tree(tmp_path / "x", "Cat 4, cat 4, dog 4")).warnings[0].startswith("The classes 'Cat', 'cat'")
    )


def test_runs_and_folders_of_tools_are_no_classes(tmp_path: Path) -> None:
    root = tree(tmp_path, "cat 4, dog 4, dog/settings.json")
    for run in ("runs/a", "runs/b", "results"):
        write(root / run / "settings.json", b'{"checksum": "1", "identity": {}}')
    tree(root, "wandb/media 3, mlruns/1 2, cat/@eaDir 3, cat/__pycache__ 2")
    data = opened(root)
    assert data.classes == ("cat", "dog") and len(data.train) + len(data.test) == 8
    assert (
        "Ignored: 'cat/@eaDir', 'cat/__pycache__', 'mlruns', 'results', 'runs' and 1 more; 1 file (.json 1)."
        in data.split
    )


@pytest.mark.parametrize(
    "suffix", ["jfif", "JPE", "jif", "pjpeg", "jpg_original_1", "", "image", "JPG-large"]
)
def test_a_jpeg_by_any_name_is_read(tmp_path: Path, suffix: str) -> None:
    root = tree(tmp_path, "cat 4, dog 4")
    photo = write(root / "cat" / f"photo.{suffix}".rstrip("."), encoded(noise(9, 9), "JPEG"))
    data = opened(root)
    assert f"cat/{photo.name}" in names_of(data.train) + names_of(data.test) and "Ignored" not in data.split


def test_what_is_no_picture_is_counted_and_named(tmp_path: Path) -> None:
    root = tree(
        tmp_path, "cat 4, dog 4, cat/a.txt, cat/b.txt, dog/Thumbs.db, dog/x.svg, dog/y.CR2, dog/unknown.q"
    )
    write(root / "cat" / "0.png_original", encoded(noise(9, 9)))
    data = opened(root)
    assert len(data.train) + len(data.test) == 8
    assert "Ignored: 7 files (.txt 2, " in data.split
    assert data.warnings == (
        "2 images are ignored because the format is not supported (.cr2 1, .svg 1): convert other "
        "formats to JPEG or PNG.",
    )


def test_only_a_folder_with_nothing_in_it_is_called_empty(tmp_path: Path) -> None:
    with pytest.raises(SenetError, match=r"The folder .* is empty\."):
        opened(tmp_path)
    root = tree(tmp_path, "cat/1.svg, dog/2.svg")
    with pytest.raises(
        SenetError,
        match=r"only 2 files \(\.svg 2\)\. 2 images are ignored because .*supported \(\.svg 2\): convert",
    ):
        opened(root)
    class_folders(root, {"cat": 2})
    with pytest.raises(SenetError, match=r"for 'dog', only 1 file \(\.svg 1\): add"):
        opened(root)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """Pipes, devices and links that lead nowhere are named; a file of 20 GB is refused unread."""
    root = tree(tmp_path, "cat 4, dog 4")
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "cat" / "zero.png").symlink_to("/dev/zero")
    (root / "cat" / "gone.png").symlink_to("nowhere.png")
    (root / "cat" / "loop.png").symlink_to("loop.png")
    (root / "cat" / "back").symlink_to("../dog/forth")
    (root / "dog" / "forth").symlink_to("../cat/back")
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(20 << 30)
    (root / "dog" / "sparse.png").symlink_to(tmp_path / "sparse")
    data = opened(root)
    assert "6 pipes, devices or broken links ('cat/back', 'cat/gone.png', " in data.split
    names = names_of(data.train) + names_of(data.test)
    assert len(names) == 9
    part = data.train if "dog/sparse.png" in names_of(data.train) else data.test
    with pytest.raises(
        UnreadableImage, match="file has 21,474,836,480 bytes, more than the 1,073,741,824 that are"
    ):
        part.read(names_of(part).index("dog/sparse.png"))
    source = FileSource(root, ["cat/pipe.png", "cat"], np.zeros(2, np.int64), ("a", "b"))
    for index in range(2):
        with pytest.raises(UnreadableImage, match="not a regular file"):
            source.read(index)


def test_folders_inside_folders_a_thousand_deep(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"cat": 4, "dog": 4})
    deep = str(root / "cat")
    for _ in range(1200):
        deep += "/d"
        os.mkdir(deep)  # noqa: PTH102
    (root / "cat" / "000.png").rename(f"{deep}/1.png")
    try:
        assert len(opened(root).train) + len(open_images(root).test) == 8
    finally:  # shutil.rmtree, by which pytest clears away, cannot go so deep
        Path(deep, "1.png").unlink()
        while deep != str(root / "cat"):
            os.rmdir(deep)  # noqa: PTH106
            deep = deep.removesuffix("/d")


def test_class_names_of_any_bytes(tmp_path: Path) -> None:
    """Names that are no UTF-8 stay apart and can be written; ä in one character or in two is one class."""
    for latin in (b"caf\xe9", b"caf\xe8", b"new\nline\x1b[31m"):
        folder = Path(os.fsdecode(os.fsencode(tmp_path / "one") + b"/" + latin))
        try:
            class_folders(folder.parent, {folder.name: 4})
        except OSError:
            pytest.skip("this file system allows only UTF-8")
    data = opened(tmp_path / "one")
    assert data.classes == ("caf\\xe8", "caf\\xe9", "new\nline\x1b[31m")
    " ".join((*data.classes, *names_of(data.train), data.split)).encode()
    for index in range(len(data.train)):
        data.train.read(index)
    both = tree(tmp_path / "both", "train/k\u00e4se 4, train/dog 4, val/ka\u0308se 4, val/dog 4")
    assert opened(both).test.labels.tolist() == [0] * 4 + [1] * 4
    with pytest.raises(SenetError, match="has two folders named 'käse' that differ"):
        opened(tree(both, "train/ka\u0308se 2"))
