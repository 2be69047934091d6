"""CBAM: the convolutional block attention module, channel attention and then spatial attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from senet.blocks.cost import Cost, CostedModule, Shape, byte_count, parameter_count
from senet.blocks.relatives.shared import (
    CONVOLUTIONS,
    NORMALISATIONS,
    draw,
    require_batch,
    require_choices,
    require_maps,
    sigmoid_for,
    to_float32,
    zero,
)
from senet.blocks.se_config import SEConfig, Start
from senet.kernels import reference

_WINDOW = 7


class CBAM(CostedModule):
    """Weigh channels, then pixels, each by mean and maximum (Woo et al. 2018, arXiv:1807.06521, Eq. 2 and 3).

    ``u = x * sigmoid(MLP(mean(x)) + MLP(max(x)))`` over the pixels of each channel with one shared MLP of two
    layers, then ``y = u * sigmoid(BN(conv7x7([mean(u); max(u)])))`` over the channels of each pixel. The
    BatchNorm is that of the authors' code and of timm. Takes (N, C, *spatial) and returns the same shape,
    type and memory format. Half-precision maps are averaged in float32.

    Args:
        channels: C.
        reduction: r; the hidden layer has C / r units, see `SEConfig.hidden_width`.
        dims: number of spatial dimensions, 1 to 3.
        start: ``"random"`` for the paper's gates and He et al. (2015) weights; ``"identity"`` for twice the
            sigmoid behind zeros (the second layer of the MLP; scale and shift of the BatchNorm), so that all
            gates are exactly 1 until it is trained.

    Raises:
        SenetError: a value is not allowed, or the reduction is larger than ``channels``.
    """

    def __init__(self, channels: int, reduction: int = 16, *, dims: int = 2, start: Start = "random") -> None:
        super().__init__()
        require_choices(channels, start, dims)
        hidden = SEConfig(reduction=reduction).hidden_width(channels)
        self.channels = channels
        self.dims = dims
        self.start = start
        self.gate = sigmoid_for(start)
        self.reduce = nn.Linear(channels, hidden, bias=False)
        self.expand = nn.Linear(hidden, channels, bias=False)
        self.conv = CONVOLUTIONS[dims](2, 1, _WINDOW, padding=_WINDOW // 2, bias=False)
        self.norm = NORMALISATIONS[dims](1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew and forget the statistics."""
        for layer in (self.reduce, self.expand, self.conv):
            draw(layer)
        self.norm.reset_parameters()
        if self.start == "identity":
            zero(self.expand)
            zero(self.norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, (N, C, *spatial), with each channel and then each pixel weighed.

        Raises:
            SenetError: ``x`` has another number of channels or dimensions, or maps without pixels; or it
                has one single pixel in training.
        """
        require_maps("CBAM", x, self.channels, self.dims)
        u = reference.scale(x, self._channel_weights(x))
        return reference.scale(u, self._pixel_weights(u))

    def _channel_weights(self, x: Tensor) -> Tensor:
        mean, largest = (
            self.expand(torch.relu(self.reduce(reference.squeeze(x, how)))) for how in ("avg", "max")
        )
        return self.gate(mean + largest)

    def _pixel_weights(self, u: Tensor) -> Tensor:
        mean = to_float32(u).mean(1, keepdim=True).to(u.dtype)
        maps = self.conv(torch.cat([mean, u.amax(1, keepdim=True)], 1))
        require_batch("CBAM", self.norm, maps)
        return self.gate(self.norm(maps))

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape``, (C, *spatial), and the shape of the output.

        Each value is read four times, for a mean and a maximum of both kinds, and multiplied twice.
        """
        values, pixels = math.prod(shape), math.prod(shape[1:])
        hidden = self.reduce.out_features
        cost = Cost(
            parameters=parameter_count(self),
            bytes=byte_count(self),
            convolution=self.conv.weight.numel() * pixels,
            fully_connected=2 * (self.reduce.weight.numel() + self.expand.weight.numel()),
            pooling=4 * values,
            scaling=2 * values + (self.channels + pixels if self.start == "identity" else 0),
            addition=self.channels,
            activations=2 * (hidden + self.channels) + pixels,
        )
        return cost, shape

    def extra_repr(self) -> str:
        """Name what the layers below do not show."""
        hidden = self.reduce.out_features
        return f"channels={self.channels}, hidden={hidden}, dims={self.dims}, start={self.start}"
