"""Make docs/performance.md from the rows of the benchmarks: ``python -m tools.make_performance_page``.

Nothing is measured here: the page says what ``benchmarks/results/*.csv`` say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.bench_profile import AFTER, BEFORE, PLAIN
from benchmarks.bench_tail import COPY, GRAPH, SENET, WITH, WITHOUT
from benchmarks.common import RESULTS

from senet.insight.results_rows import significant
from senet.insight.results_timing import Timing
from senet.insight.tails import Traffic, backward_traffic, forward_traffic
from senet.report.timings_csv import read_csv
from senet.report.timings_plot import write_plot
from senet.report.timings_table import range_text
from tools.make_networks_page import table
from tools.map_traffic import eager_traffic
from tools.performance_targets import CPU_TARGETS, GPU_TARGETS, Outcome, Target, outcomes

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "performance.md"
CHART = DOCS / "images" / "performance.svg"
TEXT = Path(__file__).with_name("performance_page.md")
CPU_FILES, GPU_FILES = ("tail", "network", "first_use", "profile"), ("gpu",)
NOT_MEASURED = "Not measured yet."
_MIB = 1024**2


def rows_of(files: Iterable[str], folder: Path = RESULTS) -> list[Timing]:
    """Return the rows of those files that exist."""
    paths = [folder / f"{name}.csv" for name in files]
    return [row for path in paths if path.exists() for row in read_csv(path)]


def machines(rows: Sequence[Timing]) -> str:
    """Return what was measured on, and when."""
    days: dict[str, set[str]] = {}
    for each in (row.machine for row in rows):
        threads = f"{each.threads} thread{'s' if each.threads > 1 else ''}"
        days.setdefault(f"{each.hardware}, {threads}: {each.versions}", set()).add(each.date[:10])
    lines = [f"* {machine}; {', '.join(sorted(dates))}." for machine, dates in days.items()]
    return "Measured on\n\n" + "\n".join(lines) if lines else NOT_MEASURED


def traffic_table() -> str:
    """Return how often maps are read and written, counted by running PyTorch's layers and from the passes."""
    lines: list[tuple[str, Traffic, Traffic]] = [
        ("layer by layer, without SE", *eager_traffic(se=False)),
        ("layer by layer, with SE", *eager_traffic(se=True)),
        ("fused, without SE", forward_traffic(WITHOUT), backward_traffic(WITHOUT)),
        ("fused, with SE", forward_traffic(WITH), backward_traffic(WITH)),
    ]
    titles = ("", "forward: reads", "writes", "backward: reads", "writes", "in all")
    cells = [(name, *forward, *backward, sum(forward + backward)) for name, forward, backward in lines]
    return table(titles, cells, 1)


def targets_table(targets: Sequence[Target], rows: Sequence[Timing]) -> str:
    """Return what was to be reached beside what was."""
    lines = [
        (each.target.sentence, each.where, *_numbers(each), each.count or "", each.verdict())
        for each in outcomes(targets, rows)
    ]
    return table(("target", "where", "median", "middle 60 %", "n", ""), lines, 2, 1)


def _numbers(outcome: Outcome) -> tuple[str, str]:
    if outcome.value is None:
        return "", ""
    digits = {"seconds": 1, "microseconds": 0}.get(
        outcome.target.unit, 3 if outcome.target.unit == "memory" else 2
    )
    if not outcome.reached and round(outcome.value, digits) == outcome.target.limit:
        digits += 1  # or it would look reached
    between = ""
    if outcome.low is not None and outcome.high is not None:
        between = f"{outcome.low:.{digits}f}–{outcome.high:.{digits}f}"
    return f"{outcome.value:.{digits}f}", between


def times_table(rows: Iterable[Timing], *, memory: bool = False, unit: str = "ms") -> str:
    """Return the times of everything, with all ratios; times in milliseconds or microseconds."""
    lines = []
    for (where, name), each in groupby(rows, lambda row: (_place(row), row.name)):
        compared = list(each)
        first = compared[0]
        ratios = "; ".join(
            f"{row.ratio.median:.2f} ({range_text(row)}) × {row.ratio_to}" for row in compared if row.ratio
        )
        peak = [f"{first.peak_bytes / _MIB:,.1f}" if first.peak_bytes else ""] if memory else []
        lines.append((where, name, *_time(first, unit), *peak, ratios, first.note.replace("|", "/")))
    if not lines:
        return NOT_MEASURED
    titles = ["where", "what", unit, "middle 60 %", "n", *(["peak, MiB"] if memory else []), "ratios", "note"]
    return table(titles, lines, 2, 2)


def _place(row: Timing) -> str:
    images = f"{row.batch} image{'s' if row.batch > 1 else ''}"
    mode = "training" if row.mode == "train" else "inference"
    shape = row.shape.replace("x", "×")
    return f"{shape}, {images}, {mode}, {row.precision}"


def _time(row: Timing, unit: str) -> tuple[str, str, object]:
    time, scale = row.milliseconds, 1000 if unit == "µs" else 1
    if time is None:
        return "", "", ""
    low, high = (significant(scale * value) for value in (time.p20, time.p80))
    return significant(scale * time.median), f"{low}–{high}", time.count


def bandwidth_table(rows: Sequence[Timing]) -> str:
    """Return how fast the bytes counted went by, beside a plain copy of as many."""
    lines = []
    for row in rows:
        if row.name in (SENET, GRAPH) and row.ratio_to == COPY and row.milliseconds and row.bytes:
            copy = next(each for each in rows if each.name == COPY and _place(each) == _place(row))
            assert copy.milliseconds is not None and copy.bytes is not None
            speeds = [each.bytes / 1e6 / each.milliseconds.median for each in (row, copy)]  # type: ignore[operator,union-attr]
            megabytes = f"{row.bytes / 1e6:,.1f}"
            lines.append(
                (_place(row), row.name, megabytes, *map(significant, speeds), f"{speeds[0] / speeds[1]:.0%}")
            )
    titles = ("where", "what", "MB counted", "GB/s", "GB/s of the copy", "share")
    return table(titles, lines, 2) if lines else NOT_MEASURED


def profile_table(rows: Sequence[Timing]) -> str:
    """Return where the time of a training step goes, before and after, and in timm's plain network."""
    times = {row.name: row.milliseconds for row in rows if row.benchmark == "profile" and row.milliseconds}
    if not times:
        return NOT_MEASURED
    names = (BEFORE, AFTER, PLAIN)
    lines, sums = [], [0.0] * len(names)
    for group in dict.fromkeys(name.partition(": ")[2] for name in times):
        medians = [times[f"{name}: {group}"].median for name in names]
        sums = [total + median for total, median in zip(sums, medians, strict=True)]
        lines.append((group, *map(significant, medians)))
    lines.append(("in all", *map(significant, sums)))
    return table(("", *names), lines, 1)


def checks_sentence(rows: Sequence[Timing]) -> str:
    """Say how many checks of the kernels passed on a GPU."""
    checks = [row for row in rows if row.benchmark == "check"]
    if not checks:
        return ""
    failed = [row for row in checks if not row.note.startswith("passed")]
    names = "; ".join(
        f"{row.name} on {row.shape}, {row.precision}, {row.layout}: {row.note}" for row in failed
    )
    sentence = f"{len(checks) - len(failed)} of {len(checks)} checks of the kernels against float64 passed."
    return f"{sentence}{' Failed: ' if names else ''}{names}\n\n"


def charted(rows: Sequence[Timing]) -> list[Timing]:
    """Return the rows that the chart shows: tails and networks on the CPU."""
    return [row for row in rows if row.benchmark in ("tail", "network")]


def page(folder: Path = RESULTS) -> str:
    """Return the whole page."""
    cpu, gpu = rows_of(CPU_FILES, folder), rows_of(GPU_FILES, folder)
    every = [*cpu, *gpu]

    def of(*names: str) -> list[Timing]:
        return [row for row in every if row.benchmark in names]

    chart = f"![Bars of the times above](images/{CHART.name})" if charted(cpu) else ""
    text = TEXT.read_text(encoding="utf-8").format(
        machines=machines(every),
        traffic=traffic_table(),
        cpu_targets=targets_table(CPU_TARGETS, cpu),
        gpu_targets=checks_sentence(gpu) + targets_table(GPU_TARGETS, gpu),
        tails=times_table(of("tail")),
        bandwidth=bandwidth_table(of("tail")),
        networks=times_table(of("network"), memory=True),
        chart=chart,
        first_use=times_table(of("first use")),
        calls=times_table(of("call"), unit="µs"),
        profile=profile_table(every),
    )
    return text.replace("\n\n\n\n", "\n\n")  # around a chart that is not there


def draw_chart(rows: Sequence[Timing], path: Path) -> None:
    """Draw the rows that `charted` returns."""
    write_plot(rows, path, "SE-ResNet-50 and the ends of its residual units, milliseconds")


def main() -> None:
    """Write the page, and draw the chart."""
    rows = charted(rows_of(CPU_FILES))
    if rows:
        draw_chart(rows, CHART)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
