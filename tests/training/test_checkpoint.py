from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest
import torch

from senet.errors import SenetError
from senet.files import previous_version
from senet.training.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1, "weight": torch.arange(1000)})
    save_checkpoint(path, {"step": 2, "weight": torch.arange(1000)})
    return path


def step_of(path: Path) -> int:
    found = load_checkpoint(path)
    assert found is not None
    return int(found[0]["step"])


def test_there_is_none_at_first(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "checkpoint.pt") is None


def test_the_newest_is_loaded_and_the_one_before_kept(path: Path) -> None:
    assert step_of(path) == 2
    assert step_of(previous_version(path)) == 1


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_truncated_one_is_passed_over(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    assert step_of(path) == 1


def test_a_flipped_bit_is_noticed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.find(torch.arange(1000).numpy().tobytes()[8:80])
    assert at > 0
    content[at] ^= 4
    path.write_bytes(bytes(content))
    assert step_of(path) == 1


def test_no_flipped_bit_changes_what_is_loaded(path: Path) -> None:
    """Wherever in the file a bit flips: it is noticed, or lies where nothing is read."""
    whole, passed_over = path.read_bytes(), 0
    for at in random.Random(0).sample(range(len(whole)), 300):
        content = bytearray(whole)
        content[at] ^= 1 << (at % 8)
        path.write_bytes(bytes(content))
        found = load_checkpoint(path)
        assert found is not None and torch.equal(found[0]["weight"], torch.arange(1000))
        assert found[0]["step"] == (2 if found[1] == path else 1)
        passed_over += found[1] != path
    assert passed_over > 200


def test_all_damaged_is_an_error_that_says_so(path: Path) -> None:
    path.write_bytes(b"nothing")
    previous_version(path).write_bytes(b"")
    with pytest.raises(
        SenetError, match=r"No checkpoint can be read: .*checkpoint\.pt.*checkpoint\.previous\.pt"
    ):
        load_checkpoint(path)


class Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.target),)


def test_loading_executes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"step": 1, "attack": Attack(tmp_path / "owned")}, path)
    with pytest.raises(SenetError, match="No checkpoint can be read"):
        load_checkpoint(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full, a disk always full")
def test_a_disk_that_is_full_from_the_first_byte_leaves_both_old_ones(path: Path) -> None:
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    path.with_name(f".{path.name}.writing").symlink_to("/dev/full")
    with pytest.raises(SenetError, match="disk is full"):
        save_checkpoint(path, {"step": 3, "weight": torch.arange(100_000)})
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before


def test_a_full_disk_leaves_both_old_ones(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SenetError, match="disk is full"):
        save_checkpoint(path, {"step": 3})
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before
