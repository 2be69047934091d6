"""Gradient checkpointing that leaves BatchNorm's statistics as they would be without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(unit: nn.Module, x: Tensor) -> Tensor:
    """Run ``unit`` on ``x``, keeping only ``x`` for the backward pass, which runs the unit once more."""
    if torch.compiler.is_compiling():
        # It takes no contexts, and needs none: a compiled graph writes a layer's statistics once.
        compiled: Tensor = checkpoint(unit, x, use_reentrant=False)
        return compiled
    y: Tensor = checkpoint(unit, x, use_reentrant=False, context_fn=partial(_contexts, unit))
    return y


def _contexts(unit: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what surrounds the first run and the second one."""
    return nullcontext(), _statistics_kept(unit)


@contextmanager
def _statistics_kept(unit: nn.Module) -> Iterator[None]:
    """Let BatchNorm count the batch a second time on copies of its statistics, which are then dropped."""
    kept = [(module, dict(module._buffers)) for module in unit.modules() if isinstance(module, _BatchNorm)]
    for module, buffers in kept:
        module._buffers.update(
            {name: None if each is None else each.clone() for name, each in buffers.items()}
        )
    try:
        yield
    finally:
        for module, buffers in kept:
            module._buffers.update(buffers)
