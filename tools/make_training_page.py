"""Make docs/training.md from the recipes and the rows of benchmarks: ``python -m tools.make_training_page``.

Nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from senet.files import write_text
from tools.cluster_estimate import ESTIMATE_TITLES, estimate_rows, image_seconds, launch_seconds
from tools.make_insertion_page import Row, read
from tools.make_networks_page import table
from tools.recipe_table import RECIPE_TITLES, VALUE_TITLES, recipe_rows, value_rows

PAGE = Path(__file__).resolve().parents[1] / "docs" / "training.md"
TEXT = Path(__file__).with_name("training_page.md")
SMALL, SENET = "median of ImageNet", "senet"


def recipes() -> str:
    """Return the recipes, and every value of the first one as an example."""
    return table(RECIPE_TITLES, recipe_rows(), len(RECIPE_TITLES))


def recipe(name: str) -> str:
    """Return every value of one recipe with its source."""
    return table(VALUE_TITLES, value_rows(name), len(VALUE_TITLES))


def timings(name: str) -> str:
    """Return the rows of a benchmark that times things in turns, and where it ran."""
    rows = read(name)
    return f"{_where(rows)}\n\n{table(*_timings(rows))}"


def _timings(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]], int]:
    titles = ["what", "", "ms (20 % to 80 %)", "rounds", "ratio (20 % to 80 %)", "to"]
    sized = any(row["bytes"] for row in rows)
    lines = []
    for row in rows:
        line = [
            row["benchmark"],
            row["name"],
            _spread(row, "ms") if row["p50_ms"] else row["note"],
            row["n"],
            _spread(row, "ratio") if row["ratio_to"] else "",
            row["ratio_to"],
        ]
        lines.append((*line, f"{int(row['bytes']) / 1e6:,.0f}") if sized else tuple(line))
    return tuple([*titles, "MB"] if sized else titles), lines, 2


def _spread(row: Row, what: str) -> str:
    low, middle, high = (
        float(row[f"p{share}_ms" if what == "ms" else f"ratio_p{share}"]) for share in (20, 50, 80)
    )
    return f"{_digits(middle)} ({_digits(low)} to {_digits(high)})"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _where(rows: Sequence[Row]) -> str:
    places = dict.fromkeys(
        f"{row['hardware']}, threads: {row['threads']}, {row['versions']}, {row['date'][:10]}" for row in rows
    )
    return "Measured on " + "; ".join(places) + "."


def data_path() -> str:
    """Return photographs a second of one core, senet beside others."""
    rows = read("data_path")
    lines, sets = [], {}
    for row in rows:
        rate = f"{1000 / float(row['p50_ms']):.0f}" if row["p50_ms"] else "–"
        ratio = f"{_spread(row, 'ratio')} × {row['ratio_to']}" if row["ratio_to"] else ""
        photographs, _, difference = row["note"].rpartition("; ")
        sets.setdefault(row["shape"], photographs)
        lines.append((row["shape"], row["name"], rate, ratio, difference))
    titles = ("photographs", "path", "images/s", "time", "pixels")
    named = "\n".join(f"* {shape}: {photographs}." for shape, photographs in sets.items())
    return f"{named}\n\n{_where(rows)}\n\n{table(titles, lines, 2, text=2)}"


def core_rate() -> float:
    """Return photographs of ImageNet's median size a second of one core."""
    rows = [row for row in read("data_path") if row["name"] == SENET]
    smallest = min(rows, key=lambda row: float(row["p50_ms"]))
    return 1000 / float(smallest["p50_ms"])


def chaos() -> str:
    """Return every kill, and what was lost."""
    rows = read("chaos")
    lines = [
        (
            row["processes"],
            row["victim"],
            row["moment"],
            int(row["step"]),
            max(0, int(row["step"]) - int(row["kept"])),
            row["lost"],
        )
        for row in rows
    ]
    titles = ("processes", "killed", "while", "steps taken", "taken again", "lost in the end")
    return f"{len(rows)} kills.\n\n{table(titles, lines, 3, text=1)}"


def cluster() -> str:
    """Return the estimate for 64 GPUs."""
    rows = estimate_rows((1024, 4096, 16384), core_rate())
    return (
        f"An image takes {1e6 * image_seconds():.0f} µs on one GPU at least, and starting a step's kernels "
        f"{1000 * launch_seconds():.1f} ms.\n\n{table(ESTIMATE_TITLES, rows, 2)}"
    )


def page() -> str:
    """Return the page."""
    text = TEXT.read_text(encoding="utf-8")
    parts = {
        "recipes": recipes(),
        "paper_imagenet": recipe("paper-imagenet"),
        "chaos": chaos(),
        "loop": timings("loop"),
        "checkpoint": timings("checkpoint"),
        "scaling": timings("scaling"),
        "data_path": data_path(),
        "sources": timings("sources"),
        "cluster": cluster(),
    }
    for name, part in parts.items():
        text = text.replace(f"{{{name}}}", part)
    return text


def main() -> None:
    """Write the page."""
    write_text(PAGE, page())


if __name__ == "__main__":
    main()
