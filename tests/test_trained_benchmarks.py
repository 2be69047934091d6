"""The benchmarks that train run to their end on a few pictures, and write what their pages read."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import pytest
from benchmarks import bench_fine_tune, bench_prune
from tools import make_insertion_page

import senet
from tests.data.pictures import class_folders

pytestmark = pytest.mark.slow


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    return str(class_folders(tmp_path / "pictures", {"cat": 170, "dog": 170}))


def test_fine_tuning(pictures: str, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    words = ["--epochs", "1", "--fine-tune-epochs", "2", "--seeds", "2", "--out", str(out)]
    bench_fine_tune.main([pictures, *words])
    rows = list(csv.DictReader(out.open()))
    assert [(row["arm"], row["seed"], row["epoch"]) for row in rows] == [
        (arm, seed, epoch) for seed in "01" for arm in bench_fine_tune.ARMS for epoch in "012"
    ]
    of = {arm: [row for row in rows if row["arm"] == arm] for arm in bench_fine_tune.ARMS}
    plain, identity = of[bench_fine_tune.PLAIN], of[bench_fine_tune.IDENTITY]
    assert {row["top1_error"] for row in plain[::3]} == {row["top1_error"] for row in identity[::3]}
    distances = [float(row["gate_distance"]) for row in identity]
    assert distances[0] == distances[3] == 0 and min(distances[2], distances[5]) > 0
    assert {float(row["gate_distance"]) for row in plain} == {0.0}
    assert make_insertion_page.draw(rows).startswith("<?xml")
    assert rows[0].keys() == make_insertion_page.read("fine_tune")[0].keys()


def test_pruning(pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # By default each of three budgets is timed for eight seconds.
    monkeypatch.setattr(senet, "prune_gates", partial(senet.prune_gates, seconds=0.05))
    out = tmp_path / "report.txt"
    bench_prune.main([pictures, "--model", "se_resnet8", "--epochs", "1", "--out", str(out)])
    assert "| 1 points |" in make_insertion_page.prune(out.read_text())
