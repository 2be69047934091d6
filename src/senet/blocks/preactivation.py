"""Residual units with BatchNorm and ReLU in front of each convolution (He et al. 2016, Identity Mappings).

With the activated input ``a = relu(bn1(x))``, the rest F of the branch and the shortcut S, which is ``x``
itself or, where the size or the number of channels changes, a 1x1 convolution of ``a``:

* plain: ``F(a) + S``. Nothing follows the sum, and no BatchNorm follows F's last convolution.
* standard: ``SE(F(a)) + S``.
* pre: SE weighs ``x`` in front of ``bn1``: ``a = relu(bn1(SE(x)))``. A shortcut that is ``x`` itself sees it
  unweighed. A projection shares ``a`` with the branch and so gets the weighed input: feeding it another
  would take a second pass through ``bn1``.
* post: ``SE(F(a) + S)``.
* identity: ``F(a) + SE(S)``, behind the projection where there is one.
* conv3x3: SE directly behind the 3x3 convolution, before the next BatchNorm and ReLU, as standard has it
  behind the last one. A basic unit takes its first 3x3.

With the BatchNorm in front of the convolution, SE sees means that most images share. Hidden units of SE may
therefore start dead, and where there are only one or two (ResNet-110 with r = 16) all of a block: its gates
are then the same for every image. ``SEConfig(activation="silu")`` knows no dead units.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from senet.blocks.cost import Cost, CostedModule, Shape, addition_cost, chain_cost, cost_of
from senet.blocks.placement import se_at, se_for, se_of
from senet.blocks.se_config import Placement, SEConfig
from senet.blocks.tail import tail


class PreActivationBasicUnit(CostedModule):
    """Two pre-activated 3x3 convolutions and a shortcut; the unit of ResNet-110 and of the Wide ResNets.

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
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride)
        self.placement: Placement | None = None if se is None else se.placement
        self.se = se_for(se, out_channels, pre=in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride) for (N, in_channels, H, W)."""
        activated = tail(se_at("pre", self, x), self.bn1, self.relu)
        y = se_at("conv3x3", self, self.conv1(activated))
        y = self.conv2(tail(y, self.bn2, self.relu))
        return _join(self, x, activated, y)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        return _unit_cost(self, [self.bn1, self.conv1, self.bn2, self.conv2], shape)


class PreActivationBottleneckUnit(CostedModule):
    """Pre-activated 1x1, 3x3 and 1x1 convolution and a shortcut; the unit of ResNet-164.

    Args:
        in_channels: of the input.
        width: channels of the first two convolutions.
        out_channels: of the third convolution and of the output.
        stride: of the unit.
        stride_in: the convolution that strides: the first 1x1 as in the article's code, or the 3x3.
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
        stride_in: Literal["1x1", "3x3"] = "3x3",
        se: SEConfig | None = None,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 1, first, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, second, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride)
        self.placement: Placement | None = None if se is None else se.placement
        self.se = se_for(se, out_channels, pre=in_channels, conv3x3=width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride) for (N, in_channels, H, W)."""
        activated = tail(se_at("pre", self, x), self.bn1, self.relu)
        y = self.conv2(tail(self.conv1(activated), self.bn2, self.relu))
        y = self.conv3(tail(se_at("conv3x3", self, y), self.bn3, self.relu))
        return _join(self, x, activated, y)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        branch = [self.bn1, self.conv1, self.bn2, self.conv2, self.bn3, self.conv3]
        return _unit_cost(self, branch, shape)


PreActivationUnit = PreActivationBasicUnit | PreActivationBottleneckUnit


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Conv2d | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


def _join(unit: PreActivationUnit, x: Tensor, activated: Tensor, branch: Tensor) -> Tensor:
    """Add the shortcut to the branch's output, with SE where it sits at the end."""
    shortcut = x if unit.downsample is None else unit.downsample(activated)
    shortcut = se_at("identity", unit, shortcut)
    return se_at("post", unit, tail(branch, se=se_of("standard", unit), shortcut=shortcut))


def _unit_cost(unit: PreActivationUnit, branch: list[nn.Module], shape: Shape) -> tuple[Cost, Shape]:
    total, output = chain_cost(branch, shape)
    if unit.downsample is not None:
        total += cost_of(unit.downsample, shape)[0]
    if unit.se is not None:
        # Every place but the first is behind the convolution that strides.
        size = shape[1:] if unit.placement == "pre" else output[1:]
        total += unit.se.cost((unit.se.channels, *size))[0]
    return total + addition_cost(output), output
