"""The page's pictures. Each function returns one inline SVG; colours are explained in `svg.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from senet.insight.results import Comparison, EpochMetrics, Interval, TrainingRun, Variant
from senet.insight.results_rows import last_errors, percent
from senet.report.by_class import ClassError
from senet.report.svg import INK, LINE, MUTED, PLAIN, SE, SURFACE, drawing, inline, new_figure
from senet.text import counted, shortened, signed

Counts = NDArray[np.int64]

WIDTH = 400
WIDE = 440

# Variants differ by dash and marker too, for readers who do not see the colours apart.
_COLOUR: dict[Variant, str] = {"plain": PLAIN, "se": SE}
_DASH: dict[Variant, str] = {"plain": "--", "se": "-"}
_LABEL: dict[Variant, str] = {"plain": "plain", "se": "SE"}
_VARIANTS: tuple[Variant, Variant] = ("plain", "se")


def seed_differences(comparison: Comparison) -> str:
    """Draw the difference in top-1 error of every seed, and the interval of their mean."""
    plain, se = last_errors(comparison, "plain"), last_errors(comparison, "se")
    differences = [b - a for a, b in zip(plain, se, strict=True)]
    interval, seeds = comparison.top1, comparison.seeds
    with drawing():
        figure = new_figure(WIDE, 96 + 26 * (len(seeds) + 1))
        axes = figure.add_subplot()
        rows = list(range(len(seeds), 0, -1))
        axes.axvline(0, color=MUTED, linewidth=1.2)
        axes.hlines(rows, 0, differences, color=LINE, linewidth=2)
        axes.scatter(differences, rows, s=55, color=[SE if d < 0 else PLAIN for d in differences], zorder=3)
        ends = [interval.low, interval.high]
        axes.plot(ends, [0, 0], color=INK, linewidth=6, alpha=0.22, solid_capstyle="butt")
        axes.plot(ends, [0, 0], "|", color=INK, markersize=13)
        axes.plot([interval.difference], [0], "D", color=INK, markersize=8)
        last = "mean" if len(seeds) > 1 else "interval"
        axes.set_yticks([*rows, 0], [*(f"seed {seed}" for seed in seeds), last])
        axes.set_ylim(-0.7, len(seeds) + 0.7)
        _frame_zero(axes, [*differences, *ends])
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("SE − plain, percentage points of top-1 error")
        _sides(axes)
    shown = ", ".join(f"seed {s}: {signed(d)}" for s, d in zip(seeds, differences, strict=True))
    return inline(
        figure,
        "seed-differences",
        "Difference in top-1 error, seed by seed",
        f"SE minus plain in percentage points. {shown}. Mean {_interval(interval)}.",
    )


def error_curves(comparison: Comparison) -> str:
    """Draw the top-1 test error of every training by epoch, and each network's mean."""
    title = "Test error by epoch"
    figure = _curves(comparison, lambda epoch: epoch.top1_error, "top-1 test error, %")
    return inline(figure, "test-error", title, _last_values(comparison, lambda e: e.top1_error, " %"))


def loss_curves(comparison: Comparison) -> str:
    """Draw the training loss of every training by epoch, and each network's mean."""
    figure = _curves(comparison, lambda epoch: epoch.train_loss, "training loss")
    description = _last_values(comparison, lambda e: e.train_loss, "")
    return inline(figure, "train-loss", "Training loss by epoch", description)


def class_differences(errors: Sequence[ClassError]) -> str:
    """Draw the error of each class for both networks, joined by a line, in the order given."""
    with drawing():
        figure = new_figure(WIDE, 62 + 24 * len(errors))
        axes = figure.add_subplot()
        rows = np.arange(len(errors))[::-1]
        plain, se = [e.plain for e in errors], [e.se for e in errors]
        for row, error in zip(rows, errors, strict=True):
            colour = SE if error.difference < 0 else PLAIN
            axes.plot(
                [error.plain, error.se],
                [row, row],
                color=colour,
                linewidth=5,
                alpha=0.35,
                solid_capstyle="butt",
            )
            _beside(axes, row, signed(error.difference, 1))
        axes.scatter(plain, rows, s=48, facecolor=SURFACE, edgecolor=PLAIN, linewidth=2, zorder=3)
        axes.scatter(se, rows, s=48, color=SE, zorder=4)
        axes.set_yticks(rows, [shortened(e.name) for e in errors])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(-0.7, len(errors) - 0.3)
        axes.set_xlabel("error of the class, %")
        axes.grid(axis="y", visible=False)
        _beside(axes, len(errors) - 0.35, "change", MUTED)
    listed = "; ".join(f"{e.name}: plain {e.plain:.1f} %, SE {e.se:.1f} %" for e in errors)
    return inline(figure, "class-errors", "Error by class, plain and SE", listed)


def added_costs(percents: Sequence[tuple[str, float, float, float]]) -> str:
    """Draw what SE adds to each cost.

    Args:
        percents: for each cost its name and, in percent more than plain, the value and from what
            to what repeated measurements spread.
    """
    with drawing():
        figure = new_figure(WIDE, 58 + 30 * len(percents))
        axes = figure.add_subplot()
        rows = list(range(len(percents)))[::-1]
        for row, (_, value, low, high) in zip(rows, percents, strict=True):
            axes.barh(row, value, height=0.42, color=SE, alpha=0.75)
            if low < high:
                axes.plot([low, high], [row, row], color=INK, linewidth=2)
            _beside(axes, row, percent(value))
        axes.axvline(0, color=MUTED, linewidth=1.2)
        axes.set_yticks(rows, [name for name, *_ in percents])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("% relative to plain")
        _frame_zero(axes, [bound for _, *values in percents for bound in values])
    listed = "; ".join(f"{name}: {percent(value)}" for name, value, _, _ in percents)
    return inline(figure, "added-costs", "What SE adds to each cost", listed)


def confusion(counts: Counts, classes: Sequence[str], variant: Variant, most: int) -> str:
    """Draw how often each class was predicted for each; mistakes are shaded, right answers are not.

    Args:
        counts: shape (true, guessed).
        classes: names in class order.
        variant: which network's counts they are.
        most: the mistake count that gets the full shade, shared by both networks.
    """
    off_diagonal = ~np.eye(len(classes), dtype=bool)
    shades = np.where(off_diagonal, counts / max(1, most), 0)
    title = f"Confusion matrix: {_LABEL[variant]}"
    texts = np.where(counts > 0, counts.astype(str), "")
    figure = _matrix(shades, texts, classes, lambda _: _COLOUR[variant])
    mistakes = int(counts[off_diagonal].sum())
    return inline(
        figure,
        f"confusion-{variant}",
        title,
        f"{counted(mistakes, 'mistake')} in {counted(int(counts.sum()), 'prediction')}.",
    )


def confusion_change(change: Counts, classes: Sequence[str]) -> str:
    """Draw SE minus plain counts, coloured by which network did better in that cell."""
    # More on the diagonal is good for SE, more beside it is good for plain.
    for_se = np.where(np.eye(len(classes), dtype=bool), change, -change)
    shades = for_se / max(1, int(np.abs(change).max()))
    texts = np.array([[signed(value, 0) if value else "" for value in row] for row in change])
    figure = _matrix(shades, texts, classes, lambda shade: SE if shade > 0 else PLAIN)
    gained = int(np.trace(change))
    description = f"With SE, the number of correct predictions changed by {signed(gained, 0)} over all seeds."
    return inline(figure, "confusion-change", "Change from plain to SE", description)


def _curves(comparison: Comparison, value: Callable[[EpochMetrics], float], label: str) -> Figure:
    with drawing():
        figure = new_figure(WIDTH, 280)
        axes = figure.add_subplot()
        shown: list[list[float]] = []
        for variant in _VARIANTS:
            runs = comparison.runs_of(variant)
            colour, dash = _COLOUR[variant], _DASH[variant]
            marker = "o" if len(runs[0].history) < 3 else ""
            for run in runs if len(runs) > 1 else []:
                curve = [value(epoch) for epoch in run.history]
                axes.plot(_epochs(run), curve, dash, color=colour, linewidth=0.9, alpha=0.45, marker=marker)
                shown.append(curve)
            mean = _mean_curve(runs, value)
            axes.plot(range(1, len(mean) + 1), mean, dash, color=colour, linewidth=2.4, marker=marker)
            shown.append(mean)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        _frame_late(axes, shown)
    return figure


def _epochs(run: TrainingRun) -> list[int]:
    return [epoch.epoch for epoch in run.history]


def _mean_curve(runs: Sequence[TrainingRun], value: Callable[[EpochMetrics], float]) -> list[float]:
    by_epoch = zip(*(run.history for run in runs), strict=False)
    return [float(np.mean([value(epoch) for epoch in epochs])) for epochs in by_epoch]


def _frame_late(axes: Axes, curves: Sequence[Sequence[float]]) -> None:
    """Leave the first quarter's heights out of the frame where they would flatten everything after."""
    epochs = max(len(curve) for curve in curves)
    finite = [value for curve in curves for value in curve if math.isfinite(value)]
    late = [value for curve in curves for value in curve[epochs // 4 :] if math.isfinite(value)]
    if not late:
        return
    # With an epoch or two there is no curve, and only zero gives the eye a measure.
    low, high = min(finite) if epochs > 2 else 0.0, max(finite)
    top = max(late) if epochs >= 10 and high > 1.5 * max(late) else high
    axes.set_ylim(max(0.0, low - 0.08 * (top - low)), top + 0.08 * (top - low) or 1)
    if top < high:
        note = f"{high:.3g} at first (outside the plot)"
        corner = {"ha": "right", "va": "top", "color": MUTED, "fontsize": 11}
        axes.text(0.98, 0.98, note, corner, transform=axes.transAxes)


def _last_values(comparison: Comparison, value: Callable[[EpochMetrics], float], unit: str) -> str:
    def last(variant: Variant) -> str:
        return f"{_mean_curve(comparison.runs_of(variant), value)[-1]:.2f}{unit}"

    epochs = len(comparison.runs[0].history)
    return f"After epoch {epochs}, mean over the seeds: plain {last('plain')}, SE {last('se')}."


def _frame_zero(axes: Axes, values: Sequence[float]) -> None:
    low, high = min(0.0, *values), max(0.0, *values)
    margin = 0.1 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + margin)


def _beside(axes: Axes, height: float, text: str, colour: str = INK) -> None:
    """Write ``text`` to the right of the frame."""
    axes.text(1.02, height, text, transform=axes.get_yaxis_transform(), va="center", color=colour)


def _sides(axes: Axes) -> None:
    """Name the two sides of zero above the frame, where there is room for the words."""
    low, high = axes.get_xlim()
    for share, words, align, colour in (
        (-low / (high - low), "◀ SE better", "right", SE),
        (high / (high - low), "plain better ▶", "left", PLAIN),
    ):
        if share > 0.25:
            gap = (-8 if align == "right" else 8, 4)
            axes.annotate(
                words, (0, 1), gap, axes.get_xaxis_transform(), "offset points", ha=align, color=colour
            )


def _matrix(
    shades: NDArray[np.float64],
    texts: NDArray[np.str_],
    classes: Sequence[str],
    colour: Callable[[float], str],
) -> Figure:
    """Draw a square of cells; each is as opaque as its shade is far from zero."""
    count = len(classes)
    names = [shortened(name, 14) for name in classes]
    with drawing():
        figure = new_figure(WIDTH, WIDTH)
        axes = figure.add_subplot()
        for i, j in zip(*np.nonzero(np.abs(shades) > 0.005), strict=True):
            shade = float(shades[i, j])
            # Above this the numbers on the cells would be hard to read.
            opacity = 0.55 * min(1.0, abs(shade))
            axes.add_patch(
                Rectangle((j - 0.5, i - 0.5), 1, 1, color=colour(shade), alpha=opacity, linewidth=0)
            )
        for i in range(count):
            axes.add_patch(Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=LINE, linewidth=1))
        size = 16 if count <= 4 else 11 if count <= 10 else 9
        if count <= 16:
            for i, j in np.ndindex(count, count):
                if texts[i, j]:
                    axes.text(j, i, texts[i, j], ha="center", va="center", fontsize=size)
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.grid(visible=False)
        label_size = 11 if count <= 16 else 8
        axes.set_xticks(range(count), names, rotation=90 if count > 3 else 0, fontsize=label_size)
        axes.set_yticks(range(count), names, fontsize=label_size)
        axes.tick_params(length=0, labelcolor=INK)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
    return figure


def _interval(interval: Interval) -> str:
    decimals = interval.decimals
    difference, low, high = (
        signed(value, decimals) for value in (interval.difference, interval.low, interval.high)
    )
    return f"{difference}, {100 * interval.confidence:g} % interval {low} to {high}"
