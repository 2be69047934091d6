"""Benchmarks run tiny."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from senet.insight.results_timing import Timing
from senet.report.timings_csv import read_csv


def smoke(script: Any, out: Path, *words: str) -> list[Timing]:
    """Return the rows that a benchmark writes when it only tells that it runs."""
    script.main(["--smoke", "--seconds", "0.01", "--out", str(out), *words])
    return read_csv(out)


def pairs(rows: list[Timing]) -> set[tuple[str, str]]:
    """Return what was compared with what."""
    return {(row.name, row.ratio_to) for row in rows if row.ratio is not None}
