from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senet.data import fetch as room
from senet.data.fetch import fetch_all
from senet.errors import SenetError

from .pictures import write
from .web import Web, serving

CONTENT = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr(room, "PAUSES", (0.0,) * 4)
    monkeypatch.setattr(room, "CHUNK_BYTES", 10_000)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    write(tmp_path / "web" / "a.tar", CONTENT)
    with serving(tmp_path / "web") as started:
        yield started


def fetched(web: Web, tmp_path: Path, **options: Any) -> Path:
    path = tmp_path / "cache" / "a.tar"
    path.parent.mkdir(exist_ok=True)
    fetch_all([(f"{web.url}/a.tar", path)], **{"check": lambda _: None, **options})
    return path


def left(tmp_path: Path) -> list[str]:
    return sorted(each.name for each in (tmp_path / "cache").iterdir() if not each.name.startswith("."))


def test_a_file_is_fetched_once(web: Web, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    for _ in range(2):
        assert fetched(web, tmp_path, progress=lambda *t: told.append(t)).read_bytes() == CONTENT
    assert web.asked == [("/a.tar", None)] and told == [(1, 1)] * 2 and left(tmp_path) == ["a.tar"]


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"', None])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_breaks(web: Web, tmp_path: Path, ranges: bool, tag: str | None) -> None:
    web.ranges, web.tag = ranges, tag
    web.drop_after, web.drops = 70_000, 2
    assert fetched(web, tmp_path).read_bytes() == CONTENT
    if ranges and tag == '"1"':
        assert [asked for _, asked in web.asked] == [None, "bytes=70000-", "bytes=140000-"]
        assert web.sent == len(CONTENT)
    else:
        assert web.sent == len(CONTENT) + 2 * 70_000


def test_a_length_that_is_not_told(web: Web, tmp_path: Path) -> None:
    web.length = False
    assert fetched(web, tmp_path).read_bytes() == CONTENT


def test_a_server_that_always_breaks_is_given_up(web: Web, tmp_path: Path) -> None:
    web.ranges, web.drop_after, web.drops = False, 70_000, 99
    said = r"a\.tar could not be fetched \(the connection ended after 70,000 of 300,000 bytes\)"
    with pytest.raises(SenetError, match=rf"{said}.* 70,000 bytes of it are kept"):
        fetched(web, tmp_path)
    assert len(web.asked) == 1 + room.ATTEMPTS
    assert left(tmp_path) == ["a.tar.part", "a.tar.part-version"]
    web.ranges, web.drops = True, 0
    web.asked.clear()
    assert fetched(web, tmp_path).read_bytes() == CONTENT
    assert web.asked == [("/a.tar", "bytes=70000-")] and left(tmp_path) == ["a.tar"]


def half(tmp_path: Path, content: bytes, version: str | None = '"1"') -> None:
    write(tmp_path / "cache" / "a.tar.part", content)
    if version:
        write(tmp_path / "cache" / "a.tar.part-version", version.encode())


def test_another_version_is_fetched_whole(web: Web, tmp_path: Path) -> None:
    half(tmp_path, b"x" * 1000, '"0"')
    assert fetched(web, tmp_path).read_bytes() == CONTENT


def test_a_part_of_unknown_version_is_fetched_whole(web: Web, tmp_path: Path) -> None:
    half(tmp_path, b"x" * 1000, None)
    assert fetched(web, tmp_path).read_bytes() == CONTENT and web.asked == [("/a.tar", None)]


def test_all_had_come_but_the_name(web: Web, tmp_path: Path) -> None:
    half(tmp_path, CONTENT)
    assert fetched(web, tmp_path).read_bytes() == CONTENT and web.sent == 0


def test_more_had_come_than_there_is(web: Web, tmp_path: Path) -> None:
    half(tmp_path, CONTENT + b"x")
    assert fetched(web, tmp_path).read_bytes() == CONTENT


def test_passing_trouble_is_waited_for(web: Web, tmp_path: Path) -> None:
    web.statuses = [503, 429, 500, 502]
    assert fetched(web, tmp_path).read_bytes() == CONTENT and len(web.asked) == 5


@pytest.mark.parametrize(("statuses", "asked"), [([404], 1), ([403], 1), ([503] * 9, 5)])
def test_lasting_trouble_names_the_address(web: Web, tmp_path: Path, statuses: list[int], asked: int) -> None:
    web.statuses = statuses
    with pytest.raises(
        SenetError, match=rf"{web.url}/a\.tar could not be fetched \(HTTP Error {statuses[0]}"
    ):
        fetched(web, tmp_path)
    assert len(web.asked) == asked and left(tmp_path) == []


def test_nobody_answers(web: Web, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    web.url = f"http://127.0.0.1:{port}"
    with pytest.raises(SenetError, match=rf"{port}/a\.tar could not be fetched .*refused.*check the address"):
        fetched(web, tmp_path)


def test_what_is_not_wanted_is_not_kept(web: Web, tmp_path: Path) -> None:
    def check(path: Path) -> None:
        raise SenetError(f"{path.name} is no tar file")

    with pytest.raises(SenetError, match=r"a\.tar\.part is no tar file"):
        fetched(web, tmp_path, check=check)
    assert left(tmp_path) == []


def test_a_full_disk_is_told_at_once(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(room, "_begin", full)
    with pytest.raises(SenetError, match=r"The disk is full: .*a\.tar could not be fetched to .*cache"):
        fetched(web, tmp_path)
    assert len(web.asked) == 1


def test_one_failure_ends_all(web: Web, tmp_path: Path) -> None:
    files = []
    for number in range(60):
        write(web.root / f"{number}.tar", CONTENT)
        files.append((f"{web.url}/{number if number else 'gone'}.tar", tmp_path / f"{number}.tar"))
    begun = time.monotonic()
    with pytest.raises(SenetError, match=r"gone\.tar could not be fetched"):
        fetch_all(files, check=lambda _: None)
    assert len(web.asked) < 60 and time.monotonic() - begun < 20
    fetch_all(files[1:], check=lambda _: None)
    assert all(path.read_bytes() == CONTENT for _, path in files[1:])


def test_a_stop_ends_what_is_under_way(web: Web, tmp_path: Path) -> None:
    class Stop(threading.Event):
        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return self.asked > 3

    path = tmp_path / "a.tar"
    room.fetch(f"{web.url}/a.tar", path, check=lambda _: None, stop=Stop())
    assert not path.exists() and 0 < room._size(tmp_path / "a.tar.part") < len(CONTENT)


def test_a_failure_stops_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def fetch(url: str, path: Path, *, check: object, stop: threading.Event) -> None:
        if url == "bad":
            raise SenetError("bad could not be fetched")
        ended.append(stop.wait(20))

    monkeypatch.setattr(room, "fetch", fetch)
    with pytest.raises(SenetError, match="bad could not be fetched"):
        fetch_all([("good", tmp_path / "a"), ("bad", tmp_path / "b")], check=lambda _: None)
    assert ended == [True]
