"""The backends by name, and why one is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

import torch

from senet.errors import SenetError, nearest

MODES = ("auto", "always", "reference", "torch")
"""What SENET_KERNELS may say: the fastest, fused whatever the size, layer by layer, the plain formulation."""
_MODULES = {"numba": "numba_passes", "triton": "triton_passes", "torch": "torch_passes"}


_missing: dict[str, str] = {}
_loaded: dict[str, ModuleType] = {}


def passes_of(backend: str) -> ModuleType:
    """Return the module with the passes of a backend: ``"numba"``, ``"triton"`` or ``"torch"``."""
    return import_module(f"senet.kernels.{_MODULES[backend]}")


def missing(backend: str) -> str:
    """Return why a backend cannot be imported, or an empty text.

    torch.compile cannot watch an import. If it is the first to ask, the backend is taken to be there, and
    `passes_or_plain` finds out.
    """
    if backend not in _missing and not torch.compiler.is_compiling():
        try:
            passes_of(backend)
            _missing[backend] = ""
        except ImportError as error:
            _missing[backend] = f"{backend} cannot be imported ({error}): run pip install {backend}"
    return _missing.get(backend, "")


def passes_or_plain(backend: str) -> ModuleType:
    """Return the passes of a backend, or the plain ones where it cannot be imported."""
    if backend not in _loaded:
        _loaded[backend] = passes_of("torch" if missing(backend) else backend)
    return _loaded[backend]


def mode() -> str:
    """Return how the kernels are chosen: one of `MODES`."""
    return _modes[-1]


@contextmanager
def kernels(mode: str) -> Iterator[None]:
    """Choose the kernels by ``mode``, one of `MODES`, for as long as the context lasts.

    Raises:
        SenetError: the mode is not known.
    """
    _modes.append(_checked(mode, "The kernels"))
    try:
        yield
    finally:
        _modes.pop()


def _checked(mode: str, what: str) -> str:
    if mode not in MODES:
        raise SenetError(f"{what} must be one of {', '.join(MODES)}, not {mode!r}.{nearest(mode, MODES)}")
    return mode


_modes = [_checked(os.environ.get("SENET_KERNELS", "auto"), "SENET_KERNELS")]
