"""What a run folder belongs to, so that two different trainings never mix in one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from senet.errors import SenetError

_SHOWN = 80


def refuse_other_training(stored: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Do nothing where both are the same.

    Raises:
        SenetError: they differ; the sentence names up to three settings with both values.
    """
    different = differences(stored, wanted, "there", "here")
    if not differences({**stored, "images": None}, {**wanted, "images": None}, "", "") and different:
        raise SenetError(
            f"The images are not those that the folder {folder} was started with: their content, names, "
            "labels or split changed. Put them back as they were, or name a new folder with --out."
        )
    if different:
        raise SenetError(
            f"The folder {folder} holds another training ({different}): "
            "name a new folder with --out, or delete this one."
        )


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
        f"{name} is {_short(there.get(name))} {where_one} and {_short(here.get(name))} {where_other}"
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
