"""Timings as the rows of a CSV file and back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from senet.errors import SenetError
from senet.files import write_text
from senet.insight.results import Spread
from senet.insight.results_timing import Machine, Timing
from senet.text import csv_cell

COLUMNS = (
    *("benchmark", "name", "shape", "batch", "precision", "layout", "mode"),
    *("n", "p20_ms", "p50_ms", "p80_ms", "ratio_to", "ratio_p20", "ratio_p50", "ratio_p80"),
    *("bytes", "peak_bytes", "note", "hardware", "threads", "versions", "date"),
)
_MODES = ("train", "infer")


def write_csv(timings: Iterable[Timing], path: Path) -> None:
    """Write ``timings`` to ``path``, whole or not at all.

    Raises:
        SenetError: the file cannot be written.
    """
    write_text(path, to_csv(timings))


def to_csv(timings: Iterable[Timing]) -> str:
    """Return a line for each timing below the names of the columns; times with six digits."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_cells(timing) for timing in timings)
    return stream.getvalue()


def read_csv(path: Path) -> list[Timing]:
    """Read what `write_csv` wrote.

    Raises:
        SenetError: the file is missing, or no such file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SenetError(f"{path} cannot be read ({error}): give a CSV file of timings.") from error
    reader = csv.DictReader(io.StringIO(text), strict=True)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise SenetError(f"{path} is not a CSV file of timings: its columns must be {', '.join(COLUMNS)}.")
    timings = []
    try:
        for row in reader:
            timings.append(_timing(row))
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise SenetError(
            f"{path} cannot be read at line {reader.line_num} ({error}): measure again."
        ) from error
    return timings


def _cells(timing: Timing) -> dict[str, object]:
    time, ratio, machine = timing.milliseconds, timing.ratio, timing.machine
    assert ratio is None or (time is not None and ratio.count == time.count)
    cells: dict[str, object] = {
        **{name: getattr(timing, name) for name in COLUMNS[:7]},
        "ratio_to": timing.ratio_to,
        "bytes": timing.bytes,
        "peak_bytes": timing.peak_bytes,
        "note": timing.note,
        **{name: getattr(machine, name) for name in COLUMNS[-4:]},
    }
    if time is not None:
        cells |= {"n": time.count, "p20_ms": time.p20, "p50_ms": time.median, "p80_ms": time.p80}
    if ratio is not None:
        cells |= {"ratio_p20": ratio.p20, "ratio_p50": ratio.median, "ratio_p80": ratio.p80}
    return {
        name: f"{cell:.6g}" if isinstance(cell, float) else csv_cell(cell) for name, cell in cells.items()
    }


def _timing(row: dict[str, str]) -> Timing:
    if None in row or None in row.values():
        raise ValueError("it has a different number of cells than columns")
    if row["mode"] not in _MODES:
        raise ValueError(f"the mode is {row['mode']!r}, not {' or '.join(_MODES)}")
    return Timing(
        **{
            name: row[name]
            for name in ("benchmark", "name", "shape", "precision", "layout", "ratio_to", "note")
        },
        mode="train" if row["mode"] == "train" else "infer",
        batch=int(row["batch"]),
        milliseconds=_spread(row, "p20_ms", "p50_ms", "p80_ms"),
        ratio=_spread(row, "ratio_p20", "ratio_p50", "ratio_p80"),
        bytes=int(row["bytes"]) if row["bytes"] else None,
        peak_bytes=int(row["peak_bytes"]) if row["peak_bytes"] else None,
        machine=Machine(
            hardware=row["hardware"],
            threads=int(row["threads"]),
            versions=row["versions"],
            date=row["date"],
        ),
    )


def _spread(row: dict[str, str], p20: str, median: str, p80: str) -> Spread | None:
    if not row[median]:
        return None
    return Spread(median=float(row[median]), p20=float(row[p20]), p80=float(row[p80]), count=int(row["n"]))
