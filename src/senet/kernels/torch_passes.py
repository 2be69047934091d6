"""The passes over the maps in plain PyTorch: what every other backend computes, and what torch.compile fuses.

Shapes: maps are (N, C, *spatial); tables are (N, C), or (C,) where all images share them.
Each function that ends in ``_pass`` is one pass over the maps on a backend that is fast.
"""

from __future__ import annotations

import torch
from torch import Tensor

from senet.kernels import tables
from senet.kernels.tables import Affine, Moments, table_dtype

algebra = tables
"""What comes between the passes."""
infer = None
"""No whole tails in one call."""
SHIFT_PIXELS = 16
"""Pixels of each map whose mean is the shift of its sums."""


def moments_pass(y: Tensor, *, second: bool) -> Moments:
    """Sum each map, and its squares where ``second`` asks for them, shifted so that nothing cancels."""
    maps = _flat(y).to(table_dtype(y.dtype))
    shift = maps[..., :SHIFT_PIXELS].mean(-1)
    # An infinite shift would make a sum of what is not a number out of an infinite one.
    shift = torch.where(shift.isfinite(), shift, 0)
    d = maps - shift[..., None]
    return Moments(shift, d.sum(-1), d.square().sum(-1) if second else None)


def relu_sums_pass(y: Tensor, centre: Tensor, affine: Affine) -> Tensor:
    """Return (2, N, C): how many pixels a ReLU lets through, and the sum of ``d`` over them."""
    d = _centred(y, centre)
    passed = ~(_apply(affine, d) <= 0)
    return torch.stack([passed.sum(-1, dtype=d.dtype), torch.where(passed, d, 0).sum(-1)])


def apply_pass(y: Tensor, centre: Tensor, affine: Affine, shortcut: Tensor | None, *, relu: bool) -> Tensor:
    """Return ``scale d + bias`` plus the shortcut, through a ReLU if asked, in the type of ``y``."""
    out = _apply(affine, _centred(y, centre))
    if shortcut is not None:
        out = out + _flat(shortcut).to(out.dtype)
    if relu:
        out = torch.relu(out)
    return _unflat(out, y)


def gradient_sums_pass(
    grad: Tensor, y: Tensor, centre: Tensor, mask: Tensor | Affine | None
) -> tuple[Tensor, Tensor]:
    """Return the sums over each map of the masked gradient ``g`` and of ``g d``, (N, C) each.

    Args:
        grad: of the output.
        y: the tail's input.
        centre: (C,).
        mask: where a ReLU let through: the output itself, the affine map that it cut, or no ReLU.
    """
    d = _centred(y, centre)
    g = _masked(_flat(grad).to(d.dtype), mask, d)
    return g.sum(-1), (g * d).sum(-1)


def gradient_apply_pass(
    grad: Tensor,
    y: Tensor,
    centre: Tensor,
    mask: Tensor | Affine | None,
    P: Tensor,
    T: Tensor | None,
    Q: Tensor | None,
    R: Tensor | None,
    *,
    with_shortcut: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of ``y``, ``mask (g P + T) + d Q + R``, and of the shortcut, the masked ``g``."""
    d = _centred(y, centre)
    g = _flat(grad).to(d.dtype)
    dy = g * P[..., None]
    if T is not None:
        dy = dy + T[..., None]
    dy = _masked(dy, mask, d)
    if Q is not None:
        dy = dy + d * Q[..., None]
    if R is not None:
        dy = dy + R[..., None]
    return _unflat(dy, y), _unflat(_masked(g, mask, d), y) if with_shortcut else None


def _masked(g: Tensor, mask: Tensor | Affine | None, d: Tensor) -> Tensor:
    if mask is None:
        return g
    cut = _apply(mask, d) if isinstance(mask, Affine) else _flat(mask)
    return torch.where(cut <= 0, 0, g)


def _apply(affine: Affine, d: Tensor) -> Tensor:
    return affine.scale[..., None] * d + affine.bias[..., None]


def _centred(y: Tensor, centre: Tensor) -> Tensor:
    return _flat(y).to(centre.dtype) - centre[:, None]


def _flat(y: Tensor) -> Tensor:
    """Return the maps as (N, C, M)."""
    return y.flatten(2) if y.dim() > 2 else y[..., None]


def _unflat(maps: Tensor, y: Tensor) -> Tensor:
    """Return (N, C, M) in the shape and type of ``y``; the layout follows, M being its pixels in order."""
    return maps.to(y.dtype).reshape(y.shape)
