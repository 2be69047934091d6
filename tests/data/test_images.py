from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from senet.data import images as room
from senet.data.images import open_images
from senet.errors import SenetError

from .pictures import class_folders, names_of, parquet, write


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
    with pytest.raises(
        SenetError, match=r"pets.zip is a file, but of no kind that is read: what may be given is a folder"
    ):
        open_images(write(tmp_path / "pets.zip"))


def test_parquet_files_among_pictures_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 5, "dog": 5})
    parquet(tmp_path / "train.parquet", [0, 1])
    with pytest.raises(SenetError, match="both parquet files and picture files"):
        open_images(tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 1.0, 2.0])
def test_a_fraction_outside_0_to_1_is_refused_whatever_the_images(fraction: float) -> None:
    with pytest.raises(SenetError, match="must lie between 0 and 1"):
        open_images(None, test_fraction=fraction)


def test_the_room_itself_imports_nothing_heavy() -> None:
    code = (
        "import sys, senet.data; sys.exit(any(name in sys.modules for name in ('torch', 'PIL', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
