"""Layers whose weights can take up a factor for each channel of their output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized

from senet.blocks.attached import attached_block, has_other_hooks
from senet.blocks.squeeze_excitation import has_forward_of_its_own, has_hooks
from senet.blocks.tail import NORM_FORWARDS

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_FORWARDS: tuple[Any, ...] = (
    *NORM_FORWARDS,
    nn.GroupNorm.forward,
    *(each.forward for each in _CONVOLUTIONS),
)
_CONVOLVES = tuple(each._conv_forward for each in _CONVOLUTIONS)


def weighs_channels(layer: nn.Module) -> bool:
    """Whether ``layer`` is a convolution, a BatchNorm or a GroupNorm, or a kind of one."""
    return isinstance(layer, _BatchNorm | nn.GroupNorm | _ConvNd)


def channels_of(layer: Any) -> int:
    """Return the channels that a layer of `weighs_channels` puts out."""
    if isinstance(layer, _ConvNd):
        return layer.out_channels
    return int(layer.num_features if isinstance(layer, _BatchNorm) else layer.num_channels)


def unfit(layer: nn.Module, model: nn.Module, *, runs: Mapping[nn.Module, int]) -> str:
    """Return what about ``layer`` forbids to scale its output by way of its weights, or an empty text.

    Args:
        layer: a part of ``model`` for which `weighs_channels` holds.
        model: whose other modules may use the same weights.
        runs: how often each layer runs in a forward of ``model``.
    """
    if not _has_known_forward(layer):
        return f"is a {type(layer).__name__} with its own forward"
    if is_parametrized(layer) or not {"weight", "bias"} <= set(layer._parameters):
        return "computes its weights from others"
    if has_other_hooks(layer) if attached_block(layer) is not None else has_hooks(layer):
        return "has a hook"
    if runs[layer] != 1:
        return "runs several times"
    own = {id(each) for each in layer._parameters.values() if each is not None}
    others = (other for other in model.modules() if other is not layer)
    shared = any(id(each) in own for other in others for each in other._parameters.values())
    return "shares its weights with another layer" if shared else ""


def _has_known_forward(layer: nn.Module) -> bool:
    kind: Any = type(layer)
    if kind.forward not in _FORWARDS or has_forward_of_its_own(layer):
        return False
    return not isinstance(layer, _ConvNd) or kind._conv_forward in _CONVOLVES


def scale_output(layer: Any, factor: Tensor, like: Tensor) -> None:
    """Change the weights of ``layer`` so that it puts out ``factor`` times what it did.

    A norm without weights gets some.

    Args:
        layer: one of which `unfit` says nothing.
        factor: of each channel, (C,) float64.
        like: gives the device and the type of weights that are new.
    """
    if layer.weight is None:
        layer.weight = nn.Parameter(factor.to(like.device, like.dtype))
        layer.bias = nn.Parameter(torch.zeros_like(layer.weight))
        layer.affine = True
        return
    for each in (layer.weight, layer.bias):
        if each is not None:
            with torch.no_grad():
                shape = (-1,) + (1,) * (each.dim() - 1)
                each.copy_((each.cpu().double() * factor.reshape(shape)).to(each.dtype))
