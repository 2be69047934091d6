"""A recipe with some of its settings changed, and what must change with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from senet.errors import SenetError, nearest
from senet.text import counted
from senet.training.recipe import Recipe

# Counted in epochs, so that they shrink and grow with the number of epochs.
_WHOLE_EPOCHS = ("freeze_norm_epochs", "grow_epochs")
_STEPS = ("step_epochs", "step_factor")


def with_changes(stated: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe of ``stated`` settings with ``changes``, and a sentence for each consequence.

    Args:
        stated: settings of a recipe file.
        changes: what a user gave beside it; these are never altered.

    Raises:
        SenetError: a setting does not exist, or the whole is not allowed.
    """
    known = {each.name for each in fields(Recipe)}
    for name in changes:
        if name not in known:
            raise SenetError(f"There is no recipe setting {name!r}.{nearest(name, known)}")
    values = dict(stated)
    sentences: list[str] = []
    if "epochs" in changes and "epochs" in stated:
        sentences += _scale_epochs(values, changes)
    if changes.get("schedule", "step") != "step":
        sentences += _drop_steps(values, changes)
    if "batch_size" in changes and "learning_rate" not in changes:
        sentences += _scale_rate(values, changes["batch_size"])
    return Recipe(**{**values, **changes}), tuple(sentences)


def _scale_epochs(values: dict[str, Any], changes: Mapping[str, Any]) -> list[str]:
    before, after = values["epochs"], changes["epochs"]
    if not isinstance(after, int) or after < 1 or after == before:
        return []  # what is out of range is refused by `Recipe`
    scaled: dict[str, Any] = {}
    if values.get("step_epochs"):
        moved = (round(epoch * after / before) for epoch in values["step_epochs"])
        # In trainings of a few epochs some coincide or fall outside, as the schedule's own steps do.
        scaled["step_epochs"] = tuple(sorted({epoch for epoch in moved if 0 < epoch < after}))
    if values.get("warmup_epochs"):
        # A warm-up is a number of steps rather than a share of the training: it only must not fill it.
        scaled["warmup_epochs"] = min(values["warmup_epochs"], after / 5)
    for name in _WHOLE_EPOCHS:
        if values.get(name):
            scaled[name] = min(max(1, round(values[name] * after / before)), after - 1)
    told = []
    for name, value in scaled.items():
        if name not in changes and value != values[name]:
            told.append(f"{name} changes from {_shown(values[name])} to {_shown(value)}")
            values[name] = value
    if not told:
        return []
    return [f"With {counted(after, 'epoch')} instead of the recipe's {before}, {', '.join(told)}."]


def _drop_steps(values: dict[str, Any], changes: Mapping[str, Any]) -> list[str]:
    dropped = [name for name in _STEPS if values.pop(name, None) is not None and name not in changes]
    return [f"The cosine schedule does not use the recipe's {' and '.join(dropped)}."] if dropped else []


def _scale_rate(values: dict[str, Any], batch: Any) -> list[str]:
    usual, rate = values.get("batch_size"), values.get("learning_rate")
    if not isinstance(batch, int) or batch < 1 or usual is None or rate is None or batch == usual:
        return []
    values["learning_rate"] = float(f"{rate * batch / usual:.3g}")
    return [
        f"The recipe's learning rate {rate:g} is for a batch size of {usual}: for {batch} it is scaled in "
        f"proportion to {values['learning_rate']:g} (Goyal et al., 2017)."
    ]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}"
