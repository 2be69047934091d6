"""Files to tensors, without executing anything that a file holds.

Pickles are read by ``torch.load(weights_only=True)``, which knows tensors and plain values only.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from senet.errors import SenetError
from senet.tensor_files import DIGESTS, DamagedError, UntrustedError, check_digests, load_plain
from senet.weights.checkpoint import Checkpoint, inserted_settings
from senet.weights.download import reason_of
from senet.weights.own import (
    METADATA_KEY,
    check_metadata,
    from_metadata,
    from_training,
    is_training,
)
from senet.weights.state_dicts import network_weights

_ADVICE = "give a safetensors file or one written by torch.save, or download it again"


def read_checkpoint(path: Path, source: str | None = None, chosen: str | None = None) -> Checkpoint:
    """Read a checkpoint file: safetensors, or what ``torch.save`` wrote.

    Args:
        path: of the file.
        source: what to call it in sentences; by default its path.
        chosen: the state dict to take of a file that holds several; ``None`` takes the moving average, or
            what has a usual name.

    Raises:
        SenetError: there is no such file, it is damaged, holds something other than tensors, or wants
            to run code.
    """
    source = source or str(path)
    if path.is_dir():
        raise SenetError(f"{source} is a folder: give a file of weights.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise SenetError(f"{source} cannot be read ({error.strerror}): check the path.") from error
    _refuse_other_kinds(head, source)
    if head[8:9] == b"{":
        return _read_safetensors(path, source, chosen)
    return _read_pickle(path, source, chosen)


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
        raise SenetError(f"{source} is only a Git LFS pointer: run `git lfs pull` to get the file itself.")


def _read_safetensors(path: Path, source: str, chosen: str | None) -> Checkpoint:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
        state = safetensors.torch.load_file(path)
        check_metadata(state, metadata)
    except DamagedError as error:
        raise SenetError(f"{source} {error}: download or copy it again.") from error
    except Exception as error:
        # SafetensorError for the most part; of types that this torch lacks, others.
        found, expected = path.stat().st_size, _announced_size(path)
        reason = reason_of(error) if expected in (None, found) else f"{found:,} bytes of {expected:,}"
        raise SenetError(
            f"{source} is a damaged safetensors file ({reason}): download or copy it again."
        ) from error
    if METADATA_KEY in metadata:
        return from_metadata(metadata[METADATA_KEY], state, source)
    inserted = inserted_settings(metadata, source)
    return replace(network_weights(state, source, chosen), inserted=inserted)


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


def _read_pickle(path: Path, source: str, chosen: str | None) -> Checkpoint:
    try:
        value = load_plain(path)
        if is_training(value):
            digests = value.pop(DIGESTS, None)
            if digests is not None:
                check_digests(value, digests)
    except UntrustedError as error:
        raise SenetError(
            f"Loading {source} {error}: ask its author for the state dict alone, preferably as safetensors."
        ) from error
    except DamagedError as error:
        raise SenetError(f"{source} {error}: {_ADVICE}.") from error
    except OSError as error:
        raise SenetError(f"{source} cannot be read ({error.strerror}): check the path.") from error
    return (
        from_training(value, source, chosen) if is_training(value) else network_weights(value, source, chosen)
    )
