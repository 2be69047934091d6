from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from senet.data import images as room
from senet.data.images import open_images
from senet.data.source import ImageData
from senet.errors import SenetError

from .pictures import class_folders, names_of, parquet, write
from .test_arrow import arrow
from .test_tar import samples, tar


def test_nothing_means_the_embedded_images() -> None:
    assert open_images(None).name == "Fashion-MNIST subset"


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_of_class_folders(tmp_path: Path, kind: type) -> None:
    class_folders(tmp_path / "pets", {"cat": 10, "dog": 10})
    data = open_images(kind(tmp_path / "pets"), test_fraction=0.5, seed=3)
    assert (data.name, data.location, data.classes) == ("pets", str(tmp_path / "pets"), ("cat", "dog"))
    assert len(data.train) == len(data.test) == 10 and "seed 3" in data.split


def test_a_parquet_file_is_split_whatever_its_name(tmp_path: Path) -> None:
    data = open_images(parquet(tmp_path / "test.parquet", [0, 1] * 10))
    assert (data.name, data.location) == ("test", str(tmp_path / "test.parquet"))
    assert (len(data.train), len(data.test)) == (16, 4)


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    parquet(tmp_path / "pets" / "data" / "train-0.parquet", [0, 1])
    parquet(tmp_path / "pets" / "data" / "test-0.parquet", [0, 1])
    data = open_images(tmp_path / "pets")
    assert data.name == "pets" and names_of(data.test)[0].startswith("data/test-0.parquet row 0")


def test_the_folder_one_is_in_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(class_folders(tmp_path / "pets", {"cat": 5, "dog": 5}))
    data = open_images(".")
    assert (data.name, data.location) == ("pets", ".")


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    class_folders(tmp_path / "pets", {"cat": 5, "dog": 5})
    assert len(open_images("~/pets").train) == 8


def test_a_name_that_is_no_path_is_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def open_hub(name: str, **options: object) -> SimpleNamespace:
        asked.append((name, options))
        return SimpleNamespace(own_test=False)

    monkeypatch.setattr(room, "open_hub", open_hub)
    monkeypatch.chdir(tmp_path)
    open_images("owner/pets:small", test_fraction=0.3, seed=2)
    assert asked == [("owner/pets:small", {"test_fraction": 0.3, "seed": 2})]


def test_a_path_is_preferred_over_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "owner" / "pets", {"cat": 5, "dog": 5})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(room, "open_hub", lambda *_, **__: pytest.fail("asked the Hub"))
    assert open_images("owner/pets").location == "owner/pets"


@pytest.mark.parametrize("missing", ["./nowhere", "/nowhere/at/all", "a/b/c", Path("owner/name")])
def test_a_missing_path_says_what_may_be_given(missing: str | Path) -> None:
    with pytest.raises(SenetError, match=f"There is no {str(missing).replace('.', '[.]')}: .*owner/name"):
        open_images(missing)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SenetError, match="unsupported file type; give a folder"):
        open_images(write(tmp_path / "pets.npz"))
    with pytest.raises(SenetError, match=r"pets\.zip is an archive: unpack it and give the folder"):
        open_images(write(tmp_path / "pets.zip"))


def test_parquet_files_among_pictures_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 5, "dog": 5})
    parquet(tmp_path / "train.parquet", [0, 1])
    with pytest.raises(SenetError, match="contains both parquet files and image files:"):
        open_images(tmp_path)


def test_every_kind_of_file_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENET_CACHE", str(tmp_path / "cache"))
    class_folders(tmp_path / "pets", {"cat": 8, "dog": 8})
    lines = [f"pets/{name}/{number:03}.png,{name}" for name in ("cat", "dog") for number in range(8)]
    write(tmp_path / "list.csv", "\n".join(["path,label", *lines]).encode())
    arrow(tmp_path / "a" / "pets.arrow", ["cat", "dog"] * 8)
    tar(tmp_path / "t" / "pets-0.tar", samples(*["cat", "dog"] * 4))
    tar(tmp_path / "t" / "pets-1.tar", samples(*["cat", "dog"] * 4))
    monkeypatch.chdir(tmp_path)
    for given, name in [
        ("list.csv", "list"),
        ("a", "a"),
        ("a/pets.arrow", "pets"),
        ("t", "t"),
        ("t/pets-{0..1}.tar", "t"),
        ("t/pets-0.tar::t/pets-1.tar", "t"),
        (f"{tmp_path}/t/pets-{{0..1}}.tar", "t"),
    ]:
        data = open_images(given, test_fraction=0.25)
        assert (data.name, data.location, data.classes) == (name, given, ("cat", "dog"))
        assert (len(data.train), len(data.test)) == (12, 4) and data.train.read(0).height in (4, 8)
    assert len(open_images("t/pets-1.tar", test_fraction=0.25).train) == 6


def test_shards_at_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def open_remote_tar(location: str, urls: list[str], **options: object) -> SimpleNamespace:
        asked.append((location, urls, options))
        return SimpleNamespace(own_test=True)

    monkeypatch.setattr(room, "open_remote_tar", open_remote_tar)
    given = "https://host/train-{0..1}.tar::http://host/val.tar?x=1"
    open_images(given, seed=5, progress=print)
    urls = ["https://host/train-0.tar", "https://host/train-1.tar", "http://host/val.tar?x=1"]
    assert asked == [(given, urls, {"test_fraction": 0.2, "seed": 5, "progress": print})]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("pipe:curl -s https://host/a.tar", "pipe:curl .* would run a command"),
        ("s3://bucket/a-{0..1}.tar", r"s3://bucket/a-0\.tar cannot be downloaded: only https:// and"),
        ("https://host/a.tar::b.tar", r"b\.tar cannot be downloaded: only https://"),
        ("https://host/a.tar.gz", "a.tar.gz is not a tar file"),
        ("https://host/a.zip", r"https://host/a\.zip is not a tar file: give a folder"),
        ("a-{0..1}.jpg", r"There is no a-0\.jpg: brace patterns are only supported for \.tar files\."),
        ("a-{0..1}.tar", "There is no .*correct the"),
        ("a-0.tar::a-0.tar", r"a-0\.tar::a-0\.tar lists a shard twice: list"),
        ("a-{1..0}.tar", r"range \{1\.\.0\} in a-\{1\.\.0\}\.tar counts down:"),
    ],
)
def test_bad_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SenetError, match=said):
        open_images(given)


@pytest.mark.parametrize(
    ("given", "stream"),
    [("hf://owner/pets:big", False), ("owner/pets:big", True), ("hf://datasets/o/p", True)],
)
def test_streaming(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str, stream: bool) -> None:
    asked = []

    def open_hub(name: str, **options: object) -> ImageData:
        asked.append((name, options))
        return dataclasses.replace(open_images(None), location=name)

    monkeypatch.setattr(room, "open_hub", open_hub)
    monkeypatch.chdir(tmp_path)
    assert open_images(given, stream=stream, cache_gb=3.0, seed=1).location == given
    name = given.removeprefix("hf://").removeprefix("datasets/")
    assert asked == [(name, {"test_fraction": 0.2, "seed": 1, "stream": True, "cache_gb": 3.0})]


def test_streaming_has_no_effect_on_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "owner" / "pets", {"cat": 5, "dog": 5})
    monkeypatch.chdir(tmp_path)
    for given in ("owner/pets", None, "./x", Path("owner/pets"), "https://host/a.tar", "hf://a/b/c"):
        with pytest.raises(SenetError, match="cannot be streamed: only datasets on the Hugging"):
            open_images(given, stream=True)
    with pytest.raises(SenetError, match="cache_gb 2 has no effect on owner/pets: only datasets streamed"):
        open_images("owner/pets", cache_gb=2)
    with pytest.raises(SenetError, match="cache_gb must be above 0, not 0"):
        open_images("owner/pets", cache_gb=0)


def test_compressed_tar_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar.gz", b"")
    for given in (path, tmp_path):
        with pytest.raises(SenetError, match="is compressed, so single images in"):
            open_images(given)


@pytest.mark.parametrize(("name", "kind"), [("a.tar", "tar"), ("a.arrow", "Arrow")])
def test_kinds_are_not_mixed(tmp_path: Path, name: str, kind: str) -> None:
    class_folders(tmp_path / "x", {"cat": 5, "dog": 5})
    write(tmp_path / "x" / name, b"")
    with pytest.raises(SenetError, match=f"both {kind} files and image files"):
        open_images(tmp_path / "x")


@pytest.mark.parametrize("fraction", [0.0, 1.0, 2.0])
def test_a_fraction_outside_0_to_1_is_refused_whatever_the_images(fraction: float) -> None:
    with pytest.raises(SenetError, match="test_fraction must be a number between 0 and 1, not"):
        open_images(None, test_fraction=fraction)


def test_the_room_itself_imports_nothing_heavy() -> None:
    code = (
        "import sys, senet.data; sys.exit(any(name in sys.modules for name in ('torch', 'PIL', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("first", [0, 1])
def test_classes_with_numbers_for_names_are_in_one_order_in_every_source(tmp_path: Path, first: int) -> None:
    """0 to 11 or 1 to 12 as folders, text or numbers: the order of the text, 1, 10, 11, 2, in all of them."""
    numbers = list(range(first, first + 12))
    names = [str(number) for number in numbers]
    root = class_folders(tmp_path / "folders", dict.fromkeys(names, 2))
    rows = [f"{path.relative_to(root).as_posix()},{path.parent.name}" for path in sorted(root.rglob("*.png"))]
    (root / "labels.csv").write_text("\n".join(["path,label", *rows]))
    labels = numbers * 2
    parquet(tmp_path / "numbers.parquet", labels)
    parquet(tmp_path / "text.parquet", [str(label) for label in labels])
    tar(tmp_path / "shard.tar", samples(*map(str, labels)))
    files = (tmp_path / name for name in ("numbers.parquet", "text.parquet", "shard.tar"))
    for place in (root, root / "labels.csv", *files):
        opened = open_images(place, test_fraction=0.5)
        assert opened.classes == tuple(sorted(names)), place
        assert np.bincount(opened.train.labels).tolist() == [1] * 12, place
    given = open_images(parquet(tmp_path / "named.parquet", list(range(12)) * 2, names), test_fraction=0.5)
    assert given.classes == tuple(names), "an order that comes with the names stays"
