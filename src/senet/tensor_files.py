"""Files of tensors: read without executing anything, and checked by digests of what was loaded.

A ZIP archive has checksums of its own, but one flipped bit in its directory lets torch hand out memory
that nothing was read into. So what came out is compared with what was put in, not the container.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from senet.errors import SenetError

DIGESTS = "digests"
"""Key of a checkpoint's digests; in safetensors metadata it is ``senet_digests``."""

_REST = ""  # the name of the digest of everything that is no tensor; no tensor's path is empty
_IS_FOLDER = 0x10  # MS-DOS attribute of a ZIP entry


class UntrustedError(SenetError):
    """Reading the file "would run code from it (posix.system), …"; the sentence still wants its start."""


class DamagedError(SenetError):
    """The file "is damaged …", or no checkpoint; the sentence still wants its start and end."""


def digests_of(value: Any) -> dict[str, str]:
    """Return a SHA-256 for each tensor in nested mappings and lists, and one of everything else.

    Args:
        value: of tensors and plain values.

    Raises:
        TypeError: it holds something else.
    """
    rest, digests = hashlib.sha256(), {}
    for path, leaf in _leaves(value, ""):
        if isinstance(leaf, Tensor):
            digests[path] = _tensor_digest(leaf)
        text = "tensor" if isinstance(leaf, Tensor) else _canonical(leaf)
        rest.update(f"{len(path)}:{path}={text};".encode("utf-8", "surrogatepass"))
    return {**digests, _REST: rest.hexdigest()}


def check_digests(value: Any, stored: Any) -> None:
    """Compare what was loaded with the digests that were stored beside it.

    Raises:
        DamagedError: they differ.
    """
    try:
        found = digests_of(value)
    except (TypeError, RecursionError) as error:
        raise DamagedError(f"is damaged ({error})") from error
    if found == stored:
        return
    known = stored if isinstance(stored, Mapping) else {}
    wrong = [path for path in found if known.get(path) != found[path]] or sorted(known.keys() - found.keys())
    raise DamagedError(f"is damaged ({wrong[0] or 'its content'} is not what was written)")


def load_plain(path: Path) -> Any:
    """Return what ``torch.save`` wrote: tensors and plain values, on the CPU.

    Raises:
        OSError: the file cannot be read.
        UntrustedError: it wants to run code.
        DamagedError: it is damaged, or nothing that torch wrote.
    """
    with path.open("rb") as file:  # of a path, torch would believe the suffix
        if file.read(2) == b"PK":
            _check_archive(path)
        file.seek(0)
        try:
            # timm's training keeps its settings in a Namespace, which is plain data. Indices of a sparse
            # tensor that lie outside it would be followed into foreign memory.
            with (
                warnings.catch_warnings(),
                torch.serialization.safe_globals([argparse.Namespace]),
                torch.sparse.check_sparse_tensor_invariants(True),  # type: ignore[no-untyped-call]
            ):
                warnings.simplefilter("ignore")  # about the protocol of files that are then refused
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            # What the unpickler raises depends on the damaged byte: nearly every kind has been seen.
            raise _explained(error) from error


def _explained(error: Exception) -> SenetError:
    """Say in own words what torch's are about: they advise to load the file unsafely."""
    text = str(error)
    wanted = re.search(r"GLOBAL ([\w.]+)", text)
    if isinstance(error, pickle.UnpicklingError) and wanted:
        return UntrustedError(f"would run code from it ({wanted[1]}), which senet never does")
    if "TorchScript" in text:
        return DamagedError("is a TorchScript program, not a checkpoint")
    reason = " ".join(text.split())[:160] if isinstance(error, OSError | RuntimeError) else ""
    return DamagedError(f"is not a checkpoint, or is damaged{f' ({reason})' if reason else ''}")


def _check_archive(path: Path) -> None:
    """Compare checksums and sizes, which torch itself does not look at."""
    try:
        if not zipfile.is_zipfile(path):
            size = path.stat().st_size
            raise DamagedError(
                f"is damaged or truncated (it ends after {size:,} bytes, before its list of contents)"
            )
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                # torch reads nothing for what calls itself a folder or empty, and hands out the memory.
                if entry.file_size and (entry.external_attr & _IS_FOLDER or not entry.compress_size):
                    raise DamagedError(f"is damaged or truncated (wrong entry of {entry.filename})")
            damaged = archive.testzip()
    except (SenetError, OSError):
        raise
    except Exception as error:
        # Of the standard library: BadZipFile, zlib.error, NotImplementedError and others, by the bit.
        raise DamagedError(f"is damaged or truncated ({' '.join(str(error).split())[:160]})") from error
    if damaged is not None:
        raise DamagedError(f"is damaged or truncated (wrong checksum of {damaged})")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every value that holds no others, with its path; of those that do, their kind and size."""
    if isinstance(value, Mapping):
        yield f"{path}{{", len(value)
        for key, each in value.items():
            yield from _leaves(each, f"{path}/{key}" if isinstance(key, str) else f"{path}/{key!r}")
    elif isinstance(value, list | tuple):
        yield f"{path}{'[' if isinstance(value, list) else '('}", len(value)
        for number, each in enumerate(value):
            yield from _leaves(each, f"{path}/{number}")
    else:
        yield path.removeprefix("/"), value


def _canonical(value: Any) -> str:
    if value is None or isinstance(value, bool | str | bytes):
        return repr(value)
    if isinstance(value, int):
        return f"{value:x}"
    if isinstance(value, float):
        return value.hex()
    raise TypeError(f"it contains a {type(value).__name__}")


def _tensor_digest(tensor: Tensor) -> str:
    """Return the SHA-256 of type, shape and bytes, whatever the order in memory."""
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if flat.numel():
        data: memoryview = flat.view(torch.uint8).numpy().data
        digest.update(data)
    return digest.hexdigest()
