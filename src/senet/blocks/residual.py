"""Residual units with the ReLU behind the sum (He et al. 2016), as ResNet, ResNeXt and SENet-154 have them.

`senet.blocks.placement` says where SE sits. A basic unit takes its first 3x3 convolution for the
placement conv3x3, the second one being the standard place.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from senet.blocks.cost import Cost, CostedModule, Shape, addition_cost, chain_cost, cost_of
from senet.blocks.placement import se_at, se_for, se_of
from senet.blocks.se_config import Placement, SEConfig
from senet.blocks.tail import in_order, tail

StrideIn = Literal["1x1", "3x3"]


class BasicUnit(CostedModule):
    """Two 3x3 convolutions and a shortcut; the unit of ResNet-18, ResNet-34 and the CIFAR networks.

    Args:
        in_channels: of the input.
        out_channels: of both convolutions and of the output.
        stride: of the first convolution.
        se: the SE block and its placement, or ``None`` for the plain unit.

    Raises:
        SenetError: the reduction is larger than the number of channels SE would see.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, se: SEConfig | None = None
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride)
        self.placement: Placement | None = None if se is None else se.placement
        self.se = se_for(se, out_channels, pre=in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride) for (N, in_channels, H, W)."""
        y = tail(self.conv1(se_at("pre", self, x)), self.bn1, self.relu, se=se_of("conv3x3", self))
        return _join(self, x, self.conv2(y), self.bn2)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        return _unit_cost(self, [self.conv1, self.bn1, self.conv2, self.bn2], shape)


class BottleneckUnit(CostedModule):
    """1x1, 3x3 and 1x1 convolution and a shortcut; the unit of ResNet-50 and deeper, and ResNeXt.

    Args:
        in_channels: of the input.
        width: channels of the first two convolutions.
        out_channels: of the third convolution and of the output.
        stride: of the unit.
        groups: of the 3x3 convolution; 32 in the ResNeXt networks.
        stride_in: the convolution that strides: the first 1x1 in the paper's ResNets, the 3x3 in
            its ResNeXts and in torchvision.
        first_width: channels of the first convolution where they differ from ``width``: SENet-154 has
            half as many (the paper's appendix, a).
        projection: the kernel of a shortcut that strides: 3x3 in SENet-154 (appendix, c). One that only
            changes the number of channels is always 1x1.
        se: the SE block and its placement, or ``None`` for the plain unit.

    Raises:
        SenetError: the reduction is larger than the number of channels SE would see.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        *,
        stride: int = 1,
        groups: int = 1,
        stride_in: StrideIn = "1x1",
        first_width: int | None = None,
        projection: StrideIn = "1x1",
        se: SEConfig | None = None,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        first_width = first_width or width
        self.conv1 = nn.Conv2d(in_channels, first_width, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(first_width)
        self.conv2 = _conv3x3(first_width, width, second, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        kernel = 3 if projection == "3x3" and stride > 1 else 1
        self.downsample = _projection(in_channels, out_channels, stride, kernel)
        self.placement: Placement | None = None if se is None else se.placement
        self.se = se_for(se, out_channels, pre=in_channels, conv3x3=width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride) for (N, in_channels, H, W)."""
        y = tail(self.conv1(se_at("pre", self, x)), self.bn1, self.relu)
        y = tail(self.conv2(y), self.bn2, self.relu, se=se_of("conv3x3", self))
        return _join(self, x, self.conv3(y), self.bn3)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        branch = [self.conv1, self.bn1, self.conv2, self.bn2, self.conv3, self.bn3]
        return _unit_cost(self, branch, shape)


ResidualUnit = BasicUnit | BottleneckUnit


def _join(unit: ResidualUnit, x: Tensor, branch: Tensor, bn: nn.BatchNorm2d) -> Tensor:
    """End the branch with its BatchNorm, and SE where it sits there, and add the shortcut of ``x``."""
    shortcut = x if unit.downsample is None else in_order(unit.downsample, x)
    shortcut = se_at("identity", unit, shortcut)
    y = tail(branch, bn, unit.relu, se=se_of("standard", unit), shortcut=shortcut)
    return se_at("post", unit, y)


def _projection(in_channels: int, out_channels: int, stride: int, kernel: int = 1) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, 1, groups=groups, bias=False)


def _unit_cost(unit: ResidualUnit, branch: list[nn.Module], shape: Shape) -> tuple[Cost, Shape]:
    total, output = chain_cost(branch, shape)
    if unit.downsample is not None:
        total += cost_of(unit.downsample, shape)[0]
    if unit.se is not None:
        total += unit.se.cost((unit.se.channels, *_size_at_se(unit, shape, output)))[0]
    return total + addition_cost(output), output


def _size_at_se(unit: ResidualUnit, shape: Shape, output: Shape) -> Shape:
    """Return height and width of the maps that SE weighs."""
    if unit.placement == "pre":
        return shape[1:]
    return output[1:]
