from __future__ import annotations

import errno
from pathlib import Path

import pytest

from senet.errors import SenetError
from senet.files import put_in_place, written_whole


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
