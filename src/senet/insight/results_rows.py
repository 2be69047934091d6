"""The one place that turns a comparison into rows: for Python, the terminal, the page and documentation."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from senet.shown import Rows, Table, skipped
from senet.text import counted, shortened, signed

if TYPE_CHECKING:
    from senet.insight.results import Comparison, Interval, Spread, Variant

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
    """One metric of both networks and the difference between them.

    Attributes:
        unit: of both values, where neither they nor the difference name it.
    """

    metric: Cell
    plain: Cell
    se: Cell
    difference: Cell
    unit: str = ""

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
            unit="images/s",
        ),
        Row(
            Cell("Inference time", "ms per image"),
            _speed(plain.inference_ms_per_image),
            _speed(se.inference_ms_per_image),
            _more_time(cost.inference_time_ratio),
            unit="ms/image",
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


def short_table(comparison: Comparison) -> Table:
    """Return the table for Python: what must be known first, the verdict, and all rows in short."""
    findings = [each.sentence for each in comparison.findings]
    title = [comparison.verdict.sentence]
    if comparison.verdict.outcome == "not learned":
        # The verdict has the first finding in it, and comes before all others.
        findings[:1] = [*title, *(each.advice for each in comparison.findings[:1])]
        title = []
    history, data = comparison.runs[0].history, comparison.data
    return Table(
        warnings=(*findings, *data.warnings),
        title=tuple(title),
        head=HEADER,
        lines=[_in_short(row) for row in rows(comparison)],
        numbers=(1, 2, 3),
        notes=(
            f"{comparison.model} on {data.name}: {counted(len(comparison.seeds), 'seed')}, "
            f"{counted(len(history), 'epoch', 'epochs')}, {sum(data.train_counts):,} training and "
            f"{len(data.test_labels):,} test images.",
            *skipped(data.unreadable),
        ),
    )


def training_rows(comparison: Comparison) -> Rows:
    """Return one row for each training, plain before SE, with what its network costs."""
    costs = {"plain": comparison.cost.plain, "se": comparison.cost.se}
    return [
        {
            "model": comparison.model,
            "variant": run.variant,
            "seed": run.seed,
            "epochs": run.history[-1].epoch,
            "train_loss": run.history[-1].train_loss,
            "test_loss": run.history[-1].test_loss,
            "top1_error": run.history[-1].top1_error,
            "top5_error": run.history[-1].top5_error,
            "train_seconds": sum(each.train_seconds for each in run.history),
            "parameters": costs[run.variant].parameters,
            "multiply_adds": costs[run.variant].multiply_adds,
            "training_images_per_second": costs[run.variant].training_images_per_second.median,
            "inference_ms_per_image": costs[run.variant].inference_ms_per_image.median,
            "peak_memory_bytes": costs[run.variant].peak_memory_bytes,
        }
        for run in comparison.runs
    ]


def significant(value: float, digits: int = 3) -> str:
    """Return ``value`` with at least ``digits`` digits: 0.0123, 1.23, 12.3, 123, 1,234."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
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


def _in_short(row: Row) -> tuple[str, str, str, str]:
    plain, se = (f"{each.value} {row.unit}" if row.unit else str(each) for each in (row.plain, row.se))
    return row.metric.value, plain, se, str(row.difference)


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
    return percent(100 * (se / plain - 1)) if plain else "–"
