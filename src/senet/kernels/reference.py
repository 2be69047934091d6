"""Squeeze, excitation and scale in plain PyTorch: the truth every faster backend is held against.

Shapes: N images, C channels, ``spatial`` stands for any number of spatial dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_HALF = (torch.float16, torch.bfloat16)


def squeeze(x: Tensor, how: str = "avg") -> Tensor:
    """Describe each channel by one number (Eq. 2).

    Args:
        x: (N, C, *spatial). In (N, C) every map is one pixel, which describes itself.
        how: ``"avg"`` for the mean of the map as in the paper, ``"max"`` for its largest value.

    Returns:
        (N, C) in the type of ``x``. The mean of half-precision maps is accumulated in float32:
        their sum overflows float16 and loses digits in bfloat16.
    """
    if x.dim() == 2:
        return x
    spatial = tuple(range(2, x.dim()))
    if how == "max":
        return x.amax(spatial)
    if x.dtype in _HALF:
        return x.mean(spatial, dtype=torch.float32).to(x.dtype)
    return x.mean(spatial)


def excitation(
    z: Tensor,
    reduce: Callable[[Tensor], Tensor],
    activation: Callable[[Tensor], Tensor],
    expand: Callable[[Tensor], Tensor],
    gate: Callable[[Tensor], Tensor],
) -> Tensor:
    """Compute the channel weights ``s = gate(W2 activation(W1 z))`` (Eq. 3).

    Args:
        z: the squeezed maps, (N, C).
        reduce: the first fully connected layer, (N, C) to (N, C / r).
        activation: between the two layers.
        expand: the second fully connected layer, (N, C / r) to (N, C).
        gate: applied to the result.

    Returns:
        (N, C).
    """
    return gate(expand(activation(reduce(z))))


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a fully connected layer to every pixel, as a 1x1 convolution (NoSqueeze, Table 16).

    Args:
        x: (N, C, *spatial).
        weight: (K, C).
        bias: (K,) or none.

    Returns:
        (N, K, *spatial).
    """
    maps = x if x.dim() == 4 else x.reshape(*x.shape[:2], -1, 1)
    y = torch.nn.functional.conv2d(maps, weight[:, :, None, None], bias)
    return y if x.dim() == 4 else y.reshape(*y.shape[:2], *x.shape[2:])


def double_sigmoid(x: Tensor) -> Tensor:
    """Return twice the sigmoid: exactly 1 at 0, so a block of zeros passes its input on unchanged."""
    return 2 * torch.sigmoid(x)


def scale(x: Tensor, s: Tensor) -> Tensor:
    """Multiply each map of ``x`` by its channel weight (Eq. 4).

    Args:
        x: (N, C, *spatial).
        s: (N, C), or one weight per pixel in the shape of ``x``; brought to the type of ``x``, which
            autocast may have left.

    Returns:
        The shape, type and memory format of ``x``.
    """
    return x * s.to(x.dtype).reshape(s.shape + (1,) * (x.dim() - s.dim()))
