from __future__ import annotations

import csv
from dataclasses import asdict, replace
from pathlib import Path

from senet.training.metrics_file import METRICS_NAME, write_metrics
from tests.training.logs.records import metrics


def test_times_are_left_out_and_all_else_comes_back(tmp_path: Path) -> None:
    history = (metrics(1), metrics(2))
    write_metrics(tmp_path, history)
    path = tmp_path / METRICS_NAME
    first = path.read_bytes()
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    for row, each in zip(rows, history, strict=True):
        expected = asdict(each)
        del expected["train_seconds"], expected["data_wait"]
        assert row == {name: "" if value is None else str(value) for name, value in expected.items()}
    slower = tuple(replace(each, train_seconds=99.0, data_wait=0.9) for each in history)
    write_metrics(tmp_path, slower)
    assert path.read_bytes() == first, "a slower run writes the same bytes"
