from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senet.data import tar as room
from senet.data import tar_index
from senet.data.parts import SplitFiles
from senet.data.source import ImageData, UnreadableImage
from senet.data.tar import expand_braces, open_tar_files, open_tar_folder
from senet.errors import SenetError

from .pictures import encoded, names_of, noise, write


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tar"


def tar(path: Path, files: Mapping[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as stream:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            stream.addfile(member, io.BytesIO(content))
    return path


def samples(*labels: str, first: int = 0, channels: int = 3) -> dict[str, bytes]:
    files = {}
    for number, label in enumerate(labels, start=first):
        files[f"{number:04}.png"] = encoded(noise(5 + number, 4, number, channels))
        files[f"{number:04}.cls"] = label.encode()
    return files


def opened(root: Path) -> ImageData:
    return open_tar_folder(root, test_fraction=0.25, seed=0)


def refused(tmp_path: Path, files: Mapping[str, bytes], said: str) -> None:
    tar(tmp_path / "a.tar", files)
    with pytest.raises(SenetError, match=said):
        opened(tmp_path)


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("channels", [1, 3])
def test_parts_shards_and_pictures(tmp_path: Path, format: int, channels: int) -> None:
    tar(tmp_path / "pets-train-0001.tar", samples("1", "0\n", first=3, channels=channels), format)
    tar(tmp_path / "pets-train-0000.tar", samples("0", "1", "1", channels=channels), format)
    tar(tmp_path / "pets-val-0000.tar", samples("1", first=7, channels=channels), format)
    data = opened(tmp_path)
    assert data.classes == ("0", "1") and data.own_test
    assert data.train.labels.tolist() == [0, 1, 1, 1, 0] and data.test.labels.tolist() == [1]
    for source, numbers in ((data.train, range(5)), (data.test, [7])):
        for index, number in enumerate(numbers):
            picture = np.asarray(noise(5 + number, 4, number, channels))
            assert np.array_equal(np.asarray(source.read(index)), picture)
    assert names_of(data.test) == ["pets-val-0000.tar 0007.png"]
    assert data.train.names(np.array([4, 0])) == [
        "pets-train-0001.tar 0004.png",
        "pets-train-0000.tar 0000.png",
    ]
    assert data.train.name(4) == "pets-train-0001.tar 0004.png"


def test_folders_tell_parts_and_a_whole_is_split(tmp_path: Path) -> None:
    for part in ("train", "val"):
        tar(tmp_path / "a" / part / "000.tar", samples("0", "1"))
    assert (len(opened(tmp_path / "a").train), len(opened(tmp_path / "a").test)) == (2, 2)
    tar(tmp_path / "b" / "000.tar", samples(*"01" * 8))
    data = opened(tmp_path / "b")
    assert (len(data.train), len(data.test)) == (12, 4) and "25 % of each class" in data.split


def test_long_names_and_folders_inside(tmp_path: Path) -> None:
    picture = encoded(noise(6, 5))
    deep = "x/" * 80
    files = {
        f"{deep}{n}{end}": content for n in "abcd" for end, content in ((".JPG", picture), (".cls", b"7"))
    }
    files |= {f"y/{n}{end}": content for n in "abcd" for end, content in ((".jpg", picture), (".cls", b"8"))}
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        tar(tmp_path / "a.tar", files, format)
        data = opened(tmp_path)
        assert data.classes == ("7", "8") and len(data.train) + len(data.test) == 8
        assert f"a.tar {deep}a.JPG" in names_of(data.train) + names_of(data.test)
        assert data.train.read(0).size == (6, 5)


def test_the_order_of_files_inside_does_not_matter(tmp_path: Path) -> None:
    files = samples(*"0101")
    tar(tmp_path / "a" / "train-0.tar", files)
    tar(tmp_path / "b" / "train-0.tar", dict(sorted(files.items(), key=lambda each: each[0][::-1])))
    for folder in "ab":
        tar(tmp_path / folder / "test-0.tar", samples("0", "1"))
    assert opened(tmp_path / "a").train.labels.tolist() == opened(tmp_path / "b").train.labels.tolist()


@pytest.mark.parametrize("field", ["label", "class", "cls"])
def test_labels_in_json(tmp_path: Path, field: str) -> None:
    files = {}
    for number in range(8):
        files[f"{number}.jpg"] = encoded(noise(4, 4), "JPEG")
        files[f"{number}.json"] = json.dumps({"x": [1], field: ["cat", "dog"][number % 2]}).encode()
    tar(tmp_path / "a.tar", files)
    assert opened(tmp_path).classes == ("cat", "dog")


def test_the_image_among_several_files_of_a_sample(tmp_path: Path) -> None:
    files = samples(*"01" * 4)
    files |= {f"{number:04}.mask.png": encoded(noise(1, 1)) for number in range(8)}
    files |= {f"{number:04}.txt": b"a caption" for number in range(8)}
    files |= {"._0000.png": b"", "__MACOSX/0000.png": b""}
    tar(tmp_path / "a.tar", files)
    assert min(opened(tmp_path).train.read(index).width for index in range(6)) >= 5


def test_class_names_beside(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", samples(*"01" * 4))
    feature = {"features": {"cls": {"names": ["cat", "dog"]}}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(feature))
    assert opened(tmp_path).classes == ("cat", "dog")
    (tmp_path / "classes.txt").write_text("ant\nbee\n")
    assert opened(tmp_path).classes == ("ant", "bee")
    tar(tmp_path / "a.tar", samples(*["bee", "ant"] * 4))
    data = opened(tmp_path)
    assert data.classes == ("ant", "bee")
    (tmp_path / "classes.txt").write_text("bee\nant\n")
    assert opened(tmp_path).train.labels.tolist() == (1 - data.train.labels).tolist()
    for text, said in [
        ("bee\ncow\n", "has images of 'ant', which .*the list of classes in"),
        ("bee\nant\nant\n", "the class 'ant' twice: give each class a"),
        ("bee\n\nant\n", "has a class without a name"),
        ("bee\nant\ncow\n", "a.tar has no image of 'cow'"),
    ]:
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(SenetError, match=said):
            opened(tmp_path)


def test_samples_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    picture = encoded(noise(4, 4))
    refused(
        tmp_path,
        {"1.png": picture},
        r"Sample 1 in .*no label: add 1\.cls with .*field label, class, .*folders must be unpacked\)\.",
    )
    refused(tmp_path, {"x/1.png": picture, "x/1.txt": b"cat"}, r"Sample x/1 in .*a\.tar has no label")
    refused(tmp_path, {"1.png": picture, "1.cls": b"\n"}, "has no label")
    refused(
        tmp_path,
        {"1.png": picture, "1.json": b'{"label": [1]}'},
        r"label in 1\.json .* not a value of type list",
    )
    refused(tmp_path, {"1.png": picture, "1.json": b"{"}, r"1\.json in .* is not valid JSON")
    refused(tmp_path, {"1.png": picture, "1.cls": b"\xff"}, r"1\.cls in .* is not UTF-8 text")
    refused(tmp_path, {"1.cls": b"1"}, r"Sample 1 in .* has no image")
    refused(tmp_path, {"1.png": picture, "1.jpg": picture, "1.cls": b"1"}, r"several images \(png, jpg\)")
    refused(tmp_path, {"1.png": picture, "1.PNG": picture, "1.cls": b"1"}, r"contains 1\.PNG twice")
    refused(tmp_path, {}, "contains no samples")


def test_compressed_files_are_refused_with_advice(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", samples("0", "1"))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(SenetError, match="is compressed with gzip: decompress it once"):
        opened(tmp_path)


def test_damage_is_noticed(tmp_path: Path) -> None:
    whole = tar(tmp_path / "a.tar", samples(*"01" * 4)).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(SenetError, match="cannot be read as a tar file"):
        opened(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"<html>" + bytes(2000))
    with pytest.raises(SenetError, match=r"a\.tar cannot be read as a tar file"):
        opened(tmp_path)
    # tarfile itself takes a damaged header for the end, and would lose the rest without a word.
    damaged = bytearray(whole)
    damaged[whole.index(b"0004.png") + 148] ^= 0xFF
    (tmp_path / "a.tar").write_bytes(damaged)
    with pytest.raises(SenetError, match="continues after its end marker at byte"):
        opened(tmp_path)
    (tmp_path / "a.tar").write_bytes(whole + whole)
    (tmp_path / "a.tar").write_bytes(whole[: whole.index(b"0004.png")])
    with pytest.raises(SenetError, match=r"it has no end marker\): it is truncated"):
        opened(tmp_path)
    (tmp_path / "a.tar").write_bytes(whole + whole)
    with pytest.raises(SenetError, match="several tar files were joined"):
        opened(tmp_path)


def member(name: str, content: bytes = b"", **fields: Any) -> bytes:
    """One header and its content, of any kind and stated size."""
    info = tarfile.TarInfo(name)
    for field, value in {"size": len(content), **fields}.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (
            member("9.png", type=tarfile.SYMTYPE, linkname="0000.png"),
            r"contains the link or device 9\.png, which stores",
        ),
        (
            member("9.png", type=tarfile.LNKTYPE, linkname="0000.png"),
            "link or device 9.png.*--hard-dereference",
        ),
        (member("9.png", type=tarfile.CHRTYPE), "link or device 9.png"),
        (member("9.png", type=tarfile.FIFOTYPE), "link or device 9.png"),
        (member("9.png", type=tarfile.GNUTYPE_SPARSE), "sparse file 9.png"),
        (member("9.png", b"x", size=10**15), r"cannot be read as a tar file .*1,000,000,000,000,000 bytes"),
        (member("9.png", b"x", size=-1024), "cannot be read as a tar file"),
        (member("9.png", b"x", size=-512, type=tarfile.XHDTYPE), "cannot be read as a tar file"),
        (
            member("pax", b"12 size=abc\n", type=tarfile.XHDTYPE) + member("9.png"),
            "Sample 9 in",
        ),
        (member("pax", b"99 a=\n", type=tarfile.XHDTYPE) + member("9.png"), "Sample 9 in"),
        (
            member("././@LongLink", b"a\0", type=tarfile.GNUTYPE_LONGNAME) * 2000,
            "cannot be read as a tar file",
        ),
        (
            member("train/8.png", b"x") + member("test/9.png", b"x"),
            r"contains several splits \('test', 'train'\): write each",
        ),
        (
            member("../9.png", b"x") + member("/9.cls", b"1") + member("../9.cls", b"1"),
            "Sample 9 in .* has no",
        ),
    ],
)
def test_hostile_and_unusual_members(tmp_path: Path, extra: bytes, said: str) -> None:
    whole = tar(tmp_path / "a.tar", samples(*"01" * 4)).read_bytes()
    end = max(start for start in range(0, len(whole), 512) if whole[start : start + 512].strip(b"\0")) + 512
    (tmp_path / "a.tar").write_bytes(whole[:end] + extra + bytes(1024))
    with pytest.raises(SenetError, match=said):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"label": 3.0}', r"label in 0\.json .* a whole number or a name, not a value of type float"),
        ('{"label": null}', r"label in 0\.json .* a whole number or a name, not a value of type NoneType"),
        ('{"label": true}', r"label in 0\.json .* a whole number or a name, not a value of type bool"),
        ('{"label": ["a"]}', r"label in 0\.json .* a whole number or a name, not a value of type list"),
        ("[" * 100_000, "0.json in .*a.tar is not valid JSON"),
        ('{"label": ' + "9" * 5000 + "}", "0.json in .*a.tar is not valid JSON"),
        ('["label"]', "has no label"),
        ('{"label": " "}', "has no label"),
    ],
)
def test_json_of_another_shape(tmp_path: Path, text: str, said: str) -> None:
    refused(tmp_path, {"0.png": encoded(noise(4, 4)), "0.json": text.encode()}, said)


def test_a_picture_beyond_the_end_is_unreadable(tmp_path: Path) -> None:
    path = tar(tmp_path / "train.tar", samples("0", "1"))
    tar(tmp_path / "test.tar", samples("0", "1"))
    train = opened(tmp_path).train
    os.truncate(path, 600)
    with pytest.raises(
        UnreadableImage, match=r"train\.tar 0001\.png cannot be .*image: the shard is truncated"
    ):
        train.read(1)
    path.unlink()
    with pytest.raises(UnreadableImage, match=r"the shard cannot be read \(no such file"):
        pickle.loads(pickle.dumps(train)).read(0)


def test_the_index_is_kept_until_the_shard_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar(tmp_path / "a.tar", samples(*"01" * 4))
    first = opened(tmp_path)
    (kept,) = cache.glob("*.table")
    with monkeypatch.context() as patch:
        patch.setattr(tar_index, "read_index", lambda _: pytest.fail("read anew"))
        again = opened(tmp_path)
        assert names_of(again.train) == names_of(first.train)
        assert again.train.labels.tolist() == first.train.labels.tolist()
        assert np.array_equal(np.asarray(again.train.read(0)), np.asarray(first.train.read(0)))
    kept.write_bytes(kept.read_bytes()[:50])
    assert names_of(opened(tmp_path).train) == names_of(first.train)
    status = path.stat()
    tar(path, samples(*"10" * 4))
    assert path.stat().st_size == status.st_size
    assert opened(tmp_path).train.labels.tolist() != first.train.labels.tolist()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.tar", "cache"]


def test_without_a_cache_folder_it_works_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar(tmp_path / "a.tar", samples(*"01" * 4))
    monkeypatch.setenv("SENET_CACHE", str(write(tmp_path / "file", b"")))
    assert len(opened(tmp_path).train) == 6


def test_more_shards_than_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_OPEN", 2)
    for number in range(5):
        tar(tmp_path / f"{number}.tar", samples("0", "1", first=2 * number))
    data = opened(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for source in (data.train, data.test):
        for index in range(len(source)):
            number = int(source.name(index).split()[1][:4])
            assert source.read(index).width == 5 + number
    assert len(list(Path("/proc/self/fd").iterdir())) - before == 2


def test_without_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pread")
    tar(tmp_path / "train.tar", samples("0", "1"))
    tar(tmp_path / "test.tar", samples("0", "1"))
    assert [opened(tmp_path).train.read(index).width for index in (1, 0)] == [6, 5]


def test_a_pickled_source_opens_its_own_files(tmp_path: Path) -> None:
    tar(tmp_path / "train.tar", samples("0", "1"))
    tar(tmp_path / "test.tar", samples("0", "1"))
    train = opened(tmp_path).train
    train.read(0)
    again = pickle.loads(pickle.dumps(train))
    del train
    assert names_of(again) == ["train.tar 0000.png", "train.tar 0001.png"] and again.read(1).size == (6, 4)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", samples("0", "1"))
    for files in (
        SplitFiles(train=("0.tar", "1.tar"), test=(), others=()),
        SplitFiles(train=("0.tar",), test=(), others=("1.tar",)),
    ):
        with pytest.raises(SenetError, match=r"There is no .*correct the"):
            open_tar_files(tmp_path, files, test_fraction=0.2, seed=0)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{08..11}.tar", ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]),
        ("a-{8..11}.tar", ["a-8.tar", "a-9.tar", "a-10.tar", "a-11.tar"]),
        ("{train,val}-{0..1}.tar", ["train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar"]),
        ("a{,b}", ["a", "ab"]),
        ("t-{0..1}.tar::v-{00..00}.tar", ["t-0.tar", "t-1.tar", "v-00.tar"]),
        ("http://[::1]:80/{0..1}.tar::b.tar", ["http://[::1]:80/0.tar", "http://[::1]:80/1.tar", "b.tar"]),
    ],
)
def test_brace_expressions(pattern: str, names: list[str]) -> None:
    assert expand_braces(pattern) == names


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("a-{3..1}.tar", r"The range \{3\.\.1\} in a-\{3\.\.1\}\.tar counts down:"),
        ("a-{0..1.tar", "must contain a range"),
        ("a-{x}.tar", r"a range such as \{0000\.\.0099\} or a choice such as \{train,val\}\."),
        ("a-{0..x}.tar", "must contain a range"),
        ("a}.tar", "must contain a range"),
        ("a-{0..99999999999}.tar", "The range in .*has more than 100,000 shards: correct"),
        (f"a-{{0..{'9' * 5000}}}.tar", "The range in .*has more than 100,000 shards: correct"),
        ("a-{0..999}-{0..999}.tar", "stands for more than 100,000 shards"),
    ],
)
def test_bad_brace_expressions(pattern: str, said: str) -> None:
    with pytest.raises(SenetError, match=said):
        expand_braces(pattern)
