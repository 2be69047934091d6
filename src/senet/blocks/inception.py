"""The Inception module of GoogLeNet (Szegedy et al. 2015) with SE on the whole of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from senet.blocks.conv_unit import ConvUnit
from senet.blocks.cost import Cost, CostedModule, Shape, concat_cost
from senet.blocks.se_config import SEConfig
from senet.blocks.squeeze_excitation import SqueezeExcitation

BATCH_NORM_EPS = 1e-3
"""Of the GoogLeNet weights torchvision publishes."""


class InceptionModule(CostedModule):
    """Four branches side by side, concatenated, then SE where asked for (Section 3.3, Fig. 2).

    The third branch looks at 3x3 pixels where the article has 5x5: the form in which torchvision
    publishes weights.

    Args:
        in_channels: of the input.
        widths: the channels of 1x1; 3x3's reduction, 3x3; "5x5"'s reduction, "5x5"; pool projection.
        se: the SE block on the concatenated output, or ``None`` for the plain module.

    Raises:
        SenetError: the reduction is larger than the number of concatenated channels.
    """

    def __init__(
        self, in_channels: int, widths: tuple[int, int, int, int, int, int], *, se: SEConfig | None = None
    ) -> None:
        super().__init__()
        direct, reduce3, conv3, reduce5, conv5, projection = widths
        self.branch1 = _unit(in_channels, direct, 1)
        self.branch2 = nn.Sequential(_unit(in_channels, reduce3, 1), _unit(reduce3, conv3, 3))
        self.branch3 = nn.Sequential(_unit(in_channels, reduce5, 1), _unit(reduce5, conv5, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _unit(in_channels, projection, 1))
        self.out_channels = direct + conv3 + conv5 + projection
        self.se = None if se is None else SqueezeExcitation.from_config(self.out_channels, se)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H, W) for (N, in_channels, H, W)."""
        y = torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)
        return y if self.se is None else self.se(y)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        total, output = concat_cost((self.branch1, self.branch2, self.branch3, self.branch4), shape)
        if self.se is not None:
            total += self.se.cost(output)[0]
        return total, output


def _unit(in_channels: int, out_channels: int, kernel_size: int) -> ConvUnit:
    return ConvUnit(in_channels, out_channels, kernel_size, eps=BATCH_NORM_EPS)
