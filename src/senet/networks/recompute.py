"""Gradient checkpointing that leaves BatchNorm's statistics as they would be without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(unit: nn.Module, x: Tensor) -> Tensor:
    """Run ``unit`` on ``x``, keeping only ``x`` for the backward pass, which runs the unit once more."""
    y: Tensor = checkpoint(
        unit, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(unit))
    )
    return y


@contextmanager
def _statistics_kept(unit: nn.Module) -> Iterator[None]:
    """Let BatchNorm normalise by the batch without counting the batch a second time."""
    counting = [
        module for module in unit.modules() if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    for module in counting:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in counting:
            module.track_running_stats = True
