from __future__ import annotations

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from senet.errors import SenetError
from senet.files import put_in_place, write_once, write_text, written_whole


def test_a_large_file_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with written_whole(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left"),
            SenetError,
            "The disk is full: .*a.bin could not be written",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), SenetError, "Permission denied"),
        (ValueError("something else"), ValueError, "something else"),
    ],
)
def test_nothing_is_left_of_what_failed(
    tmp_path: Path, error: Exception, raised: type[Exception], said: str
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(raised, match=said), written_whole(path) as stream:
        stream.write(b"half")
        raise error
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_finished_file_is_put_in_place(tmp_path: Path) -> None:
    part, path = tmp_path / "a.part", tmp_path / "a"
    part.write_bytes(b"all")
    put_in_place(part, path)
    assert path.read_bytes() == b"all" and list(tmp_path.iterdir()) == [path]
    part.write_bytes(b"other")
    with pytest.raises(SenetError, match=r"no/a could not be written"):
        put_in_place(part, tmp_path / "no" / "a")
    assert part.read_bytes() == b"other"


def test_the_first_of_many_writes_and_the_others_are_told(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / f"{attempt}.json"
        with ThreadPoolExecutor(8) as pool:
            wrote = list(pool.map(lambda number, to=path: write_once(to, f"{number}" * 9000), range(8)))
        assert wrote.count(True) == 1
        assert path.read_text() == f"{wrote.index(True)}" * 9000
    assert sorted(each.suffix for each in tmp_path.iterdir()) == [".json"] * 20


def test_without_hard_links_a_file_is_written_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert write_once(tmp_path / "x", "first") and not write_once(tmp_path / "x", "second")
    assert (tmp_path / "x").read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_what_cannot_be_written_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SenetError, match="could not be written"):
        write_once(tmp_path / "nowhere" / "x", "text")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SenetError, match="disk is full"):
        write_once(tmp_path / "x", "text")
    assert not list(tmp_path.iterdir())


def test_a_read_only_file_system_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    # There, opening fails, and so does removing a file that does not exist.
    monkeypatch.setattr(Path, "open", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(SenetError, match=r"x could not be written \(Read-only"):
        write_once(tmp_path / "x", "text")


def test_a_name_that_is_not_utf8_is_written_as_an_escape_that_json_reads_back(tmp_path: Path) -> None:
    text = json.dumps({"name": "\udcff.png", "other": "é"}, ensure_ascii=False)
    write_text(tmp_path / "a.json", text)
    assert (tmp_path / "a.json").read_bytes() == b'{"name": "\\udcff.png", "other": "\xc3\xa9"}'
    assert json.loads((tmp_path / "a.json").read_text())["name"] == "\udcff.png"
    assert write_once(tmp_path / "b.json", text)
