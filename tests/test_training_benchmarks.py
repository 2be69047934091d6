"""The benchmarks of training run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks import bench_checkpoint, bench_loop, bench_scaling
from benchmarks.bench_chaos import as_csv
from benchmarks.bench_loop import BAREST, OURS
from benchmarks.chaos import Kill, same

from tests.smoke import pairs, smoke

pytestmark = pytest.mark.slow


def test_the_loop_is_timed_beside_the_barest(tmp_path: Path) -> None:
    rows = smoke(bench_loop, tmp_path / "rows.csv")
    assert pairs(rows) == {(OURS, BAREST)}
    assert all(row.milliseconds is not None and row.milliseconds.median > 0 for row in rows)


def test_checkpoints_are_written_and_read(tmp_path: Path) -> None:
    rows = smoke(bench_checkpoint, tmp_path / "rows.csv", str(tmp_path))
    assert pairs(rows) == {(bench_checkpoint.WRITE, bench_checkpoint.BARE)}
    small, large = sorted({row.bytes or 0 for row in rows})
    assert 0 < small < large, "the moving average is in the file"


def test_a_second_process_is_timed(tmp_path: Path) -> None:
    rows = smoke(bench_scaling, tmp_path / "rows.csv")
    assert pairs(rows) == {(bench_scaling.TWO, bench_scaling.ONE), (bench_scaling.THREADS, bench_scaling.ONE)}


def test_kills_become_lines() -> None:
    kill = Kill(processes=1, victim="the training", moment="testing", step=7, kept=5)
    assert as_csv([(kill, "nothing")]).splitlines() == [
        "processes,victim,moment,step,kept,lost",
        "1,the training,testing,7,5,nothing",
    ]


def test_what_is_not_the_same_is_told_apart() -> None:
    first = {"a": torch.tensor([1.0]), "b": [1, {"seconds": 2.0}]}
    assert same(first, {"a": torch.tensor([1.0]), "b": [1, {"seconds": 3.0}]})
    assert not same(first, {"a": torch.tensor([1.0000001]), "b": [1, {"seconds": 2.0}]})
    assert not same(first, {"a": torch.tensor([1.0]), "b": [2, {"seconds": 2.0}]})
    assert not same(first, {"a": torch.tensor([1.0])})
