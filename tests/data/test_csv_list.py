from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from senet.data import csv_list as room
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
    assert "There are no test images of 'dog'. Ignored: 'test'." in data.split


@pytest.mark.parametrize("image", ["path", "image", "File", " filename "])
@pytest.mark.parametrize("label", ["label", "CLASS"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_headers(tmp_path: Path, image: str, label: str, mark: str) -> None:
    data = listed(tmp_path, f"{mark}{image},{label}\n" + rows(*"abababab"), pictures=8)
    assert data.classes == ("a", "b") and (len(data.train), len(data.test)) == (6, 2)
    assert "25 % of each class" in data.split and not data.own_test


def test_numbers_are_in_the_order_of_folders(tmp_path: Path) -> None:
    for labels, classes in [
        (["10", "9", "2"], ("10", "2", "9")),
        (["10", "9", "02"], ("02", "10", "9")),
        (["0.0", "1.0", "10.0"], ("0.0", "1.0", "10.0")),
        (["1" * 30, "2", "1"], ("1", "1" * 30, "2")),
    ]:
        assert listed(tmp_path, "path,label\n" + rows(*labels * 2), pictures=6).classes == classes
    with pytest.raises(SenetError, match=r"list\.csv has 2 negative labels \(the first is -1\): images"):
        listed(tmp_path, "path,label\n" + rows(*["1", "0", "-1"] * 2), pictures=6)


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
        ("", "The first line of .*is empty"),
        ("\n\n", "first line of .*list.csv is empty"),
        (
            "0.png,cat\n",
            r"is '0\.png', 'cat', but it must name a column of image files \(path, .*a column of",
        ),
        ("path,stars\n", r"and a column of labels \(label, class, category, target"),
        ("path,label,label\n", "has several columns named 'label': give each"),
        ("path,label\n", "lists no images"),
        (
            "path,label\n0.png,cat,x\n",
            r"Line 2 of .*has 3 fields but the header has 2: correct .*contains ',' in double quotes\)\.",
        ),
        ("# a list\n\npath,label\n\n0.png,cat\n1.png\n", "Line 6 of .* has 1 field but"),
        ("path,label\n0.png, \n", "Line 2 of .*for label: fill it"),
        ("path,label\n0.png,x\n ,cat\n", "Line 3 of .*for path: fill it"),
        (
            "path,label,split\n0.png,x,A\n",
            r"Line 2 of .*has 'A' in .*column split, which .*be train, val \(or .*or test: correct",
        ),
        ("path,label,split\n0.png,x,\n", "Line 2 of .*has '' in .*column split, which"),
        ("path,label,is_valid\n0.png,x,maybe\n", "Line 2 of .*has 'maybe' in .*column is_valid, which"),
        ("path,label,split\n0.png,x,train\n", r"belong to 'train': the .*have both train and val \(or"),
        ("path,label,split\n0.png,x,test\n", r"belong to 'test': the .*have both train and val \(or"),
        (
            "path,label\n0.png,x\n1.png,y\n0.png,y\n",
            r"Line 4 of .* lists 0\.png again with .*split; line 2 already lists it: .*one line per",
        ),
        (
            "path,label\n0.png,x\n1.png,y\n./0.png,y\n",
            r"Line 4 of .* lists 0\.png again with .*split; line 2 already lists it: .*one line per",
        ),
        ("path,label,split\n0.png,x,train\n.//0.png,x,test\n", "Line 3 of .* lists 0.png again"),
        (
            "path,label\n0.png,x\nlink.png,y\n",
            r"lists link\.png again with .*split; line 2 already lists it as 0\.png \(the "
            r"same file\): keep one line per",
        ),
        (
            "path,label\n0.png,x\nhard.png,y\n",
            r"lists hard\.png again with .*split; line 2 already lists it as 0\.png \(the "
            r"same file\): keep one line per",
        ),
        ('path,label\n0.png,"x\n', r"Line 2 of .* .*not valid CSV \(unexpected end"),
        (f"path,label\n0.png,{'x' * 200_000}\n", r"Line 2 of .*valid CSV \(field larger than field limit"),
        ("path,label\n0.png,x\n1.png,x\n", "only the class 'x'"),
        ("path,label\n0.png,x\0\n", "Line 2 of .* contains a NUL character:"),
        (
            "path,label\nhttps://a.org/0.png,x\n",
            r"Line 2 of .*URL https://a\.org/0\.png, but must list local",
        ),
        (
            "path,label\nx.png,x\ny.png,y\n",
            r"None of the 2 files .* x.png \(line 2\) was looked for in .* and in",
        ),
        (f"path,label\n{'x/' * 3000},x\n", "None of the 1 file listed"),
        ("path,label\ntest/0.png,x\n0.png,y\n", r"are in a folder of test images \(test\)"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "link.png").symlink_to("0.png")
    write(tmp_path / "0.png", encoded(noise(5, 4, 0)))
    os.link(tmp_path / "0.png", tmp_path / "hard.png")
    write(tmp_path / "test" / "0.png", encoded(noise(5, 4, 1)))
    with pytest.raises(SenetError, match=said):
        listed(tmp_path, text)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ", ", "])
@pytest.mark.parametrize(("encoding", "newline"), [("utf-8", "\r\n"), ("utf-16", "\n"), ("utf-8-sig", "\r")])
def test_separators_and_encodings(tmp_path: Path, separator: str, encoding: str, newline: str) -> None:
    lines = ["file_name,Category", "0.png,é", "./1.png,b", '"2.png",é', f"{tmp_path}/3.png,b"]
    text = newline.join(line.replace(",", separator) for line in lines)
    for number in range(4):
        write(tmp_path / f"{number}.png", encoded(noise(5, 4, number)))
    data = open_csv(write(tmp_path / "a.csv", text.encode(encoding)), test_fraction=0.5, seed=0)
    assert data.classes == ("b", "é") and len(data.train) == len(data.test) == 2
    assert data.split.endswith(" Columns used: 'file_name', 'Category'.")
    assert all(part.read(index).size == (5, 4) for part in (data.train, data.test) for index in (0, 1))


def test_what_spreadsheets_and_people_write(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / "im g" / f"{number}.jpeg", encoded(noise(5, 4, number)))
    base = f"file://{tmp_path}/im%20g"
    text = (
        f"sep=;\n# of 2024\nimage_id;note;class name\nim g\\0;;a\nim g/1;;b\n{base}/2.jpeg;;a\n{base}/3;x;b\n"
    )
    text = text.replace("sep=;\n# of 2024\n", "# of 2024\nsep=;\n")
    data = listed(tmp_path, text + "im g/1;x;b\n# the end;\nim g/4;;a\n\nim g/5;;b\n")
    assert sorted(names_of(data.train) + names_of(data.test))[-1] == "im g/5.jpeg"
    assert len(data.train) + len(data.test) == 6 and data.train.read(0).size == (5, 4)
    assert data.split.endswith(
        " Columns used: 'image_id', 'class name'; ignored: 'note'. Ignored: 1 duplicate row."
    )


def test_paths_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        write(tmp_path / "here" / f"{number}.png", encoded(noise(5, 4, number)))
    monkeypatch.chdir(tmp_path / "here")
    data = listed(tmp_path / "lists", "path,label\n" + rows(*"abab"))
    assert f"Paths are relative to the working directory, {tmp_path / 'here'}." in data.split
    assert data.train.read(0).size == (5, 4)


@pytest.mark.parametrize(
    "text",
    [
        "path,label,Split\n0.png,a,training\n1.png,b,TRAIN\n2.png,a,dev\n3.png,b,dev\n",
        "path,label,subset\n0.png,a,my_train\n1.png,b,my_train\n2.png,a,testing\n3.png,b,testing\n",
        "path,label,is_valid\n0.png,a,False\n1.png,b,0\n2.png,a,True\n3.png,b,1\n",
        "path,label,is_train\n0.png,a,yes\n1.png,b,yes\n2.png,a,no\n3.png,b,no\n",
        "path,label\ntrain/0.png,a\ntrain/1.png,b\nval_images/2.png,a\nval_images/3.png,b\n",
    ],
)
def test_parts_by_a_column_or_by_folders(tmp_path: Path, text: str) -> None:
    for number, folder in enumerate(("train", "train", "val_images", "val_images")):
        write(tmp_path / folder / f"{number}.png", encoded(noise(5, 4, number)))
    data = listed(tmp_path, text, pictures=4)
    assert data.own_test and data.train.labels.tolist() == data.test.labels.tolist() == [0, 1]
    assert [name.split("/")[-1] for name in names_of(data.test)] == ["2.png", "3.png"]


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    for number, name in enumerate(("test", "test", "bus", "bus")):
        write(tmp_path / name / f"{number}.png", encoded(noise(5, 4, number)))
    data = listed(tmp_path, "path,label\ntest/0.png,test\ntest/1.png,test\nbus/2.png,bus\nbus/3.png,bus\n")
    assert data.classes == ("bus", "test") and not data.own_test


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", "path,label\nä.png,x\n".encode("latin-1"))
    with pytest.raises(SenetError, match=r"is not UTF-8 text: save .*again as UTF-8 CSV\."):
        open_csv(path, test_fraction=0.2, seed=0)


TEXT = (
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1).map(str.strip).filter(bool)
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(TEXT, st.sampled_from(["a, b", 'c "d"', "é"])), min_size=2, unique_by=lambda r: r[0])
)
def test_what_the_csv_module_writes_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: list[tuple[str, str]]
) -> None:
    with (tmp_path / "list.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", "split"])
        writer.writerows((file, label, "train") for file, label in pairs)
        writer.writerows((f"{file}/test", label, "test") for file, label in pairs)
    if len({label for _, label in pairs}) < 2:
        return
    monkeypatch.setattr(room, "_located", lambda rows, path: (path.parent, rows, ""))
    monkeypatch.setattr(room, "_path", lambda file, where: file)
    data = open_csv(tmp_path / "list.csv", test_fraction=0.2, seed=0)
    assert [(data.train.name(i), data.classes[label]) for i, label in enumerate(data.train.labels)] == pairs
