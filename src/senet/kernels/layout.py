"""How maps lie in memory: all channels of a pixel together, or all pixels of a channel."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class Layout(NamedTuple):
    """The sizes of maps (N, C, *spatial), M being their pixels, and the order of their values.

    ``last`` says that the values of a pixel lie beside each other (channels_last); (N, C) tables have one
    pixel and belong there too.
    """

    N: int
    C: int
    M: int
    last: bool


def layout_of(y: Tensor) -> Layout | None:
    """Return the layout of ``y``, (N, C, *spatial), or ``None`` where it has gaps or another order."""
    N, C = y.shape[:2]
    M = math.prod(y.shape[2:])
    if y.is_contiguous():
        return Layout(N, C, M, last=M == 1)
    if y.dim() in _LAST and y.is_contiguous(memory_format=_LAST[y.dim()]):
        return Layout(N, C, M, last=True)
    return None


def dense(y: Tensor) -> tuple[Tensor, Layout]:
    """Return ``y``, copied only where its values have gaps or an order of their own, and its layout."""
    layout = layout_of(y)
    if layout is None:
        y = y.contiguous()
        layout = layout_of(y)
        assert layout is not None
    return y, layout


def laid_out(x: Tensor, like: Tensor) -> Tensor:
    """Return ``x``, copied where its values lie in another order than those of the dense ``like``."""
    if x.stride() == like.stride() or layout_of(x) == layout_of(like):
        return x
    return torch.empty_like(like, dtype=x.dtype).copy_(x)
