"""Files to tensors, without executing anything that a file holds.

Pickles are read by ``torch.load(weights_only=True)``, which knows tensors and plain values only.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from senet.errors import SenetError
from senet.weights.checkpoint import Checkpoint
from senet.weights.download import reason_of
from senet.weights.own import METADATA_KEY, from_metadata, from_training, is_training, marks_own

# Where training scripts keep the weights. The average comes first: it is what they evaluate.
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict")
_WRAPPERS = (*_AVERAGES, "state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
# What DataParallel, torch.compile and training frameworks put before every key.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
# AveragedModel of torch counts its updates in a tensor of this name.
_NO_WEIGHTS = {"n_averaged"}


def read_checkpoint(path: Path, source: str | None = None) -> Checkpoint:
    """Read a checkpoint file: safetensors, or what ``torch.save`` wrote.

    Args:
        path: of the file.
        source: what to call it in sentences; by default its path.

    Raises:
        SenetError: there is no such file, it is damaged, holds something other than tensors, or wants
            to run code.
    """
    source = source or str(path)
    if path.is_dir():
        raise SenetError(f"{source} is a folder: name the file in it, such as {path / 'checkpoint.pt'}.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise SenetError(f"{source} cannot be read ({error.strerror}): check the path.") from error
    _refuse_other_kinds(head, source)
    if head[8:9] == b"{":
        return _read_safetensors(path, source)
    return _from_object(_load(path, source, is_zip=head.startswith(b"PK")), source)


def _refuse_other_kinds(head: bytes, source: str) -> None:
    """Name what downloads often leave in place of a checkpoint."""
    text = head.lstrip().lower()
    if not head:
        raise SenetError(f"{source} is empty: download it again.")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise SenetError(
            f"{source} is a web page, not a checkpoint: download the file itself, not the page about it."
        )
    if text.startswith(b"version https://git-lfs"):
        raise SenetError(f"{source} only points to a file in git LFS: run `git lfs pull` to get that file.")


def _read_safetensors(path: Path, source: str) -> Checkpoint:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
        state = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        found, expected = path.stat().st_size, _announced_size(path)
        reason = str(error) if expected in (None, found) else f"{found:,} bytes of {expected:,}"
        raise SenetError(
            f"{source} is a damaged safetensors file ({reason}): download or copy it again."
        ) from error
    if METADATA_KEY in metadata:
        return from_metadata(metadata[METADATA_KEY], state, source)
    return Checkpoint(state=_without_prefixes(state), source=source)


def _announced_size(path: Path) -> int | None:
    """Return the size that the header of a safetensors file tells, or ``None`` where that is damaged too."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, path.stat().st_size))
    try:
        entries: dict[str, Any] = json.loads(header)
        ends = [entry["data_offsets"][1] for key, entry in entries.items() if key != "__metadata__"]
        return 8 + length + max(ends, default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None


def _load(path: Path, source: str, *, is_zip: bool) -> Any:
    try:
        if is_zip:
            _check_archive(path)
        # timm's training keeps its settings in a Namespace, which is plain data.
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # about the protocol of files that are then refused
            with path.open("rb") as file:  # of a path, torch would believe the suffix
                return torch.load(file, map_location="cpu", weights_only=True)
    except zipfile.BadZipFile as error:
        raise SenetError(
            f"{source} is damaged or cut short ({reason_of(error)}): download or copy it again."
        ) from error
    except Exception as error:
        # What the unpickler raises on damaged files depends on the damaged byte (a test tries some).
        text = str(error)
        wanted = re.search(r"GLOBAL ([\w.]+)", text)
        if isinstance(error, pickle.UnpicklingError) and wanted:
            raise SenetError(
                f"Loading {source} would run code from it ({wanted[1]}), which senet never does: ask its "
                "author for the state dict alone, best as safetensors."
            ) from error
        if "TorchScript" in text:
            raise SenetError(
                f"{source} is a TorchScript program, not a checkpoint: save its state_dict() with "
                "torch.save or safetensors."
            ) from error
        # The unpickler's own text is about torch or Python, not about the file.
        reason = f" ({reason_of(error)})" if isinstance(error, OSError | RuntimeError) else ""
        raise SenetError(
            f"{source} is not a checkpoint, or damaged{reason}: give a safetensors file or one that "
            "torch.save wrote, or download it again."
        ) from error


def _check_archive(path: Path) -> None:
    """Compare the checksums, which torch itself does not look at."""
    if not zipfile.is_zipfile(path):
        raise zipfile.BadZipFile(f"it ends after {path.stat().st_size:,} bytes, before its list of contents")
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"wrong checksum of {damaged}")


def _from_object(value: Any, source: str) -> Checkpoint:
    """Find the tensors in what a pickle held."""
    if is_training(value):
        return from_training(value, source)
    state: Any = value
    notes = []
    while isinstance(state, Mapping):
        wrapper = next((name for name in _WRAPPERS if _holds_tensors(state.get(name))), None)
        if wrapper is None:
            break
        if wrapper in _AVERAGES and len(state) > 1:
            notes.append(f"The moving average {wrapper!r} was taken, which its training evaluated.")
        state = state[wrapper]
    if not _holds_tensors(state):
        held = (
            f"the keys {', '.join(map(repr, list(value)[:4]))}"
            if isinstance(value, Mapping)
            else "a " + type(value).__name__
        )
        raise SenetError(f"{source} is not a checkpoint: it holds {held} and no tensors by name.")
    tensors = {str(key): each.detach() for key, each in state.items() if isinstance(each, Tensor)}
    own = marks_own(state)
    return Checkpoint(state=_without_prefixes(tensors), source=source, own=own, notes=tuple(notes))


def _holds_tensors(value: Any) -> bool:
    """Tell whether a mapping has tensors by name, maybe within another wrapper."""
    if not isinstance(value, Mapping):
        return False
    return any(isinstance(each, Tensor) for each in value.values()) or any(
        _holds_tensors(value.get(name)) for name in _WRAPPERS
    )


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {key: each for key, each in state.items() if key not in _NO_WEIGHTS}
    while state:
        prefix = next((each for each in _PREFIXES if all(key.startswith(each) for key in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): each for key, each in state.items()}
    return state
