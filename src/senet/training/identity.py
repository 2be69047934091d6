"""What a run folder belongs to, so that two different trainings never mix in one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from senet.errors import SenetError


def refuse_other_training(stored: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Do nothing where both are the same.

    Raises:
        SenetError: they differ; the sentence names up to three settings with both values.
    """
    there, here = _flat(stored), _flat(wanted)
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if names:
        shown = ", ".join(
            f"{name} is {there.get(name)} there and {here.get(name)} here" for name in names[:3]
        )
        raise SenetError(
            f"The folder {folder} holds another training ({shown}): "
            "name a new folder with --out, or delete this one."
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            # A tuple comes back from JSON as a list.
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
