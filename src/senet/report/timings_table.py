"""Timings as bars in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from senet.insight.results import Spread
from senet.insight.results_rows import significant
from senet.insight.results_timing import Timing
from senet.text import counted

if TYPE_CHECKING:
    from rich.table import Table

WIDEST = 110


def panels(timings: Iterable[Timing]) -> list[tuple[str, list[Timing]]]:
    """Return the timings that belong in one chart, each with its title, in the order they come in."""
    return [(title, list(rows)) for title, rows in groupby(timings, _title)]


def bars(rows: Iterable[Timing]) -> list[tuple[str, Spread, list[Timing]]]:
    """Return the name and the time of each thing that ran, and the rows that compare it with others."""
    named = [(name, list(each)) for name, each in groupby(rows, lambda row: row.name)]
    return [
        (name, each[0].milliseconds, [row for row in each if row.ratio is not None])
        for name, each in named
        if each[0].milliseconds is not None
    ]


def as_rich(rows: Sequence[Timing], width: int) -> Table:
    """Return one chart for a terminal of ``width`` columns: a bar for each time, and the ratios."""
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, width=min(width, WIDEST), padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(max_width=22)
    table.add_column(ratio=1, min_width=min(20, width // 4))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(max_width=max(16, min(width, WIDEST) - 56))
    drawn = bars(rows)
    longest = max((time.median for _, time, _ in drawn), default=1)
    for name, time, compared in drawn:
        ratios = Text("\n").join(
            Text.assemble(ratio_text(row), (f" ({range_text(row)})", "dim")) for row in compared
        )
        bar = Bar(longest, 0, time.median, color="blue")
        table.add_row(Text(name), bar, Text(f"{significant(time.median)} ms"), ratios)
    return table


def ratio_text(row: Timing) -> str:
    """Return for example ``"1.02 × plain"``."""
    assert row.ratio is not None
    return f"{row.ratio.median:.2f} × {row.ratio_to}"


def range_text(row: Timing) -> str:
    """Return from where to where the middle 60 % of a ratio lie: ``"0.99–1.05"``."""
    assert row.ratio is not None
    return f"{row.ratio.p20:.2f}–{row.ratio.p80:.2f}"


def conclusion(timings: Iterable[Timing]) -> str:
    """Return what SE costs the whole network, in one sentence."""
    words = {"train": "A training step", "infer": "Inference"}
    sentences = []
    for mode, what in words.items():
        # The first comparison of networks is that of the twins.
        row = next((r for r in timings if r.benchmark == "network" and r.mode == mode and r.ratio), None)
        if row is not None and row.ratio is not None:
            sentences.append(
                f"{what} with SE takes {row.ratio.median:.2f} times as long as without "
                f"({range_text(row)}, {counted(row.ratio.count, 'round')})."
            )
    return " ".join(sentences)


def _title(timing: Timing) -> str:
    shape = timing.shape.replace("x", "×")
    if timing.benchmark == "tail":
        return f"Tail on maps of {shape}, forward and backward"
    if timing.benchmark == "network":
        return "Training step" if timing.mode == "train" else f"Inference, {_images(timing.batch)}"
    return timing.benchmark


def _images(count: int) -> str:
    return counted(count, "image")
