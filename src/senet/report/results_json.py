"""A comparison as ``results.json`` and back, without losing anything.

The file follows `senet.insight.results` field by field, so its type hints are the schema.
JSON has no word for a loss that went to infinity: such numbers are written as the strings "NaN",
"Infinity" and "-Infinity", which every JSON reader accepts, and come back as numbers.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from senet.errors import SenetError
from senet.files import write_text
from senet.insight.results import SCHEMA_VERSION, Comparison, Variant
from senet.schema import Schema, SchemaError, parse_json, shown

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_VARIANTS: tuple[Variant, Variant] = ("plain", "se")
_AGAIN = "run the comparison again, or update senet"


def write_results(comparison: Comparison, path: Path) -> None:
    """Write ``comparison`` to ``path``, whole or not at all.

    Raises:
        SenetError: the file cannot be written.
    """
    write_text(path, to_json(comparison))


def read_results(path: Path) -> Comparison:
    """Read what `write_results` wrote.

    Raises:
        SenetError: the file is missing, cut short, not JSON, of another version of the format, or
            does not hold together.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise SenetError(
            f"{path} cannot be read ({error.strerror}): check the path of results.json."
        ) from error
    except UnicodeDecodeError as error:
        raise SenetError(f"{path} is not text: give a results.json written by senet.") from error
    try:
        return from_json(text)
    except SenetError as error:
        raise SenetError(f"{path}: {error}") from error


def to_json(comparison: Comparison) -> str:
    """Return ``comparison`` as JSON text, one line for each of its fields.

    Lists inside ``se`` and ``recipe`` come back as tuples; everything else comes back as it was.
    """
    content = _plain(comparison)
    lines = (
        f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for name, value in content.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def from_json(text: str) -> Comparison:
    """Return the comparison that `to_json` wrote; errors are those of `read_results`."""
    try:
        content = parse_json(text)
    except SchemaError as error:
        raise SenetError(
            f"The results cannot be read, perhaps because the file is truncated ({error}): copy the file "
            "again."
        ) from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise SenetError("The JSON has no 'schema_version': give a results.json written by senet.")
    version = content["schema_version"]
    if version != SCHEMA_VERSION:
        raise SenetError(
            f"The results have format version {shown(version)}, but this senet reads version "
            f"{SCHEMA_VERSION}: use the senet version named in the file under 'versions'."
        )
    if isinstance(content.get("verdict"), dict):
        content["verdict"].pop("more_seeds", None)  # older files have that number, which misled
    try:
        comparison: Comparison = Schema(words=_NOT_FINITE).build(Comparison, content, "results")
    except SchemaError as error:
        raise SenetError(f"The results cannot be used ({error}): {_AGAIN}.") from error
    _check_consistent(comparison)
    return comparison


def _plain(value: Any) -> Any:
    """Turn dataclasses, tuples and numbers into what JSON can hold."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def _check_consistent(comparison: Comparison) -> None:
    defect = next(_defects(comparison), None)
    if defect is not None:
        raise SenetError(f"The results have {defect}: {_AGAIN}.")


def _defects(comparison: Comparison) -> Iterator[str]:
    """Name what the page relies on, types cannot say, and these results do not keep to."""
    data, runs = comparison.data, comparison.runs
    classes, images = len(data.classes), len(data.test_labels)
    changed = comparison.fixed + comparison.broken
    indices = {*data.test_labels, *(guess for run in runs for guess in run.predictions)}
    indices |= {i for c in changed for i in (c.label, c.plain_prediction, c.se_prediction)}
    if not all(0 <= i < classes for i in indices):
        yield "a class index outside the list of classes"
    if len(data.train_counts) != classes:
        yield "training counts that do not match the classes"
    if not images or not comparison.seeds:
        yield "no test images or no seeds"
    if any(tuple(run.seed for run in comparison.runs_of(v)) != comparison.seeds for v in _VARIANTS):
        yield "trainings that do not match the seeds"
    if any(not run.history for run in runs):
        yield "a training without epochs"
    lengths = {
        len(answers) for run in runs for answers in (run.predictions, run.in_top5) if answers is not None
    }
    if lengths != {images}:
        yield "answers that do not match the test images"
    if any(not 0 <= each.top1_error <= 100 for run in runs for each in run.history):
        yield "an error that is not a percentage"
    if abs(_last_difference(comparison) - comparison.top1.difference) > 1e-6:
        yield "a difference that does not match the errors"
    if not all(c.thumbnail.startswith("data:image/") for c in changed):
        yield "a thumbnail that is not an embedded image"


def _last_difference(comparison: Comparison) -> float:
    plain, se = (
        statistics.fmean(run.history[-1].top1_error for run in comparison.runs_of(variant))
        for variant in _VARIANTS
    )
    return se - plain
