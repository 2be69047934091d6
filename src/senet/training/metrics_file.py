"""The learning curve as a table for people: ``metrics.csv``."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields
from pathlib import Path

from senet.files import write_text
from senet.insight.results import EpochMetrics

METRICS_NAME = "metrics.csv"
_TIMES = ("train_seconds", "data_wait")


def write_metrics(folder: Path, history: tuple[EpochMetrics, ...]) -> None:
    """Write one row per epoch, whole or not at all.

    Times are left out, so that an interrupted and resumed training writes the same bytes as one
    that ran through.
    """
    columns = [each.name for each in fields(EpochMetrics) if each.name not in _TIMES]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(metrics) for metrics in history)
    write_text(folder / METRICS_NAME, stream.getvalue())
