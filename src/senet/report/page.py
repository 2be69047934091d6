"""The page: one HTML file that shows a comparison, offline, in light and dark, and on paper."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from senet.files import write_text
from senet.insight.results import Comparison, DataSummary, Spread
from senet.insight.results_rows import NO_DIFFERENCE, cost_rows, error_rows, ratio_ends
from senet.report import plots, table
from senet.report.by_class import (
    changed_answers,
    class_errors,
    confusion_counts,
    most_changed,
    most_confused,
)
from senet.text import counted, shortened, signed

MOST_CLASSES_DRAWN = 20
MOST_CLASSES_IN_MATRIX = 30
MOST_IMAGES_SHOWN = 9
MOST_FILES_LISTED = 20

_OUTCOMES = {
    "better": ("▼", "Lower error with SE"),
    "worse": ("▲", "Higher error with SE"),
    "inconclusive": ("◆", "Inconclusive"),
    "not learned": ("■", "Not learned"),
}


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the page about ``comparison`` to ``path``, whole or not at all.

    Raises:
        SenetError: the file cannot be written.
    """
    write_text(path, page(comparison))


def page(comparison: Comparison) -> str:
    """Return the page as HTML that refers to nothing outside itself."""
    environment = Environment(
        loader=PackageLoader("senet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = signed
    environment.filters["shortened"] = shortened
    environment.filters["unbroken"] = _unbroken
    environment.filters["with_options"] = _with_options
    environment.tests["tiny"] = _is_tiny
    script = _template_text("page.js")
    return environment.get_template("page.html.j2").render(
        c=comparison,
        style=Markup(_template_text("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **_headline(comparison),
        **_pictures(comparison),
        **_classes(comparison),
        **_changed_images(comparison),
        **_facts(comparison),
    )


def _headline(comparison: Comparison) -> dict[str, Any]:
    mark, outcome = _OUTCOMES[comparison.verdict.outcome]
    claim, colon, rest = comparison.verdict.sentence.partition(": ")
    errors, costs = error_rows(comparison), cost_rows(comparison)
    return {
        "mark": mark,
        "outcome": outcome,
        "claim": claim,
        "colon": colon.strip(),
        "reason": rest,
        "top1_row": errors[0],
        "costs": [costs[0], *costs[2:4]],
        "no_difference": NO_DIFFERENCE,
        "results_table": Markup(table.as_html(errors + costs)),
        "notes": table.notes(comparison),
        "measured_interval": comparison.cost.training_time_ratio.low is not None,
    }


def _pictures(comparison: Comparison) -> dict[str, Any]:
    return {
        "seed_plot": Markup(plots.seed_differences(comparison)),
        "error_plot": Markup(plots.error_curves(comparison)),
        "loss_plot": Markup(plots.loss_curves(comparison)),
        "cost_plot": Markup(plots.added_costs(_added_costs(comparison))),
    }


def _classes(comparison: Comparison) -> dict[str, Any]:
    names = comparison.data.classes
    errors = class_errors(comparison)
    drawn = most_changed(errors, MOST_CLASSES_DRAWN)
    matrices = []
    if len(names) <= MOST_CLASSES_IN_MATRIX:
        plain, se = confusion_counts(comparison, "plain"), confusion_counts(comparison, "se")
        mistakes = [int(counts[i, j]) for counts in (plain, se) for i, j in _off_diagonal(len(names))]
        most = max(mistakes, default=0)
        matrices = [
            ("Plain", Markup(plots.confusion(plain, names, "plain", most))),
            ("SE", Markup(plots.confusion(se, names, "se", most))),
            ("Change, SE − plain", Markup(plots.confusion_change(se - plain, names))),
        ]
    return {
        "class_errors": sorted(errors, key=lambda error: error.difference),
        "class_plot": Markup(plots.class_differences(drawn)),
        "classes_drawn": len(drawn),
        "matrices": matrices,
        "confused": most_confused(comparison, 10 if matrices else 20),
    }


def _changed_images(comparison: Comparison) -> dict[str, Any]:
    fixed, broken = changed_answers(comparison)
    return {
        "fixed_answers": fixed,
        "broken_answers": broken,
        "answers": len(comparison.seeds) * len(comparison.data.test_labels),
        "most_shown": MOST_IMAGES_SHOWN,
    }


def _facts(comparison: Comparison) -> dict[str, Any]:
    return {
        "about_data": _about_data(comparison.data),
        "image_counts": _image_counts(comparison.data),
        "most_listed": MOST_FILES_LISTED,
        "se_fields": _fields(comparison.se),
        "recipe_fields": _fields(comparison.recipe),
        "epochs": len(comparison.runs[0].history),
        "duration": _duration(comparison.seconds),
        "data_wait": _percent_waiting(comparison),
        "created": _day(comparison.created),
    }


def _off_diagonal(count: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(count) for j in range(count) if i != j]


def _added_costs(comparison: Comparison) -> list[tuple[str, float, float, float]]:
    cost = comparison.cost

    def known(name: str, plain: int, se: int) -> tuple[str, float, float, float]:
        # Of a network that computes by functions alone no multiply-adds may be counted.
        percent = 100 * (se / plain - 1) if plain else math.nan
        return name, percent, percent, percent

    def timed(name: str, ratio: Spread) -> tuple[str, float, float, float]:
        low, high = ratio_ends(ratio)
        return name, 100 * (ratio.median - 1), 100 * (low - 1), 100 * (high - 1)

    added = [
        known("parameters", cost.plain.parameters, cost.se.parameters),
        known("multiply-adds", cost.plain.multiply_adds, cost.se.multiply_adds),
        timed("training time", cost.training_time_ratio),
        timed("inference time", cost.inference_time_ratio),
        known("peak memory", cost.plain.peak_memory_bytes, cost.se.peak_memory_bytes),
    ]
    return [each for each in added if math.isfinite(each[1])]


def _about_data(data: DataSummary) -> str:
    colours = {1: "greyscale", 3: "colour"}.get(data.channels, f"{data.channels} channels")
    low, high = min(data.train_counts), max(data.train_counts)
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return (
        f"{counted(len(data.classes), 'class')}, {counted(sum(data.train_counts), 'training image')} "
        f"({each} per class) and {counted(len(data.test_labels), 'test image')} at {data.image_size} × "
        f"{data.image_size} pixels, {colours}."
    )


def _image_counts(data: DataSummary) -> list[tuple[str, int, int]]:
    tests = Counter(data.test_labels)
    return [(name, data.train_counts[i], tests[i]) for i, name in enumerate(data.classes)]


def _fields(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return settings as names and text; settings within settings are written with a dot."""
    pairs: list[tuple[str, str]] = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            pairs += _fields(value, f"{prefix}{name}.")
        else:
            pairs.append((prefix + name.replace("_", " "), _setting(value)))
    return pairs


def _setting(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(_setting(item) for item in value) or "none"
    words = {None: "none", True: "yes", False: "no"}
    if value is None or isinstance(value, bool):
        return words[value]
    return f"{value:g}".replace("-", "−") if isinstance(value, float) else str(value)


def _percent_waiting(comparison: Comparison) -> int:
    epochs = [epoch for run in comparison.runs for epoch in run.history]
    waited = sum(epoch.data_wait * epoch.train_seconds for epoch in epochs)
    return round(100 * waited / max(comparison.seconds, 1e-9))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _day(created: str) -> str:
    try:
        return datetime.fromisoformat(created).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return created


def _unbroken(text: str) -> str:
    """Keep numbers and their percent sign, and intervals' ends, on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%").replace(" to ", "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}")


def _with_options(text: str) -> Markup:
    """Keep the name of a command line option on one line."""
    return Markup(
        re.sub(r"--[a-z][a-z-]*", r'<span class="option">\g<0></span>', str(escape(_unbroken(text))))
    )


def _is_tiny(thumbnail: str) -> bool:
    """Return whether an embedded PNG is so small that only its bare pixels can be shown larger."""
    # A PNG's width is the big-endian number in bytes 16 to 19.
    head = base64.b64decode(thumbnail.partition(",")[2][:32])
    return head.startswith(b"\x89PNG") and int.from_bytes(head[16:20], "big") <= 64


def _template_text(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
