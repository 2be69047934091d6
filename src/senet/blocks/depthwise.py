"""The depthwise separable convolution of MobileNet (Howard et al. 2017, arXiv:1704.04861)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from senet.blocks.cost import Cost, CostedModule, Shape, chain_cost
from senet.blocks.placement import se_for, se_of
from senet.blocks.se_config import Placement, SEConfig
from senet.blocks.tail import tail

Rectifier = Literal["relu", "relu6"]


def rectifier(kind: Rectifier) -> nn.Module:
    """Return the ReLU, or with ``"relu6"`` the ReLU that is never larger than 6."""
    return {"relu": nn.ReLU, "relu6": nn.ReLU6}[kind](inplace=True)


class DepthwiseSeparableUnit(CostedModule):
    """A 3x3 convolution of every channel by itself, then a 1x1 convolution; BatchNorm and ReLU behind each.

    The unit has no shortcut. SE therefore follows a non-linearity, as Section 3.3 has it for networks
    without shortcuts: that of the 1x1 convolution (placement standard) or that of the 3x3 (conv3x3).

    Args:
        in_channels: of the input and of the 3x3 convolution.
        out_channels: of the 1x1 convolution and of the output.
        stride: of the 3x3 convolution.
        activation: behind both convolutions: ``"relu"`` as in the article, or ``"relu6"``.
        se: the SE block and its placement, or ``None`` for the plain unit.

    Raises:
        SenetError: the reduction is larger than the number of channels SE would see.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        activation: Rectifier = "relu",
        se: SEConfig | None = None,
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = rectifier(activation)
        self.placement: Placement | None = None if se is None else se.placement
        self.se = se_for(se, out_channels, conv3x3=in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride) for (N, in_channels, H, W)."""
        y = self.depthwise(x)
        y = self.pointwise(tail(y, self.bn1, self.relu, se=se_of("conv3x3", self), relu_first=True))
        return tail(y, self.bn2, self.relu, se=se_of("standard", self), relu_first=True)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        total, output = chain_cost([self.depthwise, self.bn1, self.pointwise, self.bn2], shape)
        if self.se is not None:
            # Only the 3x3 convolution strides, so both places have the output's height and width.
            total += self.se.cost((self.se.channels, *output[1:]))[0]
        return total, output
