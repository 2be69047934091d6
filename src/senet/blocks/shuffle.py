"""Channel shuffle and the unit of ShuffleNet (Zhang et al. 2018, arXiv:1707.01083)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from senet.blocks.cost import Cost, CostedModule, Shape, addition_cost, chain_cost, cost_of
from senet.blocks.placement import se_at, se_for, se_of
from senet.blocks.se_config import Placement, SEConfig
from senet.blocks.tail import tail


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal the channels of every group out to all groups (Section 3.1 of the article, Fig. 1).

    Channel ``i`` of group ``g`` becomes channel ``i * groups + g``.

    Args:
        x: (N, C, H, W), where C is a multiple of ``groups``.
        groups: into which the channels are divided.

    Returns:
        A copy in the shape and memory format of ``x``.
    """
    N, C, H, W = x.shape
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        # With the channels in front, the copy would have the other memory format, and the next
        # convolution would copy it back.
        pixels = x.permute(0, 2, 3, 1).reshape(N, H, W, groups, C // groups)
        return pixels.transpose(3, 4).reshape(N, H, W, C).permute(0, 3, 1, 2)
    return x.reshape(N, groups, C // groups, H, W).transpose(1, 2).reshape(N, C, H, W)


class ShuffleUnit(CostedModule):
    """Grouped 1x1 convolution, channel shuffle, depthwise 3x3, grouped 1x1 and a shortcut (Fig. 2).

    With stride 1 the shortcut is the identity and is added. With stride 2 it is a 3x3 average pool whose
    channels stand behind those of the branch, which has so many fewer. A ReLU ends either.

    `senet.blocks.placement` says where SE sits, reading "sum" as "sum or concatenation". With stride 2,
    standard weighs the channels of the branch alone, identity those of the pool alone. No ReLU follows
    the 3x3 convolution, so conv3x3 has the 1x1 convolution behind it.

    Args:
        in_channels: of the input.
        out_channels: of the output; a quarter of them is the width of the first two convolutions.
        groups: of the 1x1 convolutions and of the shuffle.
        stride: 1 or 2; of the 3x3 convolution and the pool. With 1, input and output have equally many
            channels.
        first_is_grouped: false for the unit behind the stem, whose input has few channels.
        se: the SE block and its placement, or ``None`` for the plain unit.

    Raises:
        SenetError: the reduction is larger than the number of channels SE would see.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        groups: int,
        stride: int = 1,
        first_is_grouped: bool = True,
        se: SEConfig | None = None,
    ) -> None:
        super().__init__()
        self.groups = groups
        width = out_channels // 4
        branch = out_channels if stride == 1 else out_channels - in_channels
        self.conv1 = nn.Conv2d(in_channels, width, 1, groups=groups if first_is_grouped else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, branch, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(branch)
        self.relu = nn.ReLU(inplace=True)
        self.pool = None if stride == 1 else nn.AvgPool2d(3, stride, padding=1)
        self.placement: Placement | None = None if se is None else se.placement
        self.se = se_for(
            se, out_channels, standard=branch, pre=in_channels, identity=in_channels, conv3x3=width
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride) for (N, in_channels, H, W)."""
        y = tail(self.conv1(se_at("pre", self, x)), self.bn1, self.relu)
        y = self.conv2(channel_shuffle(y, self.groups))
        y = self.conv3(tail(y, self.bn2, se=se_of("conv3x3", self)))
        se = se_of("standard", self)
        if self.pool is None:
            y = tail(y, self.bn3, self.relu, se=se, shortcut=se_at("identity", self, x))
        else:
            y = tail(y, self.bn3, se=se)
            y = self.relu(torch.cat([y, se_at("identity", self, self.pool(x))], 1))
        return se_at("post", self, y)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output.

        The shuffle and the concatenation compute nothing.
        """
        branch = [self.conv1, self.bn1, self.conv2, self.bn2, self.conv3, self.bn3]
        total, output = chain_cost(branch, shape)
        if self.pool is None:
            total += addition_cost(output)
        else:
            total += cost_of(self.pool, shape)[0]
            output = (output[0] + shape[0], *output[1:])
        if self.se is not None:
            size = shape[1:] if self.placement == "pre" else output[1:]
            total += self.se.cost((self.se.channels, *size))[0]
        return total, output
