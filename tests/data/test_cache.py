from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from senet.data.cache import cache_folder, kept_table, locked
from senet.errors import SenetError

from .pictures import write

TABLE = pa.table({"a": [1, 2]}).replace_schema_metadata({"x": "y"})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept(make: object = None) -> pa.Table:
    return kept_table("labels", "k", make or (lambda: TABLE))


def never() -> pa.Table:
    raise AssertionError("made again")


def test_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder("a/b") == tmp_path / "cache" / "a" / "b" and cache_folder("a/b").is_dir()
    monkeypatch.delenv("SENET_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("a") == tmp_path / ".cache" / "senet" / "a"


def test_a_table_is_made_once(cache: Path) -> None:
    assert kept().equals(TABLE)
    again = kept(never)
    assert again.equals(TABLE) and again.schema.metadata == {b"x": b"y"}
    path = cache / "labels" / "k.table"
    content = path.read_bytes()
    for damage in (content[:40], b"", content.replace(b"y", b"z"), content[:-1] + b"x"):
        path.write_bytes(damage)
        assert kept().equals(TABLE) and kept(never).equals(TABLE)


def test_a_failure_keeps_nothing(cache: Path) -> None:
    with pytest.raises(AssertionError):
        kept(never)
    assert not list((cache / "labels").glob("*.table")) and kept().equals(TABLE)


def test_without_a_folder_the_table_is_made_each_time(cache: Path) -> None:
    write(cache, b"a file in its place")
    with pytest.raises(SenetError, match=r"The cache folder .* cannot be .*set SENET_CACHE to a folder you"):
        cache_folder("labels")
    assert kept().equals(TABLE)


def test_a_lock_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(SenetError, match=r"directory\): set SENET_CACHE to a"),
        locked(tmp_path / "no" / "x"),
    ):
        pass


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SENET_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(SenetError, match=r"no home directory .*the cache in: set HOME or SENET_CACHE\."):
        cache_folder("x")
