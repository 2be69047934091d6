"""Timings as a bar chart in a file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from senet.errors import SenetError
from senet.files import write_bytes
from senet.insight.results import Spread
from senet.insight.results_rows import significant
from senet.insight.results_timing import Timing
from senet.report.svg import PIXELS_PER_INCH
from senet.report.timings_table import bars, panels, ratio_text

FORMATS = (".svg", ".png")
WIDTH = 760
_ROW, _ABOVE = 22, 46
_INK, _MUTED, _LINE, _FIRST, _OTHER = "#17191e", "#5b616d", "#e0e1e3", "#1f5fc4", "#9aa3b2"
# A fixed salt and no date make the same timings the same file.
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "senet",
    "font.size": 11,
    "text.color": _INK,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": _LINE,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "xtick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.left": False,
    "ytick.labelcolor": _INK,
}


def check_plot_path(path: Path) -> None:
    """Raise `SenetError` unless the chart can be drawn in the format that ``path`` ends in."""
    if path.suffix.lower() not in FORMATS:
        raise SenetError(f"The chart must be a file that ends in .svg or .png, not {path}.")


def write_plot(timings: Sequence[Timing], path: Path, title: str) -> None:
    """Draw ``timings`` to ``path``, an SVG or a PNG; whole or not at all.

    Raises:
        SenetError: it is neither, or the file cannot be written.
    """
    check_plot_path(path)
    kind = path.suffix.lower().removeprefix(".")
    stream = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        figure = draw(timings, title)
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(stream, format=kind, dpi=2 * PIXELS_PER_INCH, facecolor="white", metadata=metadata)
    write_bytes(path, stream.getvalue())


def draw(timings: Sequence[Timing], title: str) -> Figure:
    """Return a figure with a panel for each chart of `panels`: the first bar of each is set off."""
    charts = [(each, bars(rows)) for each, rows in panels(timings)]
    charts = [(each, drawn) for each, drawn in charts if drawn]
    heights = [_ABOVE + _ROW * len(drawn) for _, drawn in charts] or [_ABOVE]
    size = (WIDTH / PIXELS_PER_INCH, (sum(heights) + 40) / PIXELS_PER_INCH)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for each, (name, drawn) in zip(axes, charts, strict=False):
        each.set_title(name, loc="left", fontsize=11, color=_MUTED)
        _draw_bars(each, drawn)
    return figure


def _draw_bars(axes: Axes, drawn: Sequence[tuple[str, Spread, list[Timing]]]) -> None:
    rows = list(range(len(drawn)))[::-1]
    longest = max(time.p80 for _, time, _ in drawn)
    for row, (_, time, compared) in zip(rows, drawn, strict=True):
        axes.barh(row, time.median, height=0.6, color=_FIRST if row == rows[0] else _OTHER)
        axes.plot([time.p20, time.p80], [row, row], color=_INK, linewidth=1.2)
        texts = [f"{significant(time.median)} ms", *map(ratio_text, compared[:1])]
        axes.text(
            1.02, row, ",  ".join(texts), transform=axes.get_yaxis_transform(), va="center", fontsize=10
        )
    axes.set_yticks(rows, [name for name, *_ in drawn])
    axes.set_xlim(0, 1.02 * longest)
    axes.set_ylim(-0.6, len(drawn) - 0.4)
    axes.grid(axis="x")
    axes.set_xlabel("ms", color=_MUTED, fontsize=9)
