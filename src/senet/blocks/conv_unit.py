"""Convolution, BatchNorm, ReLU and, in an SE-VGG, the SE block."""

from __future__ import annotations

from torch import Tensor, nn

from senet.blocks.cost import Cost, CostedModule, Shape, chain_cost
from senet.blocks.se_config import SEConfig
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.blocks.tail import tail


class ConvUnit(CostedModule):
    """Convolution, BatchNorm, ReLU, then SE where asked for.

    SE follows the non-linearity of the convolution, as Section 3.3 has it for VGG.

    Args:
        in_channels: of the input.
        out_channels: of the output, and of the SE block.
        kernel_size: side of the kernel, or its height and width; odd.
        stride: of the convolution.
        padded: whether zeros around the map, half a kernel wide, keep its size with stride 1.
        bias: whether the convolution has one in spite of the BatchNorm.
        eps: of the BatchNorm.
        se: the SE block, or ``None`` for the plain unit.

    Raises:
        SenetError: the reduction is larger than ``out_channels``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int = 1,
        padded: bool = True,
        bias: bool = False,
        eps: float = 1e-5,
        se: SEConfig | None = None,
    ) -> None:
        super().__init__()
        height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        padding = (height // 2, width // 2) if padded else 0
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.bn = nn.BatchNorm2d(out_channels, eps=eps)
        self.relu = nn.ReLU(inplace=True)
        self.se = None if se is None else SqueezeExcitation.from_config(out_channels, se)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H, W) for (N, in_channels, H, W) with stride 1 and padding."""
        return tail(self.conv(x), self.bn, self.relu, se=self.se, relu_first=True)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        return chain_cost(self.children(), shape)
