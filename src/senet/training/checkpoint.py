"""Checkpoints: written whole, loaded without executing anything, the previous one kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from senet.errors import SenetError
from senet.files import previous_version, written_whole
from senet.insight.results import EpochMetrics
from senet.networks.provenance import Provenance
from senet.schema import Schema, SchemaError
from senet.tensor_files import DIGESTS, DamagedError, check_digests, digests_of, load_plain

CHECKPOINT_NAME = "checkpoint.pt"
FORMAT = 3
"""Of what a checkpoint holds; counted up when an older senet's can no longer be gone on from."""

READABLE = (2, FORMAT)
"""Formats that are read; 2 had the same content without digests."""
_MOST_THREADS = 4096


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` atomically and keep the checkpoint before it.

    Digests of all that it holds are written with it, under ``"digests"``.

    Raises:
        SenetError: the disk is full or the folder cannot be written; older checkpoints are untouched.
    """
    content = {**state, DIGESTS: digests_of(state)}
    with written_whole(path, keep_previous=True) as stream:
        try:
            torch.save(content, stream)
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
        except SenetError as error:
            problems.append(f"{candidate} {error}")
        except OSError as error:
            problems.append(f"{candidate} cannot be read ({error.strerror})")
    if problems:
        raise SenetError(
            f"No checkpoint can be read: {'; '.join(problems)}. Delete the folder {path.parent} to start "
            "over."
        )
    return None


def checked_training(state: dict[str, Any], source: Path) -> dict[str, Any]:
    """Return the checkpoint of a training unless it holds something else than this senet writes.

    Raises:
        SenetError: another senet wrote it, or somebody changed what it holds.
    """
    if state.get("format") not in READABLE:
        raise SenetError(
            f"{source} was written by another version of senet, which this version cannot read: use that "
            "version, or choose another folder with --out."
        )
    try:
        Schema(extensible=(_Training,)).build(_Training, state, "checkpoint")
    except SchemaError as error:
        raise SenetError(f"{source} cannot be used ({error}): choose another folder with --out.") from error
    return state


@dataclass(frozen=True, kw_only=True)
class _Progress:
    """The schema of `senet.training.position.Position`, as plain values."""

    epoch: int
    batch: int
    step: int
    loss_sum: float
    seconds: float
    history: list[EpochMetrics]
    predictions: list[int]
    in_top5: list[bool] | None

    def __post_init__(self) -> None:
        if min(self.epoch, self.batch, self.step, *self.predictions, 0) < 0:
            raise SchemaError("checkpoint.position contains a negative number")
        if [row.epoch for row in self.history] != list(range(1, self.epoch + 1)):
            raise SchemaError(
                f"checkpoint.position is after epoch {self.epoch}, but its history covers other epochs"
            )


@dataclass(frozen=True, kw_only=True)
class _Average:
    """The schema of a moving average's state."""

    updates: int
    values: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class _Training:
    """The schema of what `senet.training.resume.Keeper` saves; more keys are allowed."""

    format: int
    identity: dict[str, Any]
    position: _Progress
    model: dict[str, Tensor]
    optimiser: dict[str, dict[str, Tensor | None]]
    scaler: dict[str, Any]
    average: _Average | None
    log: dict[str, int | str]
    threads: int
    processes: int
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.threads <= _MOST_THREADS and self.processes >= 1):
            raise SchemaError(
                f"checkpoint.threads is {self.threads} and checkpoint.processes is {self.processes}"
            )


def _read(path: Path) -> dict[str, Any]:
    state = load_plain(path)
    if not isinstance(state, dict):
        raise DamagedError(f"contains a {type(state).__name__}, which is not a checkpoint")
    digests = state.pop(DIGESTS, None)
    if digests is not None or state.get("format") == FORMAT:
        check_digests(state, digests)
    return state
