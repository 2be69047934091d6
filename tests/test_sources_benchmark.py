"""The benchmark of sources fetches the same pictures from each of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from benchmarks import bench_sources
from benchmarks.bench_sources import FOLDER

from senet.report.timings_csv import read_csv

pytestmark = pytest.mark.slow


def test_every_source_is_compared_with_class_folders(tmp_path: Path) -> None:
    before = os.environ.get("SENET_CACHE")
    bench_sources.main(["--smoke", "--seconds", "0.01", "--out", str(tmp_path / "rows.csv")])
    rows = read_csv(tmp_path / "rows.csv")
    assert len(rows) == 6 and {row.ratio_to for row in rows} == {FOLDER, ""}
    assert all(row.batch == 20 and row.milliseconds.median > 0 for row in rows)
    assert os.environ.get("SENET_CACHE") == before


def test_all_sources_hold_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENET_CACHE", str(tmp_path / "cache"))
    found = set()
    for opened in bench_sources.store(tmp_path / "data", bench_sources.pictures(100)).values():
        source = opened()
        pictures = [np.asarray(source.read(index)).tobytes() for index in range(len(source))]
        found.add(len(pictures))
        assert len(set(pictures)) == len(pictures) and source.labels.max() == 9
    assert len(found) == 1
