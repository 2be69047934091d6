"""Make docs/insertion.md from the rows of two benchmarks: ``python -m tools.make_insertion_page``.

Nothing is measured here: the page says what ``benchmarks/results/insertion.csv`` and ``fine_tune.csv`` say.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from benchmarks.bench_fine_tune import ARMS, IDENTITY, PLAIN, RANDOM
from benchmarks.common import RESULTS
from matplotlib.axes import Axes

from senet.experiments.statistics import over_seeds
from senet.files import write_text
from tools.make_networks_page import table

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "insertion.md"
CURVE = DOCS / "images" / "fine_tune.svg"
TEXT = Path(__file__).with_name("insertion_page.md")
COLOURS = {PLAIN: "#555555", IDENTITY: "#1f77b4", RANDOM: "#d95f02"}

Row = dict[str, str]


def read(name: str, folder: Path = RESULTS) -> list[Row]:
    """Return the rows of a benchmark."""
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def networks(rows: Sequence[Row]) -> str:
    """Return what was put into each public network, and on which machine the call was timed."""
    lines = []
    for row in rows:
        change = float(row["output_change"])
        lines.append(
            (
                f"{row['package']} `{row['network']}`",
                int(row["sites"]),
                int(row["had_se"]),
                int(row["skipped"]),
                "none" if change == 0 else f"{change:.1e}",
                int(row["added_parameters"]),
                f"{float(row['added_share']):.1%}",
                f"{float(row['call_ms']):.0f}",
            )
        )
    titles = ("network", "places", "had SE", "left out", "change", "parameters added", "share", "call, ms")
    machines = ", ".join(dict.fromkeys(row["machine"].partition(":")[0] for row in rows))
    packages = sorted({part for row in rows for part in row["machine"].partition(": ")[2].split(", ")})
    return (
        f"{len(rows)} networks of {len({row['package'] for row in rows})} packages, with random weights and "
        "running statistics, in evaluation mode. Change: the largest difference of the output over the "
        "largest output, for random images. Call: `squeeze_excite` on a network on the meta device, median "
        f"of {rows[0]['calls']}; on {machines}, {', '.join(packages)}.\n\n{table(titles, lines, 1)}"
    )


def fine_tune(rows: Sequence[Row]) -> str:
    """Return what fine-tuning made of the three networks."""
    last = max(int(row["epoch"]) for row in rows)
    seeds = {int(row["seed"]) for row in rows}
    start, end = ({arm: _values(rows, arm, epoch, "top1_error") for arm in ARMS} for epoch in (0, last))
    lines = []
    for arm in ARMS:
        gain = "–" if arm == PLAIN else _gain(end[PLAIN], end[arm])
        moved = "–" if arm == PLAIN else f"{np.mean(_values(rows, arm, last, 'gate_distance')):.3f}"
        lines.append((arm, f"{np.mean(start[arm]):.2f}", f"{np.mean(end[arm]):.2f}", gain, moved))
    difference = "SE − plain, points (95 % interval)"
    titles = (
        "network",
        "error before, %",
        f"after {last} epochs, %",
        difference,
        "distance of the gates from 1",
    )
    same = "exactly" if start[IDENTITY] == start[PLAIN] else "not"
    return (
        f"A plain `{rows[0]['model']}` was trained on images of {rows[0]['images']}, then fine-tuned "
        f"({rows[0]['recipe']}) with {len(seeds)} seeds: as it is, with SE that starts as the identity, and "
        "with SE that starts at random; the three of a seed see the same images in the same order. Before "
        f"the first step SE with identity start has {same} the error of the plain network. Errors are those "
        f"of the last epoch.\n\n{table(titles, lines, 1)}\n\n{_conclusion(end)}\n\n"
        "![Test error and distance of the gates from 1, epoch by epoch](images/fine_tune.svg)\n\n"
        f"Measured with {rows[0]['machine']} by `python -m benchmarks.bench_fine_tune DATA "
        f"--fine-tune-epochs {last} --seeds {len(seeds)}`; the images are CIFAR-10's as JPEG files."
    )


def _conclusion(end: dict[str, list[float]]) -> str:
    interval = over_seeds(end[PLAIN], end[IDENTITY])
    if interval.low <= 0 <= interval.high:
        return (
            "No difference between SE with identity start and the plain network is shown by so short a "
            "fine-tuning of so small a network: the interval holds zero."
        )
    direction = "less" if interval.high < 0 else "more"
    return (
        f"SE with identity start ends with {direction} error than the plain network does, by "
        f"{abs(interval.difference):.2f} points. The interval is over seeds of the fine-tuning, all of which "
        "began with one plain network: with another the difference may be another."
    )


def _gain(plain: list[float], se: list[float]) -> str:
    interval = over_seeds(plain, se)
    return f"{interval.difference:+.2f} ({interval.low:+.2f} to {interval.high:+.2f})".replace("-", "−")


def _values(rows: Sequence[Row], arm: str, epoch: int, field: str) -> list[float]:
    return [float(row[field]) for row in rows if row["arm"] == arm and int(row["epoch"]) == epoch]


def draw(rows: Sequence[Row]) -> str:
    """Return the curves as an SVG text."""
    matplotlib.use("Agg")
    style = {"svg.hashsalt": "senet", "font.size": 9}
    with plt.rc_context(style):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
        _curves(left, rows, "top1_error", "top-1 error, %", tuple(ARMS))
        _curves(right, rows, "gate_distance", "mean |gate − 1|", (IDENTITY, RANDOM))
        left.legend(frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        plt.close(figure)
    return text.getvalue()


def _curves(axes: Axes, rows: Sequence[Row], field: str, label: str, arms: Sequence[str]) -> None:
    for arm in arms:
        mine = [row for row in rows if row["arm"] == arm]
        epochs = sorted({int(row["epoch"]) for row in mine})
        values = np.array([[float(r[field]) for r in mine if int(r["epoch"]) == epoch] for epoch in epochs])
        axes.plot(epochs, values, color=COLOURS[arm], linewidth=0.6, alpha=0.5)
        axes.plot(epochs, values.mean(1), color=COLOURS[arm], linewidth=2, label=arm)
    axes.set_xlabel("epochs of fine-tuning")
    axes.set_ylabel(label)
    axes.set_xticks(epochs)
    axes.spines[["top", "right"]].set_visible(False)


def prune(text: str) -> str:
    """Return what pruning did on the images that chose the blocks and on the others."""
    heading, *reports = text.split("budget=")
    lines = []
    for report in reports:
        budget = f"{100 * float(report.split()[0]):g} points"
        folded = re.search(r"(\d+ of \d+) SE blocks folded", report)
        chosen = re.search(r"top-1 error +(\S+) % +(\S+) %\n", report)
        others = re.search(r"Other half: (\S+) % before, (\S+) % after", report)
        assert folded and chosen and others, "prune.txt is not what the benchmark writes"
        lines.append((budget, folded[1], " → ".join(chosen.groups()), " → ".join(others.groups())))
    titles = ("budget", "blocks folded", "top-1 error that chose, %", "on other images, %")
    return f"{heading.splitlines()[0]}\n\n{table(titles, lines, 1)}"


def page() -> str:
    """Return the page."""
    text = TEXT.read_text(encoding="utf-8")
    text = text.replace("{fine_tune}", fine_tune(read("fine_tune")))
    text = text.replace("{prune}", prune((RESULTS / "prune.txt").read_text(encoding="utf-8")))
    return text.replace("{networks}", networks(read("insertion")))


def main() -> None:
    """Write the page, and draw the curves."""
    write_text(CURVE, draw(read("fine_tune")))
    write_text(PAGE, page())


if __name__ == "__main__":
    main()
