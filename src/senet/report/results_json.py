"""A comparison as ``results.json`` and back, without losing anything.

The file follows `senet.insight.results` field by field, so reading is driven by its type hints.
JSON has no word for a loss that went to infinity: such numbers are written as the strings "NaN",
"Infinity" and "-Infinity", which every JSON reader accepts, and come back as numbers.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from senet.errors import SenetError
from senet.files import write_text
from senet.insight.results import SCHEMA_VERSION, Comparison, DataSummary, EpochMetrics, Variant

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_VARIANTS: tuple[Variant, Variant] = ("plain", "se")
# Files written before these were measured go without them.
_ADDED_LATER = {(EpochMetrics, "data_wait"), (DataSummary, "warnings")}
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
        raise SenetError(f"{path} cannot be read ({error.strerror}): name a results.json.") from error
    except UnicodeDecodeError as error:
        raise SenetError(f"{path} is not text: name a results.json written by senet.") from error
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
        content = json.loads(text, parse_constant=_refuse_constant)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SenetError(
            f"The results are not valid JSON ({error}), perhaps cut short while copying: copy the file again."
        ) from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise SenetError("This JSON has no 'schema_version': name a results.json written by senet.")
    version = content["schema_version"]
    if version != SCHEMA_VERSION:
        raise SenetError(
            f"The results have format version {version!r} and this senet reads version {SCHEMA_VERSION}: "
            "use the senet version named in the file under 'versions'."
        )
    comparison: Comparison = _build(Comparison, content, "results")
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


def _build(kind: Any, value: Any, where: str) -> Any:
    """Return ``value``, as read from JSON, as an object of type ``kind``; ``where`` is for errors."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if origin in (types.UnionType, typing.Union):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _build(inner, value, where)
    if origin is tuple:
        return _build_tuple(arguments, value, where)
    if origin is dict:
        _expect(isinstance(value, dict), "an object", value, where)
        return {name: _build(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
    return _build_any(value) if kind is Any else _build_simple(kind, value, where)


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), "an object", value, where)
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    missing = [name for name in names if name not in value and (kind, name) not in _ADDED_LATER]
    if missing:
        raise SenetError(f"The results lack {where}.{missing[0]}, so the file is incomplete: {_AGAIN}.")
    unknown = [name for name in value if name not in names]
    if unknown:
        raise SenetError(f"The results have {where}.{unknown[0]}, which this senet does not know: {_AGAIN}.")
    return kind(**{name: _build(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _build_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _expect(isinstance(value, list), "a list", value, where)
    if arguments[1:] == (Ellipsis,):
        return tuple(_build(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    _expect(len(value) == len(arguments), f"a list of {len(arguments)}", value, where)
    typed = zip(arguments, value, strict=True)
    return tuple(_build(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(typed))


def _build_any(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _build_any(item) for name, item in value.items()}
    if isinstance(value, list):
        return tuple(_build_any(item) for item in value)
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _build_simple(kind: Any, value: Any, where: str) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float:
        if isinstance(value, str) and value in _NOT_FINITE:
            return _NOT_FINITE[value]
        _expect(number, "a number", value, where)
        return float(value)
    if typing.get_origin(kind) is Literal:
        allowed = typing.get_args(kind)
        _expect(value in allowed, " or ".join(map(repr, allowed)), value, where)
    elif kind is int:
        _expect(number and isinstance(value, int), "a whole number", value, where)
    else:
        _expect(isinstance(value, kind), "text" if kind is str else "true or false", value, where)
    return value


def _expect(holds: bool, what: str, value: Any, where: str) -> None:
    if not holds:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "…"
        raise SenetError(f"The results have {shown} at {where}, where {what} belongs: {_AGAIN}.")


def _refuse_constant(name: str) -> float:
    raise SenetError(f"The results hold a bare {name}, which is not JSON: {_AGAIN}.")


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
