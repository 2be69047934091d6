"""Checkpoints: written whole, loaded without executing anything, the previous one kept."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from senet.errors import SenetError
from senet.files import previous_version, written_whole

CHECKPOINT_NAME = "checkpoint.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` atomically and keep the checkpoint before it.

    Raises:
        SenetError: the disk is full or the folder cannot be written; older checkpoints are untouched.
    """
    with written_whole(path, keep_previous=True) as stream:
        try:
            torch.save(state, stream)
        except RuntimeError as error:
            # PyTorch's archive writer reports a full disk in its own words while it is being closed.
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def load_checkpoint(path: Path) -> tuple[dict[str, Any], Path] | None:
    """Return the newest readable checkpoint and the file it came from.

    A newest file that is damaged is passed over for the previous one.

    Returns:
        ``None`` where there is no checkpoint at all.

    Raises:
        SenetError: there are checkpoints but none can be read.
    """
    candidates = [each for each in (path, previous_version(path)) if each.exists()]
    problems = []
    for candidate in candidates:
        try:
            return _read(candidate), candidate
        except (
            OSError,
            EOFError,
            RuntimeError,
            ValueError,
            pickle.UnpicklingError,
            zipfile.BadZipFile,
        ) as error:
            problems.append(f"{candidate} ({str(error).splitlines()[0]})")
    if problems:
        raise SenetError(
            f"No checkpoint can be read: {'; '.join(problems)}. "
            f"Delete the folder {path.parent} to start afresh."
        )
    return None


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"damaged at {damaged}")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
