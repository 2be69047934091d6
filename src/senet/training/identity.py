"""What a run folder belongs to, so that two different trainings never mix in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from senet.errors import SenetError
from senet.schema import Schema
from senet.text import counted
from senet.training.recipe import FittedRecipe
from senet.training.schedule import drops
from senet.training.sizes import grown_after, training_size

_SHOWN = 80
_LENGTH = ("epochs", "warmup_epochs", "step_epochs", "freeze_norm_epochs", "grow_epochs")


def refuse_other_training(stored: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Do nothing where both are the same, or where the wanted one `extends` the stored one.

    Raises:
        SenetError: they differ; the sentence names up to three settings with both values, or what keeps the
            stored one from being extended.
    """
    different = differences(stored, wanted, "there", "here")
    if not differences({**stored, "images": None}, {**wanted, "images": None}, "", "") and different:
        raise SenetError(
            f"The images are not those that the training in {folder} started with: their content, names, "
            "labels or split have changed. Restore them, or choose another folder with --out."
        )
    if not different:
        return
    recipes = _recipes_of_two_lengths(stored, wanted)
    if recipes is None:
        raise SenetError(
            f"The folder {folder} contains another training ({different}): choose another folder with "
            "--out, or delete this one."
        )
    obstacle = _obstacle(*recipes)
    if obstacle:
        raise SenetError(f"The training in {folder} {obstacle}")


def extends(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether ``wanted`` is ``stored`` with more epochs, and the same bits up to its end."""
    recipes = _recipes_of_two_lengths(stored, wanted)
    return recipes is not None and not _obstacle(*recipes)


def _recipes_of_two_lengths(
    stored: Mapping[str, Any], wanted: Mapping[str, Any]
) -> tuple[FittedRecipe, FittedRecipe] | None:
    """Return both recipes where only the number of epochs and what may follow from it differ."""
    # The checksum is one of all the other settings.
    others = [{**each, "recipe": None, "checksum": None} for each in (stored, wanted)]
    if differences(others[0], others[1], "", ""):
        return None
    try:
        one, other = (Schema().build(FittedRecipe, each.get("recipe"), "") for each in (stored, wanted))
    except SenetError:
        return None  # not what a training of this senet tells
    same = all(value == getattr(other, name) for name, value in asdict(one).items() if name not in _LENGTH)
    return (one, other) if same and one.epochs != other.epochs else None


def _obstacle(done: FittedRecipe, wanted: FittedRecipe) -> str:
    """Return why ``wanted`` does not begin as ``done`` went, and what to do, or ``""`` where it does."""
    before, after = (counted(each.epochs, "epoch", "epochs") for each in (done, wanted))
    if wanted.epochs < done.epochs:
        return (
            f"has {before} and cannot be shortened to {after}: give --epochs "
            f"{done.epochs} or more, or choose "
            "another folder with --out."
        )
    if done.schedule == "cosine":
        return (
            f"cannot be extended from {before} to {after}, because the cosine schedule depends on the number "
            "of epochs: choose another folder with --out, where --schedule step with --step-epochs and "
            "--warmup-epochs gives a training that can be extended."
        )
    options = _options_to_keep(done, wanted)
    return options and (
        f"can be extended from {before} to {after} only with the settings that it began with: add {options}, "
        "or choose another folder with --out."
    )


def _options_to_keep(done: FittedRecipe, wanted: FittedRecipe) -> str:
    """Return the options that ``wanted`` lacks to begin as ``done`` went; many follow from the epochs."""
    options = []
    if wanted.warmup_epochs != done.warmup_epochs:
        options.append(f"--warmup-epochs {done.warmup_epochs!r}")
    if tuple(drop for drop in drops(wanted) if drop < done.epochs) != drops(done):
        later = (drop for drop in wanted.step_epochs if drop >= done.epochs)
        options.append(f"--step-epochs {' '.join(map(str, (*drops(done), *later)))}")
    frozen = done.epochs - done.freeze_norm_epochs
    if min(wanted.epochs - wanted.freeze_norm_epochs, done.epochs) != frozen:
        options.append(f"--freeze-norm-epochs {wanted.epochs - frozen}")
    if any(training_size(done, epoch) != training_size(wanted, epoch) for epoch in range(done.epochs)):
        options.append(f"--grow-epochs {grown_after(done)}")
    return " ".join(options)


def differences(one: Mapping[str, Any], other: Mapping[str, Any], where_one: str, where_other: str) -> str:
    """Return up to three settings that differ, with both values, or ``""`` where none does.

    Args:
        one: settings as plain values.
        other: likewise.
        where_one: where the one stands, for example ``"there"``.
        where_other: where the other stands.
    """
    there, here = _flat(one), _flat(other)
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    return ", ".join(
        # A digest says nothing to a reader.
        f"the {name} differ"
        if name == "images"
        else f"{name} is {_short(there.get(name))} {where_one} and {_short(here.get(name))} {where_other}"
        for name in names[:3]
    )


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            # A tuple comes back from JSON as a list.
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
