"""What a caller in Python gave, checked and brought to the types that are documented."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import torch

import senet
from senet.checks import finite_number, require_type, whole_number
from senet.errors import SenetError
from senet.experiments.progress import (
    ComparisonProgress,
    EvaluationProgress,
    SilentComparison,
    SilentEvaluation,
)
from senet.training.execution import Execution
from senet.training.recipe import Recipe
from senet.training.recipe_changes import with_changes
from senet.training.recipe_files import load_recipe

P = ParamSpec("P")
R = TypeVar("R")

_WATCHER = "True, False or an object with the methods of senet.{}"


def recipe_of(recipe: Recipe | Mapping[str, Any] | str | Path | None) -> Recipe | None:
    """Return a recipe given as such, as a mapping of its settings, or by the name or file of one.

    Raises:
        SenetError: it is something else, or there is no such recipe or setting.
    """
    if recipe is None or isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, str | Path):
        return load_recipe(recipe)
    if isinstance(recipe, Mapping):
        return with_changes({}, recipe)[0]
    raise SenetError(
        "recipe must be a senet.Recipe, the name or file of one, or a mapping of its settings, not a "
        f"value of type {type(recipe).__name__}."
    )


def checked(display: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function get its arguments with the types that are documented, or refuse them in a sentence.

    NumPy's numbers become Python's, and a `torch.device` its name. What is left at its default is not looked
    at, and neither is what has no entry in the table below. ``progress=True`` becomes a display, which is
    drawn until the function returns.

    Args:
        display: the name of the display in `senet`.
    """

    def wrapped(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def with_checked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            for name, value in bound.arguments.items():
                if name in _CHECKS and value is not signature.parameters[name].default:
                    bound.arguments[name] = _CHECKS[name](name, value)
            if bound.arguments.get("progress", True) is not True:
                return function(*bound.args, **bound.kwargs)
            # By its public name: displays live with the command line, which stands above this folder.
            with getattr(senet, display)() as drawn:
                bound.arguments["progress"] = drawn
                return function(*bound.args, **bound.kwargs)

        return with_checked

    return wrapped


def watcher(progress: ComparisonProgress | bool | None) -> ComparisonProgress:
    """Return who is told what happens: nobody for ``False`` and ``None``."""
    if progress is None or isinstance(progress, bool):
        return SilentComparison()
    require_type("progress", progress, ComparisonProgress, _WATCHER.format("ComparisonProgress"))
    return progress


def told_of_evaluation(progress: EvaluationProgress | bool | None) -> EvaluationProgress:
    """Return who is told what happens in an evaluation: nobody for ``False`` and ``None``."""
    if progress is None or isinstance(progress, bool):
        return SilentEvaluation()
    require_type("progress", progress, EvaluationProgress, _WATCHER.format("EvaluationProgress"))
    return progress


def _seed(name: str, value: Any) -> int:
    return whole_number(name, value, 0, 2**63 - 1)


def _seconds(name: str, value: Any) -> float:
    seconds = finite_number(name, value)
    if seconds < 0:
        raise SenetError(f"{name} must be 0 or more seconds, not {seconds:g}.")
    return seconds


def name_of_network(model: Any) -> str | None:
    """Return the name of a network to be trained.

    Raises:
        SenetError: it is no name.
    """
    if model is None or (isinstance(model, str) and model):
        return model
    shown = repr(model) if isinstance(model, str | int | float) else f"a value of type {type(model).__name__}"
    raise SenetError(
        "model must be the name of a network, such as resnet18, timm:resnet50 or package.module:factory, "
        f"of which each training builds a new one, not {shown}."
    )


def _place(name: str, value: Any) -> str | Path:
    if not isinstance(value, str | os.PathLike) or not str(value):
        given = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
        raise SenetError(f"{name} must be a path, not {given}.")
    return value if isinstance(value, str) else Path(value)


def _device(name: str, value: Any) -> str:
    if not isinstance(value, str | torch.device):
        raise SenetError(f"{name} must be auto, cpu, cuda or cuda:NUMBER, not {value!r}.")
    return str(value)


def _execution(name: str, value: Any) -> Execution:
    require_type(name, value, Execution, "a senet.Execution")
    return cast(Execution, value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "data": _place,
    "device": _device,
    "execution": _execution,
    "measure_seconds": _seconds,
    "out": _place,
    "parallel": whole_number,
    "seed": _seed,
    "seeds": whole_number,
    "test_fraction": finite_number,
    "weights": _place,
    "workers": whole_number,
}
