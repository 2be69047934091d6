from __future__ import annotations

import errno
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request

import numpy as np
import pytest

from senet.data import fetch as room
from senet.data.fetch import checked_url, fetch_all
from senet.errors import SenetError

from .pictures import write
from .web import SILENCE, Web, answer_of, saying, serving

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
    said = r"a\.tar could not be downloaded \(the connection closed after 70,000 of 300,000 bytes\)"
    with pytest.raises(SenetError, match=rf"{said}.* 70,000 bytes are kept"):
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
        SenetError, match=rf"{web.url}/a\.tar could not be downloaded \(HTTP Error {statuses[0]}"
    ):
        fetched(web, tmp_path)
    assert len(web.asked) == asked and left(tmp_path) == []


def test_nobody_answers(web: Web, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    web.url = f"http://127.0.0.1:{port}"
    with pytest.raises(
        SenetError, match=rf"{port}/a\.tar could not be downloaded .*refused.*check the address"
    ):
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
    with pytest.raises(SenetError, match=r"The disk is full, so .*could"):
        fetched(web, tmp_path)
    assert len(web.asked) == 1


def test_one_failure_ends_all(web: Web, tmp_path: Path) -> None:
    files = []
    for number in range(60):
        write(web.root / f"{number}.tar", CONTENT)
        files.append((f"{web.url}/{number if number else 'gone'}.tar", tmp_path / f"{number}.tar"))
    begun = time.monotonic()
    with pytest.raises(SenetError, match=r"could not be downloaded \(HTTP Error"):
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
            raise SenetError("bad could not be downloaded")
        ended.append(stop.wait(20))

    monkeypatch.setattr(room, "fetch", fetch)
    with pytest.raises(SenetError, match="bad could not be downloaded"):
        fetch_all([("good", tmp_path / "a"), ("bad", tmp_path / "b")], check=lambda _: None)
    assert ended == [True]


def said(tmp_path: Path, *answers: bytes, name: str = "a.tar") -> Path:
    """The file that comes of these answers, one for each connection."""
    (tmp_path / "cache").mkdir(exist_ok=True)
    with saying(*answers) as url:
        fetch_all([(f"{url}/{name}", tmp_path / "cache" / "a.tar")], check=lambda _: None)
    return tmp_path / "cache" / "a.tar"


ATTEMPTS = 1 + room.ATTEMPTS
PART = {"ETag": '"1"', "Content_Length": 6, "Content_Range": "bytes 4-9/10"}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([answer_of(b"0123456789more", Content_Length=10)], b"0123456789"),
        ([answer_of(b"0123456789")], b"0123456789"),
        ([answer_of(b"4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n", Transfer_Encoding="chunked")], b"0123456789"),
        (
            [answer_of(b"4\r\n0123\r\n6\r\n45", Transfer_Encoding="chunked"), answer_of(b"0123456789")],
            b"0123456789",
        ),
        ([answer_of(b"", "503 Busy", Retry_After="0"), answer_of(b"x")], b"x"),
        ([answer_of(b"", "429 Slow", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), answer_of(b"x")], b"x"),
        ([b"nonsense", answer_of(b"x")], b"x"),
        ([answer_of(b"x", "206 Partial", Content_Range="bytes 5-5/10"), answer_of(b"x")], b"x"),
        ([answer_of(b"", "416 Range", Content_Range="bytes */10"), answer_of(b"x")], b"x"),
        ([answer_of(b"", "416 Range"), answer_of(b"x")], b"x"),
        # Broken off after four bytes, then the rest, then the rest of another version, of another place.
        (
            [answer_of(b"0123", ETag='"1"', Content_Length=10), answer_of(b"456789", "206 P", **PART)],
            b"0123456789",
        ),
        (
            [
                answer_of(b"0123", ETag='"1"', Content_Length=10),
                answer_of(b"456789", "206 P", **{**PART, "ETag": '"2"'}),
                answer_of(b"abcdefghij"),
            ],
            b"abcdefghij",
        ),
        (
            [
                answer_of(b"0123", ETag='"1"', Content_Length=10),
                answer_of(b"56789x", "206 P", **{**PART, "Content_Range": "bytes 5-10/11"}),
                answer_of(b"abcdefghij"),
            ],
            b"abcdefghij",
        ),
    ],
    ids=range(13),
)
def test_answers_that_are_got_over(web: Web, tmp_path: Path, answers: list[bytes], expected: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert said(tmp_path, *answers).read_bytes() == expected
    assert left(tmp_path) == ["a.tar"]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([answer_of(b"x", Content_Length="abc")] * ATTEMPTS, r"an invalid length, 'abc'\): check the"),
        ([answer_of(b"x", Content_Length="-5")] * ATTEMPTS, r"an invalid length, '-5'\): check the"),
        (
            [answer_of(b"x", Content_Length=10**17)],
            "has 100,000,000,000,000,000 bytes but .*are free in .*: free some",
        ),
        ([answer_of(b"x" * 3000)], "larger than 1,000 bytes, the limit:"),
        ([answer_of(b"x", Content_Encoding="gzip")], r"The server sent .*compressed \(gzip\)"),
        (
            [answer_of(b"", "302 Found", Location="file:///etc/passwd")],
            "Redirection to url 'file:///etc/passwd' is not allowed",
        ),
        (
            [answer_of(b"", "302 Found", Location="ftp://a.org/a.tar")],
            r"redirects to 'ftp://a\.org/a\.tar', which is",
        ),
        (
            [answer_of(b"", "302 Found", Location="http://a.org:x/a.tar")],
            r"'http://a\.org:x/a\.tar' is not a valid address \(Port could",
        ),
        ([answer_of(b"", "301 Found", Location="/a.tar")] * 20, "redirect.* infinite loop"),
        ([answer_of(b"", "401 No")], r"downloaded \(HTTP Error 401: No\): .*a login, which"),
        ([answer_of(b"", "403 No")], r"downloaded \(HTTP Error 403: No\): .*a login, which"),
        ([answer_of(b"", "503 Busy", Retry_After="7200")], r"Busy\): the server asks to retry in 7,200 s\."),
        ([b"HTTP/1.1 abc\r\n\r\n"] * ATTEMPTS, r"could not be downloaded \(HTTP/1\.1 abc\):"),
        ([SILENCE] * ATTEMPTS, r"could not be .*response within 0\.1 s\): check"),
        (
            [answer_of(b"0123", Content_Length=10)] * ATTEMPTS,
            r"closed after 4 of 10 bytes\): check .*network; 4 bytes are",
        ),
    ],
    ids=range(15),
)
def test_answers_that_end_it(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[bytes], expected: str
) -> None:
    monkeypatch.setattr(room, "MOST_UNTOLD", 1000)
    monkeypatch.setattr(room, "SECONDS_TO_ANSWER", 0.1)
    with warnings.catch_warnings(), pytest.raises(SenetError, match=expected):
        warnings.simplefilter("ignore")
        said(tmp_path, *answers)


def test_from_https_only_to_https() -> None:
    request = Request("https://a.org/a.tar")
    follow = room._Redirects().redirect_request
    assert follow(request, None, 302, "", {}, "https://b.org/ä.tar").full_url == "https://b.org/%C3%A4.tar"
    with pytest.raises(SenetError, match=r"https://a\.org/a\.tar redirects to 'http://b\.org/', which is"):
        follow(request, None, 302, "", {}, "http://b.org/")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.org/b c/ä.tar?x=1 2#part", "https://a.org/b%20c/%C3%A4.tar?x=1%202"),
        ("HTTPS://A.org:443/%20.tar", "https://a.org:443/%20.tar"),
        ("http://münchen.example/a.tar", "http://xn--mnchen-3ya.example/a.tar"),
        ("http://[::1]:80/a.tar", "http://[::1]:80/a.tar"),
    ],
)
def test_addresses_as_they_are_sent(url: str, expected: str) -> None:
    assert checked_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://host:abc/a.tar",
            "https://host:99999/a.tar",
            "https://host:0/a.tar",
            "https://host:-1/a.tar",
        ),
        *(
            "https:///a.tar",
            "https://:80/a.tar",
            "https://[::1/a.tar",
            "https://[zz]/a.tar",
            "ftp://a.org/a.tar",
        ),
        *("https://a..b/a.tar", f"https://{'x' * 64}.org/a.tar", "file:///a.tar", "a.tar"),
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(
        SenetError, match=r"is not a valid address.*such as https://host/folder/train-0000.tar"
    ):
        checked_url(url)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(SenetError, match=r"The address on a\.org contains a user name") as raised:
        checked_url("https://me:secret@a.org/a.tar")
    assert "secret" not in str(raised.value)


def test_a_silent_server_holds_nothing_up(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    # One file comes, and Ctrl-C with it, while another server says nothing for a minute.
    monkeypatch.setattr(room, "SECONDS_TO_ANSWER", 60)
    with saying(SILENCE) as url:
        files = [(f"{web.url}/a.tar", tmp_path / "a.tar"), (f"{url}/b.tar", tmp_path / "b.tar")]
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            fetch_all(files, check=lambda _: None, progress=interrupted)
        assert time.monotonic() - begun < 5


def test_waiting_is_told(web: Web, tmp_path: Path) -> None:
    web.statuses = [503]
    with pytest.warns(UserWarning, match=r"a\.tar: HTTP Error 503.*; retrying"):
        fetched(web, tmp_path)


def test_a_damaged_file_is_fetched_again(web: Web, tmp_path: Path) -> None:
    path = fetched(web, tmp_path)
    for damage in (CONTENT[:1000], CONTENT[:-1] + b"x", b""):
        path.write_bytes(damage)
        assert fetched(web, tmp_path).read_bytes() == CONTENT
    assert len(web.asked) == 4
    # Touched or moved, it is read once to see that it is the same.
    path.write_bytes(CONTENT)
    assert fetched(web, tmp_path).read_bytes() == CONTENT and len(web.asked) == 4


def test_a_file_of_an_older_version_is_checked(web: Web, tmp_path: Path) -> None:
    def check(path: Path) -> None:
        if path.read_bytes() != CONTENT:
            raise SenetError("no")

    write(tmp_path / "cache" / "a.tar", CONTENT)
    assert fetched(web, tmp_path, check=check) and not web.asked
    (tmp_path / "cache" / ".a.tar.digest").unlink()
    write(tmp_path / "cache" / "a.tar", b"damaged")
    assert fetched(web, tmp_path, check=check).read_bytes() == CONTENT
