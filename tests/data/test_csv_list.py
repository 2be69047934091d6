from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from senet.data.check import check_images
from senet.data.csv_list import open_csv
from senet.data.source import ImageData, UnreadableImage
from senet.errors import SenetError

from .pictures import encoded, names_of, noise, write


def listed(folder: Path, text: str, *, pictures: int = 0) -> ImageData:
    for number in range(pictures):
        write(folder / f"{number}.png", encoded(noise(5, 4, number)))
    path = write(folder / "list.csv", text.encode())
    return open_csv(path, test_fraction=0.25, seed=0)


def rows(*labels: str) -> str:
    return "".join(f"{number}.png,{label}\n" for number, label in enumerate(labels))


def test_paths_and_labels(tmp_path: Path) -> None:
    other = write(tmp_path / "elsewhere" / "x, y.png", encoded(noise(5, 4, 99, channels=1)))
    text = f'image,notes,label,split\n0.png,a,dog,train\n1.png,,cat,Train\n"{other}",b,cat,val\n'
    data = listed(tmp_path / "pets", text + "\n2.png,x,dog,test\n", pictures=3)
    assert (data.name, data.classes, data.own_test) == ("list.csv", ("cat", "dog"), True)
    assert names_of(data.train) == ["0.png", "1.png"] and names_of(data.test) == [str(other)]
    assert data.train.labels.tolist() == [1, 0] and data.test.labels.tolist() == [0]
    assert np.array_equal(np.asarray(data.train.read(1)), np.asarray(noise(5, 4, 1)))
    assert data.test.read(0).mode == "L"
    assert "There is no test image of 'dog'. Ignored: 'test'." in data.split


@pytest.mark.parametrize("image", ["path", "image", "File", " filename "])
@pytest.mark.parametrize("label", ["label", "CLASS"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_headers(tmp_path: Path, image: str, label: str, mark: str) -> None:
    data = listed(tmp_path, f"{mark}{image},{label}\n" + rows(*"abababab"))
    assert data.classes == ("a", "b") and (len(data.train), len(data.test)) == (6, 2)
    assert "0.25 of each class" in data.split and not data.own_test


def test_numbers_are_in_the_order_of_folders(tmp_path: Path) -> None:
    assert listed(tmp_path, "path,label\n" + rows(*["10", "9", "2"] * 2)).classes == ("10", "2", "9")
    assert listed(tmp_path, "path,label\n" + rows(*["10", "9", "02"] * 2)).classes == ("02", "10", "9")
    with pytest.raises(SenetError, match=r"2 labels in list.csv are negative \(the first is -1"):
        listed(tmp_path, "path,label\n" + rows(*["1", "0", "-1"] * 2))


def test_a_missing_file_is_an_unreadable_image(tmp_path: Path) -> None:
    data = listed(tmp_path, "path,label\n" + rows(*"ab" * 100), pictures=199)
    part = data.train if "199.png" in names_of(data.train) else data.test
    with pytest.raises(UnreadableImage, match=r"199.png cannot be read .*\(no such file"):
        part.read(names_of(part).index("199.png"))
    checked = check_images(data, workers=0)
    assert [name for name, _ in checked.unreadable] == ["199.png"]
    assert len(checked.data.train) + len(checked.data.test) == 199


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "first line of .*list.csv names nothing, and one of path, image, file, filename"),
        ("a.png,cat\n", "names 'a.png', 'cat', and one of path, image, file, filename must be there"),
        ("path,stars\n", "names 'path', 'stars', and one of label, class must be there"),
        ("path;label\n", "names 'path;label', and one"),
        ("path,image,label\n", "columns path and image, only one of which of path, image"),
        ("path,label\n", "lists no images"),
        (
            "path,label\na.png,cat,x\n",
            r"Line 2 of .*list.csv has 3 fields and the header has 2.*double quotes",
        ),
        ("path,label\n\na.png,cat\nb.png\n", "Line 4 of .* has 1 fields"),
        ("path,label\na.png, \n", "Line 2 of .* has no label: fill it in"),
        ("path,label\na.png,x\n ,cat\n", "Line 3 of .* has no path: fill it in"),
        (
            "path,label,split\na.png,x,dev\n",
            "Line 2 of .* has 'dev' under split, and one of train, training, val",
        ),
        ("path,label,split\na.png,x,\n", "Line 2 of .* has '' under split"),
        ("path,label,split\na.png,x,train\n", "has only 'train': both train and val"),
        ("path,label,split\na.png,x,test\n", "has only 'test': both train and val"),
        ("path,label\na.png,x\nb.png,y\na.png,y\n", "Line 4 of .* lists a.png again, which is on line 2"),
        ('path,label\na.png,"x\n', "Line 2 of .* is not CSV"),
        ("path,label\na.png,x\nb.png,x\n", "only the class 'x'"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SenetError, match=said):
        listed(tmp_path, text)


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", "path,label\nä.png,x\n".encode("latin-1"))
    with pytest.raises(SenetError, match="is not in UTF-8"):
        open_csv(path, test_fraction=0.2, seed=0)


TEXT = (
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1).map(str.strip).filter(bool)
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(TEXT, st.sampled_from(["a, b", 'c "d"', "é"])), min_size=2, unique_by=lambda r: r[0])
)
def test_what_the_csv_module_writes_is_read_back(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    with (tmp_path / "list.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", "split"])
        writer.writerows((file, label, "train") for file, label in pairs)
        writer.writerows((f"{file}/test", label, "test") for file, label in pairs)
    if len({label for _, label in pairs}) < 2:
        return
    data = open_csv(tmp_path / "list.csv", test_fraction=0.2, seed=0)
    assert [(data.train.name(i), data.classes[label]) for i, label in enumerate(data.train.labels)] == pairs
