from __future__ import annotations

import csv
import errno
import math
import os
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from senet.errors import SenetError
from senet.training.logs.csv_log import SPEED_NAME, STEPS_NAME, CsvLog
from tests.training.logs.records import metrics, record, start


def whole(folder: Path, steps: int) -> bytes:
    folder.mkdir()
    log = CsvLog(start(folder))
    for step in range(1, steps + 1):
        log.step(record(step))
    log.close()
    return (folder / STEPS_NAME).read_bytes()


def test_columns_and_values_come_back_exactly(tmp_path: Path) -> None:
    log = CsvLog(start(tmp_path))
    log.step(record(50, loss=1 / 3))
    log.step(record(100, loss=math.inf))
    log.epoch(100, metrics(1))
    log.close()
    with (tmp_path / STEPS_NAME).open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["step", "epoch", "learning_rate", "loss", "gradient_norm"]
    assert [row["step"] for row in rows] == ["50", "100"]
    assert float(rows[0]["loss"]) == 1 / 3 and float(rows[1]["loss"]) == math.inf
    assert float(rows[0]["learning_rate"]) == 0.1 / 50 and float(rows[0]["gradient_norm"]) == 50 / 3
    assert rows[1]["epoch"] == "11"
    with (tmp_path / SPEED_NAME).open() as stream:
        speed = list(csv.DictReader(stream))
    assert speed[1] == {
        "step": "100",
        "images_per_second": "100.0",
        "data_wait": "0.25",
        "memory_bytes": str(2**40 + 100),
        "seconds": "1.5",
    }


def test_rows_are_there_at_once(tmp_path: Path) -> None:
    log = CsvLog(start(tmp_path))
    log.step(record(1))
    assert (tmp_path / STEPS_NAME).read_text().count("\n") == 2
    log.close()


@settings(max_examples=25, deadline=None)
@given(random=st.randoms(use_true_random=True), steps=st.integers(1, 30))
def test_killed_at_any_moment_the_file_ends_as_if_nothing_had_happened(random: Random, steps: int) -> None:
    """Checkpoints and kills at random; what stands behind the checkpoint is cut, torn or garbage."""
    with TemporaryDirectory() as name, patch("os.fsync"):  # waiting for the disk is slow
        expected = whole(Path(name) / "whole", steps)
        folder = Path(name) / "killed"
        folder.mkdir()
        notes: list[str] = []
        kept, state, starts = 0, {}, 0
        while kept < steps or starts < 3:
            log = CsvLog(start(folder, step=kept, state=state, notes=notes))
            starts += 1
            killed_after = random.randint(kept, steps)
            saved_after = random.randint(kept, killed_after)
            for step in range(kept + 1, killed_after + 1):
                log.step(record(step, speed=random.random()))
                if step == saved_after:
                    log.flush()
                    kept, state = step, dict(log.state())
            log.close()
            for file in (STEPS_NAME, SPEED_NAME):
                content = (folder / file).read_bytes()
                torn = random.randint(int(state.get(file, 0)), len(content))
                (folder / file).write_bytes(content[:torn] + random.randbytes(random.randint(0, 20)))
        CsvLog(start(folder, step=kept, state=state, notes=notes)).close()
        assert (folder / STEPS_NAME).read_bytes() == expected
        speed = list(csv.DictReader((folder / SPEED_NAME).read_text().splitlines()))
        assert [row["step"] for row in speed] == [str(step) for step in range(1, steps + 1)]
        assert notes == []


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_file_that_lacks_rows_starts_over_and_says_so(tmp_path: Path, damage: str) -> None:
    log = CsvLog(start(tmp_path))
    for step in (1, 2, 3):
        log.step(record(step))
    state = dict(log.state())
    log.close()
    path = tmp_path / STEPS_NAME
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    short = path.read_bytes() if path.exists() else None
    notes: list[str] = []
    log = CsvLog(start(tmp_path, step=3, state=state, notes=notes))
    log.step(record(4))
    log.close()
    assert len(notes) == 1 and str(path) in notes[0] and "step 3" in notes[0] and "starts over" in notes[0]
    assert [row["step"] for row in csv.DictReader(path.read_text().splitlines())] == ["4"]
    kept = tmp_path / "steps.previous.csv"
    assert (kept.read_bytes() if kept.exists() else None) == short, "what was there is not lost"
    speed = list(csv.DictReader((tmp_path / SPEED_NAME).read_text().splitlines()))
    assert [row["step"] for row in speed] == ["1", "2", "3", "4"], "the other file goes on"


def test_a_training_begun_again_keeps_nothing_of_before(tmp_path: Path) -> None:
    (tmp_path / STEPS_NAME).write_text("of a training that was killed before its first checkpoint\n")
    notes: list[str] = []
    CsvLog(start(tmp_path, notes=notes)).close()
    assert (tmp_path / STEPS_NAME).read_text() == "step,epoch,learning_rate,loss,gradient_norm\n"
    assert notes == [] and not (tmp_path / "steps.previous.csv").exists()


def test_flush_waits_for_the_disk(tmp_path: Path) -> None:
    log = CsvLog(start(tmp_path))
    with patch("os.fsync") as fsync:
        log.step(record(1))
        assert not fsync.called
        log.flush()
    synced = {os.fstat(call.args[0]).st_ino for call in fsync.call_args_list}
    assert synced == {(tmp_path / name).stat().st_ino for name in (STEPS_NAME, SPEED_NAME)}
    log.close()


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CsvLog(start(tmp_path))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SenetError, match="disk is full"):
        log.flush()
    log.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_disk_that_is_full_while_a_row_is_written(tmp_path: Path) -> None:
    log = CsvLog(start(tmp_path))
    with Path("/dev/full").open("r+b", buffering=0) as full:
        log._steps._stream = full
        with pytest.raises(SenetError, match=r"disk is full: .*steps\.csv"):
            log.step(record(1))
    log.close()
