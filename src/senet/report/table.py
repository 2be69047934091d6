"""The one place that turns results into rows: for the terminal, the page and documentation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from senet.insight.results import Comparison, Interval, Spread, Variant, signed
from senet.text import shortened

if TYPE_CHECKING:
    from rich.table import Table

HEADER = ("", "plain", "SE", "SE − plain")
NO_DIFFERENCE = "none measurable"

_MIB = 1024**2


@dataclass(frozen=True)
class Cell:
    """A number as text and, in smaller print, how far to trust it."""

    value: str
    detail: str = ""

    def __str__(self) -> str:
        """Return both on one line."""
        return f"{self.value} ({self.detail})" if self.detail else self.value


@dataclass(frozen=True)
class Row:
    """One metric of both networks and the difference between them."""

    metric: Cell
    plain: Cell
    se: Cell
    difference: Cell

    def cells(self) -> tuple[Cell, Cell, Cell, Cell]:
        """Return the cells in the order of `HEADER`."""
        return self.metric, self.plain, self.se, self.difference


def error_rows(comparison: Comparison) -> list[Row]:
    """Return what SE buys: error after the last epoch, beside what no network at all comes to."""
    rows = [_error_row("Top-1 error", comparison, "top1_error", comparison.top1)]
    if comparison.top5 is not None:
        rows.append(_error_row("Top-5 error", comparison, "top5_error", comparison.top5))
    constant = comparison.data.constant_answer()
    name = shortened(comparison.data.classes[constant.label], 10)
    error = Cell(f"{constant.error:.2f} %")
    return [*rows, Row(Cell("Majority class", f"always “{name}”"), error, error, Cell(""))]


def cost_rows(comparison: Comparison) -> list[Row]:
    """Return what SE costs: parameters, multiply-adds, time and memory."""
    cost = comparison.cost
    plain, se = cost.plain, cost.se
    return [
        _count_row("Parameters", "", plain.parameters, se.parameters),
        _count_row("Multiply-adds", "for one image", plain.multiply_adds, se.multiply_adds),
        Row(
            Cell("Training speed", "images per second"),
            _speed(plain.training_images_per_second),
            _speed(se.training_images_per_second),
            _more_time(cost.training_time_ratio),
        ),
        Row(
            Cell("Inference time", "ms per image"),
            _speed(plain.inference_ms_per_image),
            _speed(se.inference_ms_per_image),
            _more_time(cost.inference_time_ratio),
        ),
        Row(
            Cell("Peak memory", "of a training step"),
            Cell(f"{significant(plain.peak_memory_bytes / _MIB)} MiB"),
            Cell(f"{significant(se.peak_memory_bytes / _MIB)} MiB"),
            Cell(_more_percent(plain.peak_memory_bytes, se.peak_memory_bytes)),
        ),
    ]


def rows(comparison: Comparison) -> list[Row]:
    """Return the whole table: what SE buys, then what it costs."""
    return error_rows(comparison) + cost_rows(comparison)


def notes(comparison: Comparison) -> list[str]:
    """Return the sentences without which the small print of the table cannot be read."""
    cost, seeds = comparison.cost, len(comparison.seeds)
    training, inference = cost.training_time_ratio.count, cost.inference_time_ratio.count
    pairs = f"{training} pairs"
    if training != inference:
        pairs = f"{training} pairs for training and {inference} for inference"
    interval = f"{100 * comparison.top1.confidence:.6g} % interval over {comparison.top1.over}"
    after_last = "Errors: after the last epoch"
    if seeds > 1:
        after_last += f", mean ± standard deviation over {seeds} seeds"
    found = [f"{after_last}; the difference with its {interval}."]
    if comparison.sampling_error is not None:
        images = f"{len(comparison.data.test_labels):,} test images"
        found.append(
            f"The interval covers other seeds on these same {images}; the sampling error of the images, "
            f"± {comparison.sampling_error:.2f} points (95 %), comes on top."
        )
    if comparison.looks:
        found.append(_about_looks(comparison.looks))
    ranges = "middle 60 % of the measurements"
    if cost.training_time_ratio.low is not None:
        ranges += "; time differences with their 95 % interval, none measurable where that includes zero"
    found.append(
        f"Speed: both networks timed in turns, {pairs}, batch size {cost.batch_size}, on {cost.device}; "
        f"medians, with the range of the {ranges}."
    )
    return found


def as_rich(table_rows: Sequence[Row]) -> Table:
    """Return the rows as a table for the terminal that fits 80 columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, leading=1)
    for i, title in enumerate(HEADER):
        table.add_column(Text(title), justify="left" if i == 0 else "right", no_wrap=True)
    for row in table_rows:
        cells = ((cell.value, f"\n{cell.detail}" if cell.detail else "") for cell in row.cells())
        table.add_row(*(Text.assemble(value, (detail, "dim")) for value, detail in cells))
    return table


def as_markdown(table_rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines: list[tuple[str, ...]] = [HEADER, ("---", "---:", "---:", "---:")]
    lines += [tuple(str(cell).replace("|", "\\|") for cell in row.cells()) for row in table_rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def as_html(table_rows: Sequence[Row]) -> str:
    """Return the rows as an HTML table; roles keep it a table where narrow screens restyle it."""
    head = "".join(f'<th role="columnheader" scope="col">{escape(title)}</th>' for title in HEADER)
    body = "".join(f'<tr role="row">{_html_cells(row)}</tr>' for row in table_rows)
    return (
        f'<table role="table" class="results"><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def significant(value: float, digits: int = 3) -> str:
    """Return ``value`` with at least ``digits`` digits: 0.0123, 1.23, 12.3, 123, 1,234."""
    if value == 0:
        return "0"
    exponent = int(f"{abs(value):.{digits - 1}e}".split("e")[1])
    return f"{value:,.{max(0, digits - 1 - exponent)}f}".replace("-", "−")


def percent(more: float) -> str:
    """Return a change in percent as text, with more digits where it is small."""
    digits = 1 if abs(more) >= 1 else 2
    if 0 < abs(more) < 0.01:
        digits = math.ceil(-math.log10(abs(more)))
    return f"{signed(more, digits)} %"


def ratio_ends(ratio: Spread) -> tuple[float, float]:
    """Return the interval of a time ratio; results from before there was one have the middle 60 %."""
    return (ratio.p20, ratio.p80) if ratio.low is None or ratio.high is None else (ratio.low, ratio.high)


def last_errors(comparison: Comparison, variant: Variant, field: str = "top1_error") -> list[float]:
    """Return a network's error after the last epoch, in the order of the seeds."""
    return [float(getattr(run.history[-1], field)) for run in comparison.runs_of(variant)]


def _html_cells(row: Row) -> str:
    metric, *others = (_html_cell(cell) for cell in row.cells())
    labelled = zip(others, HEADER[1:], strict=True)
    return f'<th role="rowheader" scope="row">{metric}</th>' + "".join(
        f'<td role="cell" data-label="{escape(label)}">{content}</td>' for content, label in labelled
    )


def _html_cell(cell: Cell) -> str:
    detail = f"<small>{escape(cell.detail)}</small>" if cell.detail else ""
    return f"<span>{escape(cell.value)}</span>{detail}"


def _about_looks(looks: Sequence[int]) -> str:
    kept = "all looks together claim a difference where there is none in at most 5 % of comparisons"
    if len(looks) == 1:
        return f"Seeds may be added later: the interval widens with every look, so that {kept}."
    numbers = f"{', '.join(map(str, looks[:-1]))} and {looks[-1]}"
    times = f"Looked at {len(looks)} times, after {numbers} seeds"
    if len(set(looks)) < len(looks):
        times += " and trainings extended in between"
    return f"{times}: the interval widens with every look, so that {kept}."


def _error_row(name: str, comparison: Comparison, field: str, interval: Interval) -> Row:
    plain, se = last_errors(comparison, "plain", field), last_errors(comparison, "se", field)
    decimals = interval.decimals
    bounds = f"{signed(interval.low, decimals)} to {signed(interval.high, decimals)}"
    return Row(
        Cell(name, "lower is better"),
        _mean(plain),
        _mean(se),
        Cell(f"{signed(interval.difference, decimals)} points", bounds),
    )


def _mean(errors: list[float]) -> Cell:
    spread = f"± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    return Cell(f"{statistics.fmean(errors):.2f} %", spread)


def _count_row(name: str, detail: str, plain: int, se: int) -> Row:
    more = Cell(_more_percent(plain, se), signed(se - plain, 0))
    return Row(Cell(name, detail), Cell(_count(plain)), Cell(_count(se)), more)


def _count(number: int) -> str:
    for word, size in (("billion", 10**9), ("million", 10**6)):
        if number >= size:
            return f"{significant(number / size, 4)} {word}"
    return f"{number:,}"


def _speed(spread: Spread) -> Cell:
    # With three digits, rounding alone could contradict a difference of less than a percent.
    return Cell(significant(spread.median, 4), f"{significant(spread.p20)} to {significant(spread.p80)}")


def _more_time(ratio: Spread) -> Cell:
    ends = ratio_ends(ratio)
    median, low, high = (signed(100 * (value - 1), 1) for value in (ratio.median, *ends))
    if ratio.low is not None and ends[0] <= 1 <= ends[1]:
        return Cell(NO_DIFFERENCE, f"{low} to {high} % time")
    return Cell(f"{median} % time", f"{low} to {high}")


def _more_percent(plain: int, se: int) -> str:
    return percent(100 * (se / plain - 1))
