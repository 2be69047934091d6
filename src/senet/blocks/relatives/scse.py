"""scSE: concurrent spatial and channel squeeze and excitation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from senet.blocks.cost import Cost, CostedModule, Shape, byte_count, parameter_count
from senet.blocks.relatives.shared import CONVOLUTIONS, draw, require_choices, require_maps, zero
from senet.blocks.se_config import Start
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.kernels import reference


class SpatialChannelSE(CostedModule):
    """Weigh channels and pixels and add both (Roy et al. 2018, arXiv:1803.02579).

    ``y = x * cSE(x) + x * sSE(x)``: the first summand is `senet.SqueezeExcitation`, the second has
    ``sSE(x) = sigmoid(conv1x1(x))``, one gate for each pixel. Takes (N, C, *spatial) and returns the same
    shape, type and memory format.

    Args:
        channels: C.
        reduction: r of the channel half; the paper takes 2.
        dims: number of spatial dimensions, 1 to 3.
        start: ``"random"`` for He et al. (2015) weights; ``"identity"`` for zeros in the last layer of both
            halves. Each gate is then 1/2, and their sum returns the input exactly until it is trained (but
            for float16 numbers below 2^-13, and others below 2^-125: their halves are rounded).

    Raises:
        SenetError: a value is not allowed, or the reduction is larger than ``channels``.
    """

    def __init__(self, channels: int, reduction: int = 16, *, dims: int = 2, start: Start = "random") -> None:
        super().__init__()
        require_choices(channels, start, dims)
        self.channels = channels
        self.dims = dims
        self.start = start
        self.channel = SqueezeExcitation(channels, reduction)
        self.spatial = CONVOLUTIONS[dims](channels, 1, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.channel.reset_parameters()
        draw(self.spatial)
        if self.start == "identity":
            zero(self.channel.fc2)
            zero(self.spatial)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, (N, C, *spatial), weighed by channel plus weighed by pixel.

        Raises:
            SenetError: ``x`` has another number of channels or dimensions, or maps without pixels.
        """
        require_maps("scSE", x, self.channels, self.dims)
        y: Tensor = self.channel(x) + reference.scale(x, torch.sigmoid(self.spatial(x)))
        return y

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape``, (C, *spatial), and the shape of the output."""
        pixels = math.prod(shape[1:])
        spatial = Cost(
            parameters=parameter_count(self.spatial),
            bytes=byte_count(self.spatial),
            convolution=self.spatial.weight.numel() * pixels,
            scaling=math.prod(shape),
            addition=math.prod(shape),
            activations=pixels,
        )
        return self.channel.cost(shape)[0] + spatial, shape

    def extra_repr(self) -> str:
        """Name what the layers below do not show."""
        return f"channels={self.channels}, dims={self.dims}, start={self.start}"
