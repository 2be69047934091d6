"""The formulas of a fused tail: everything that is neither a pass over the maps nor a sum over images.

Plain arithmetic, for numbers and for tables alike: `senet.kernels.tables` applies it to tensors, and
`senet.kernels.numba_tables` compiles it. The notation is that of `senet.kernels.tables`.
"""

from __future__ import annotations

from typing import Any


def relative_mean(shift: Any, first: Any, base: Any, pixels: int) -> Any:
    """Return the mean of a map less ``base``, from the sum ``first`` of ``y - shift``."""
    return shift - base + first / pixels


def own_scatter(first: Any, second: Any, pixels: int) -> Any:
    """Return the sum of squared distances of a map from its mean."""
    return second - first * first / pixels


def lost(base: Any, mean: Any, centre: Any) -> Any:
    """Return what rounding ``base + mean`` to ``centre`` has lost. The order of the sum is the point."""
    return base - centre + mean


def affine(rstd: Any, offset: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
    """Return BatchNorm as ``t = a d + c``: a and c."""
    a = rstd * weight
    return a, bias - offset * a


def sum_of_d(relative: Any, centre: Any, base: Any, pixels: int) -> Any:
    """Return the sum of ``d`` over a map whose mean less ``base`` is ``relative``."""
    return (relative - (centre - base)) * pixels


def squeeze(a: Any, c: Any, passed: Any, total: Any, pixels: int) -> Any:
    """Return SE's squeeze (Eq. 2) of ``t``: ``passed`` pixels count, over which ``d`` sums to ``total``."""
    return (a * total + c * passed) / pixels


def through_se(g: Any, gd: Any, s: Any, spread: Any, passed: Any, total: Any) -> tuple[Any, Any]:
    """Return the sum of the gradient of ``t`` over a map, and of that times ``d``.

    Each pixel's is the output's times the weight ``s``, plus the gradient of its squeeze, ``spread``.
    """
    return s * g + spread * passed, s * gd + spread * total


def weight_gradient(td: Any, t: Any, offset: Any, rstd: Any) -> Any:
    """Return the gradient of BatchNorm's weight from the sums of the gradient of ``t``, times d and plain."""
    return (td - offset * t) * rstd


def statistics_gradient(
    a: Any, rstd: Any, offset: Any, d_weight: Any, d_bias: Any, count: Any
) -> tuple[Any, Any]:
    """Return what a batch's statistics add to the gradient of each pixel, ``d Q + R``: Q and R."""
    q = -a * rstd * d_weight / count
    return q, -(q * offset + a * d_bias / count)
