"""What the relatives share: layers for any number of spatial dimensions, starts, gates and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from senet.blocks.se_config import Start
from senet.checks import one_of, positive
from senet.errors import SenetError
from senet.kernels.reference import double_sigmoid

CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMALISATIONS: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]] = {
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}
_HALF = (torch.float16, torch.bfloat16)


def double_hard_sigmoid(x: Tensor) -> Tensor:
    """Return twice the hard sigmoid: exactly 1 at 0."""
    return 2 * functional.hardsigmoid(x)


def sigmoid_for(start: Start) -> Callable[[Tensor], Tensor]:
    """Return the sigmoid, or for the start ``"identity"`` twice the sigmoid."""
    return double_sigmoid if start == "identity" else torch.sigmoid


def to_float32(x: Tensor) -> Tensor:
    """Return half-precision maps in float32, in which they are averaged; others as they are."""
    return x.float() if x.dtype in _HALF else x


def draw(layer: nn.Linear | _ConvNd) -> None:
    """Start with He et al. (2015) weights and zero biases, as `senet.SqueezeExcitation` does."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def zero(layer: nn.Linear | _ConvNd | _BatchNorm) -> None:
    """Let a layer return zeros until it is trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def require_choices(channels: int, start: str, dims: int = 2) -> None:
    """Raise `SenetError` unless a block can be built for these."""
    positive("channels", channels)
    one_of("start", start, get_args(Start))
    if isinstance(dims, bool) or not hasattr(dims, "__index__") or dims not in CONVOLUTIONS:
        raise SenetError(f"dims must be 1, 2 or 3, the number of spatial dimensions, not {dims!r}.")


def require_maps(block: str, x: Tensor, channels: int, dims: int | None = None) -> None:
    """Raise `SenetError` unless ``x`` is (N, channels, *spatial) with pixels.

    Args:
        block: its name.
        x: what it is given.
        channels: that it weighs.
        dims: the number of spatial dimensions, or ``None`` where any will do.
    """
    if x.dim() < 2 or x.shape[1] != channels or (dims is not None and x.dim() != dims + 2):
        spatial = "..." if dims is None else ", ".join(["D", "H", "W"][-dims:])
        raise SenetError(
            f"This {block} block expects input of shape (N, {channels}, {spatial}), not {tuple(x.shape)}."
        )
    if 0 in x.shape[2:]:
        raise SenetError(
            f"{block} needs maps with at least one pixel, not an input of shape {tuple(x.shape)}."
        )


def require_batch(block: str, norm: nn.Module, x: Tensor) -> None:
    """Raise `SenetError` where ``norm`` would have to normalise one single value per channel of ``x``."""
    if norm.training and x.shape[0] * math.prod(x.shape[2:]) == 1:
        raise SenetError(
            f"The BatchNorm in {block} cannot be trained on a single value per channel (input "
            f"{tuple(x.shape)}): use more images or larger ones."
        )
