from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from senet.data import fetch
from senet.data.images import open_images
from senet.data.source import ImageData
from senet.data.tar import expand_braces
from senet.data.tar_remote import open_remote_tar
from senet.errors import SenetError

from .pictures import names_of, write
from .test_tar import samples, tar
from .web import Web, serving


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("SENET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "PAUSES", (0.0,) * 4)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(tmp_path / "web") as started:
        yield started


def opened(web: Web, pattern: str) -> ImageData:
    urls = expand_braces(pattern.replace("//", web.url + "/"))
    return open_remote_tar(pattern, urls, test_fraction=0.25, seed=0)


def test_shards_are_fetched_once_and_then_local(web: Web, tmp_path: Path) -> None:
    for number in range(3):
        tar(web.root / "pets" / f"train-{number:04}.tar", samples("cat", "dog", first=2 * number))
    tar(web.root / "pets" / "val-0.tar", samples("dog", "cat"))
    pattern = "//pets/train-{0000..0002}.tar:://pets/val-0.tar"
    web.drop_after, web.drops = 3000, 2
    data = opened(web, pattern)
    assert data.location == pattern and data.classes == ("cat", "dog")
    assert names_of(data.train)[2] == "train-0001.tar 0002.png" and data.train.read(2).width == 7
    assert names_of(data.test) == ["val-0.tar 0000.png", "val-0.tar 0001.png"]
    web.asked.clear()
    assert names_of(opened(web, pattern).train) == names_of(data.train) and not web.asked


def test_shards_of_one_name_in_several_folders_are_kept_apart(web: Web) -> None:
    tar(web.root / "train" / "0.tar", samples("0", "1", first=3))
    tar(web.root / "val" / "0.tar", samples("1"))
    data = opened(web, "//{train,val}/0.tar")
    assert (len(data.train), len(data.test)) == (2, 1) and data.train.read(0).width == 8


def test_one_shard_is_split_whatever_its_name(web: Web) -> None:
    tar(web.root / "test.tar", samples(*"01" * 4))
    assert len(opened(web, "//test.tar").train) == 6


def test_a_page_in_place_of_a_shard_is_told_and_not_kept(web: Web) -> None:
    write(web.root / "a.tar", b"<html>log in</html>")
    for _ in range(2):
        with pytest.raises(SenetError, match=r"The server's response for a\.tar is not a tar"):
            opened(web, "//a.tar")
    assert len(web.asked) == 2


def test_a_missing_shard_is_named(web: Web) -> None:
    tar(web.root / "a-0.tar", samples("0", "1"))
    with pytest.raises(SenetError, match=rf"{web.url}/a-1\.tar could not be downloaded \(HTTP Error 404"):
        opened(web, "//a-{0..1}.tar")


def test_addresses_that_are_no_files(web: Web) -> None:
    for pattern, said in [
        ("//a-0.tar:://a-0.tar", r"//a-0\.tar:://a-0\.tar lists a shard twice: list"),
        ("//../a.tar", "is not the address of a file"),
        ("//", "is not the address of a file"),
    ]:
        with pytest.raises(SenetError, match=said):
            opened(web, pattern)
    for url, said in [
        ("https://host:abc/a.tar", "'https://host:abc/a.tar' is not a valid address .Port could not be cast"),
        ("https://me:secret@host/a.tar", "The address on host contains a user name"),
    ]:
        with pytest.raises(SenetError, match=said):
            open_images(url)


def test_a_cache_folder_that_cannot_be_made(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENET_CACHE", str(write(tmp_path / "file", b"")))
    with pytest.raises(
        SenetError, match=r"The cache folder .* cannot be .*directory\): set SENET_CACHE to a folder you"
    ):
        opened(web, "//a.tar")


def test_a_shard_cut_short_is_not_kept(web: Web, tmp_path: Path) -> None:
    whole = tar(web.root / "a.tar", samples(*"01" * 4)).read_bytes()
    web.length = False
    # Between two files inside, where only the mark of the end is missing, and within one.
    for length in (whole.index(b"0004.png"), whole.index(b"0004.png") + 600):
        (web.root / "a.tar").write_bytes(whole[:length])
        with pytest.raises(SenetError, match="cannot be read as a tar file"):
            opened(web, "//a.tar")
    (web.root / "a.tar").write_bytes(whole)
    assert len(opened(web, "//a.tar").train) == 6


def test_a_damaged_shard_in_the_cache_is_fetched_again(web: Web, tmp_path: Path) -> None:
    tar(web.root / "a.tar", samples(*"01" * 4))
    before = [np.asarray(opened(web, "//a.tar").train.read(index)) for index in range(6)]
    (path,) = (tmp_path / "cache").rglob("a.tar")
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 20] ^= 1
    path.write_bytes(content)
    data = opened(web, "//a.tar")
    assert all(np.array_equal(np.asarray(data.train.read(index)), before[index]) for index in range(6))
    assert len(web.asked) == 2
