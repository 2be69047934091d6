"""The Triton backend for tests: compiled where there is a GPU, else interpreted on the CPU."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from unittest import mock

import torch

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
_OURS = ("senet.kernels.triton_kernels", "senet.kernels.triton_passes")


def triton_passes() -> ModuleType:
    """Return `senet.kernels.triton_passes`, ready to run on `DEVICE`.

    Triton interprets what is compiled while TRITON_INTERPRET is set, its own library included. So without
    a GPU the backend comes with a copy of Triton of its own, and all else in the process keeps Triton as it
    was or was not imported before.
    """
    if ON_GPU:
        return import_module(_OURS[1])
    before = _take_away()
    with mock.patch.dict(os.environ, TRITON_INTERPRET="1"):
        passes = import_module(_OURS[1])
    _take_away()
    sys.modules.update(before)
    return passes


def _take_away() -> dict[str, ModuleType]:
    """Make Python forget Triton and what imports it. Its libraries stay: they can be loaded only once."""
    names = [name for name in sys.modules if name.split(".")[0] == "triton" or name in _OURS]
    return {name: sys.modules.pop(name) for name in names if not name.startswith("triton._C")}
