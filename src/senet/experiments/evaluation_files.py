"""The files of an evaluation: numbers as JSON, classes and answers as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from senet.experiments.evaluation_report import METHOD, Error, EvaluationReport, EvaluationRow
from senet.files import make_folder, write_text
from senet.text import csv_cell

REPORT, PER_CLASS, PREDICTIONS = "evaluation.json", "per_class.csv", "predictions.csv"


def write_evaluation(report: EvaluationReport, folder: Path) -> None:
    """Write the numbers, the classes and the answer to every image.

    Args:
        report: to be written.
        folder: gets ``per_class.csv``, ``predictions.csv`` and, last, ``evaluation.json``; those of an
            earlier evaluation are replaced.

    Raises:
        SenetError: the folder cannot be written.
    """
    make_folder(folder)
    (folder / REPORT).unlink(missing_ok=True)  # it must not stand beside tables of another evaluation
    write_text(folder / PER_CLASS, _table(_CLASS_TITLES, _class_lines(report)))
    write_text(folder / PREDICTIONS, _table(_ANSWER_TITLES, _answer_lines(report)))
    text = json.dumps(as_values(report), indent=2, ensure_ascii=False)
    write_text(folder / REPORT, text + "\n")


def as_values(report: EvaluationReport) -> dict[str, Any]:
    """Return the report without its tables, as plain values."""
    return {
        "network": report.network,
        "weights": report.source,
        "data": report.data,
        "part": report.part,
        "images": len(report.labels),
        "preprocess": report.preprocess,
        "crops": report.crops,
        "flip": report.flip,
        "precision": report.precision,
        "interval": METHOD,
        "rows": [_row_values(row) for row in report.rows],
        "unreadable": [list(each) for each in report.unreadable],
        "majority_class": {
            "class": report.names[report.constant.label],
            "error": report.constant.error,
        },
        "warnings": list(report.warnings),
        "notes": list(report.notes),
        "command": report.command,
        "versions": report.versions,
        "seconds": round(report.seconds, 3),
    }


def _row_values(row: EvaluationRow) -> dict[str, Any]:
    return {
        "view": row.view,
        "image_sizes": list(row.sizes),
        "test_resizes": list(row.resizes),
        "loss": row.loss,
        "top1": _error_values(row.top1),
        "top5": None if row.top5 is None else _error_values(row.top5),
    }


def _error_values(error: Error) -> dict[str, Any]:
    low, high = error.interval
    return {"error": error.percent, "low": low, "high": high, "wrong": error.wrong, "images": error.images}


_CLASS_TITLES = ("view", "class", "images", "wrong", "error", "low", "high", "mistaken_for", "times")
_ANSWER_TITLES = ("view", "image", "class", "prediction", "correct", "confidence", "in_top5")


def _class_lines(report: EvaluationReport) -> Iterable[Sequence[object]]:
    for row in report.rows:
        for each in report.by_class(row):
            low, high = each.top1.interval
            percents = (f"{value:.4f}" for value in (each.top1.percent, low, high))
            name, times = each.mistaken_for or ("", "")
            yield (row.view, each.name, each.top1.images, each.top1.wrong, *percents, name, times)


def _answer_lines(report: EvaluationReport) -> Iterable[Sequence[object]]:
    for row in report.rows:
        in_top5: Sequence[bool | str] = row.in_top5 or ("",) * len(report.labels)
        answers = zip(report.images, report.labels, row.predictions, row.confidence, in_top5, strict=True)
        for image, label, guess, confidence, within in answers:
            names = report.names[label], report.names[guess]
            yield (row.view, image, *names, int(label == guess), f"{confidence:.6f}", _flag(within))


def _flag(value: bool | str) -> int | str:
    return value if isinstance(value, str) else int(value)


def _table(titles: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(map(csv_cell, line) for line in lines)
    return text.getvalue()
