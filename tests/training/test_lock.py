from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from senet.errors import SenetError
from senet.experiments import single
from senet.experiments.single import train_one
from senet.training.lock import lock_folder
from tests.small import small_photos, small_recipe

HOLD = """
import sys
from functools import partial
from pathlib import Path
from senet.training.lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with (
            pytest.raises(SenetError, match="Another senet process is using"),
            lock_folder(tmp_path, patience_seconds=0),
        ):
            pass
    finally:
        first.kill()
        first.communicate()
    with lock_folder(tmp_path, patience_seconds=5):
        pass


def test_a_process_that_does_not_use_the_folder_neither_makes_nor_waits_for_it(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "other", needed=False):
        assert not (tmp_path / "other").exists()
    with lock_folder(tmp_path), lock_folder(tmp_path, patience_seconds=0, needed=False):
        pass


def test_a_second_run_in_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "lock_folder", partial(lock_folder, patience_seconds=0))
    photos, out = small_photos(tmp_path / "photos"), tmp_path / "run"
    with (
        lock_folder(out),
        pytest.raises(SenetError, match=f"Another senet process is using {out}: wait for it to end, or"),
    ):
        train_one(photos, model="resnet8", out=out, recipe=small_recipe(epochs=1), device="cpu", workers=0)
    assert not (out / "checkpoint.pt").exists()


def test_a_file_system_without_locks_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (
        pytest.raises(SenetError, match=r"cannot be locked \(No locks available\).*--out"),
        lock_folder(tmp_path),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", read_only)
    with (
        pytest.raises(SenetError, match=r"cannot be locked \(Read-only file system\)"),
        lock_folder(tmp_path),
    ):
        pass


def test_what_goes_wrong_under_the_lock_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="something else"), lock_folder(tmp_path):
        raise OSError(errno.EIO, "something else")
