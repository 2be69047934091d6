from __future__ import annotations

from typing import Any

import pytest

from senet.insight.results_timing import Machine
from senet.insight.stopwatch import InTurns
from senet.insight.timing_rows import timing_rows

COMMON: dict[str, Any] = {
    "benchmark": "tail",
    "shape": "8x4x4",
    "batch": 2,
    "precision": "fp32",
    "layout": "channels_last",
    "mode": "train",
    "machine": Machine(hardware="a processor", threads=2, versions="torch 1", date="2026-01-01"),
}
TURNS = InTurns({"SE": (0.003, 0.004, 0.005), "plain": (0.002, 0.002, 0.002), "copy": (0.001, 0.001, 0.001)})


def test_a_row_for_each_comparison_and_one_where_there_is_none() -> None:
    rows = timing_rows(TURNS, [("SE", "copy"), ("plain", "SE"), ("SE", "plain"), ("SE", "absent")], **COMMON)
    assert [(row.name, row.ratio_to) for row in rows] == [
        *(("SE", "copy"), ("SE", "plain"), ("plain", "SE"), ("copy", ""))
    ]
    ratios = [row.ratio.median if row.ratio else None for row in rows]
    assert ratios == [pytest.approx(4), pytest.approx(2), pytest.approx(0.5), None]
    times = [row.milliseconds.median for row in rows if row.milliseconds]
    assert times == pytest.approx([4, 4, 2, 1])


def test_what_is_known_of_a_name_is_in_all_its_rows() -> None:
    rows = timing_rows(
        TURNS,
        [("SE", "copy"), ("SE", "plain")],
        bytes_of={"SE": 7},
        peak_of={"plain": 9},
        note_of={"copy": "a note"},
        **COMMON,
    )
    assert [(row.bytes, row.peak_bytes, row.note) for row in rows] == [
        *((7, None, ""), (7, None, ""), (None, 9, ""), (None, None, "a note"))
    ]
    assert all((row.shape, row.batch, row.mode) == ("8x4x4", 2, "train") for row in rows)
