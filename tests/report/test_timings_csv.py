from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from senet import files
from senet.errors import SenetError
from senet.report.timings_csv import COLUMNS, read_csv, to_csv, write_csv
from tests.report.timings import TIMINGS, compared, timing


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    write_csv(TIMINGS, tmp_path / "rows.csv")
    assert tuple(read_csv(tmp_path / "rows.csv")) == TIMINGS


def test_every_number_is_in_its_column(tmp_path: Path) -> None:
    row = compared("SE", 4.0, "plain", 3.0, bytes=1000, peak_bytes=77, note="a note", batch=5)
    write_csv([row], tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as lines:
        (cells,) = csv.DictReader(lines)
    assert tuple(cells) == COLUMNS
    assert cells == {
        **{"benchmark": "tail", "name": "SE", "shape": "256x56x56", "batch": "5", "precision": "fp32"},
        **{"layout": "channels_last", "mode": "train", "n": "7"},
        **{"p20_ms": "3.6", "p50_ms": "4", "p80_ms": "4.8"},
        **{"ratio_to": "plain", "ratio_p20": "2.7", "ratio_p50": "3", "ratio_p80": "3.6"},
        **{"bytes": "1000", "peak_bytes": "77", "note": "a note", "hardware": "a processor, 2 cores"},
        **{"threads": "2", "versions": "torch 9.9, timm 1", "date": "2026-01-02T03:04:05"},
    }


def test_times_keep_six_digits() -> None:
    row = timing("x", 1234.56789)
    assert ",1234.57," in to_csv([row])
    assert ",0.000123457," in to_csv([timing("x", 0.000123456789)])


def test_the_old_file_stays_whole_where_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    write_csv(TIMINGS[:1], path)
    old = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(SenetError, match="disk is full"):
        write_csv(TIMINGS, path)
    assert path.read_bytes() == old and [each.name for each in tmp_path.iterdir()] == ["rows.csv"]


def test_a_ratio_of_other_rounds_than_the_times_is_a_defect() -> None:
    row = compared("SE", 4.0, "plain", 3.0)
    assert row.ratio is not None
    with pytest.raises(AssertionError):
        to_csv([replace(row, ratio=replace(row.ratio, count=3))])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace("p50_ms", "median"), "its columns must be benchmark, name"),
        (lambda text: text[: len(text) // 2], "cannot be read at line 3"),
        (lambda text: text.replace(",7,", ",seven,", 1), "line 2 .*seven"),
        (lambda text: text.replace(",train,", ",both,", 1), "the mode is 'both', not train or infer"),
        (lambda text: text.replace(",256x56x56,", ",256,56,56,", 1), r"\(it has a different number of cells"),
        (lambda text: "", "its columns must be"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, change: object, sentence: str) -> None:
    path = tmp_path / "rows.csv"
    assert callable(change)
    path.write_text(change(to_csv(TIMINGS[:4])), encoding="utf-8")
    with pytest.raises(SenetError, match=sentence):
        read_csv(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SenetError, match="cannot be read"):
        read_csv(tmp_path / "rows.csv")
