"""Refuses what a forward does beside computing: its graph would do it no more."""

from __future__ import annotations

import builtins
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class Untraceable(Exception):
    """Why a forward cannot be read as a graph."""


_CALLS: tuple[tuple[Any, str], ...] = (
    (builtins, "print"),
    (warnings, "warn"),
    (torch, "is_grad_enabled"),
    (torch, "is_inference_mode_enabled"),
    (torch, "is_autocast_enabled"),
    (torch.jit, "is_tracing"),
    (torch.compiler, "is_compiling"),
    (torch.compiler, "is_exporting"),
    (torch.onnx, "is_in_onnx_export"),
)
"""What tells something to the user, or asks how PyTorch runs just now."""


@contextmanager
def nothing_unseen() -> Iterator[None]:
    """Raise `Untraceable` if what runs in the context prints, warns, asks for a mode or draws at random."""
    originals = [(owner, name, getattr(owner, name)) for owner, name in _CALLS]
    python, arrays, tensors = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()
    for owner, name, original in originals:
        setattr(owner, name, _refused(original, name))
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
        drawn = random.getstate() != python or not torch.equal(torch.get_rng_state(), tensors)
        now = np.random.get_state(legacy=False)
        drawn = drawn or now["state"]["pos"] != arrays["state"]["pos"] or now["gauss"] != arrays["gauss"]
        random.setstate(python)
        np.random.set_state(arrays)
        torch.set_rng_state(tensors)
    if drawn:
        raise Untraceable("its forward draws random numbers")


def _refused(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        caller = str(sys._getframe(1).f_globals.get("__name__"))
        if caller.partition(".")[0] in ("torch", "senet"):
            return original(*args, **kwargs)
        raise Untraceable(f"its forward calls {name}()")

    return call
