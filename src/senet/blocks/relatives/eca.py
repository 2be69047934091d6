"""ECA: efficient channel attention, a convolution over neighbouring channels."""

from __future__ import annotations

import math

from torch import Tensor, nn

from senet.blocks.cost import Cost, CostedModule, Shape, byte_count, parameter_count
from senet.blocks.relatives.shared import draw, require_choices, require_maps, sigmoid_for, zero
from senet.blocks.se_config import Start
from senet.kernels import reference

_GAMMA, _BETA = 2, 1


def kernel_size(channels: int) -> int:
    """Return the odd number of neighbouring channels that decide on one: (log2(C) + beta) / gamma (Eq. 12).

    As in timm never less than 3; an even number goes up to the next odd one.
    """
    size = int((math.log2(channels) + _BETA) / _GAMMA)
    return max(size if size % 2 else size + 1, 3)


class EfficientChannelAttention(CostedModule):
    """Weigh each channel by what its neighbours show (Wang et al. 2020, arXiv:1910.03151, Eq. 9).

    ``y = x * sigmoid(conv1d_k(mean(x)))``: one kernel of k weights slides over the C averages, without
    reduction and without bias. Takes (N, C, *spatial) and returns the same shape, type and memory format.

    Args:
        channels: C; decides on k, see `kernel_size`.
        start: ``"random"`` for the paper's gate and He et al. (2015) weights; ``"identity"`` for twice the
            sigmoid behind a kernel of zeros, so that all gates are exactly 1 until it is trained.

    Raises:
        SenetError: a value is not allowed.
    """

    def __init__(self, channels: int, *, start: Start = "random") -> None:
        super().__init__()
        require_choices(channels, start)
        self.channels = channels
        self.start = start
        self.gate = sigmoid_for(start)
        size = kernel_size(channels)
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        draw(self.conv)
        if self.start == "identity":
            zero(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, (N, C, *spatial), with each channel weighed.

        Raises:
            SenetError: ``x`` has another number of channels, or maps without pixels.
        """
        require_maps("ECA", x, self.channels)
        z = reference.squeeze(x)
        return reference.scale(x, self.gate(self.conv(z[:, None]))[:, 0])

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape``, (C, *spatial), and the shape of the output."""
        cost = Cost(
            parameters=parameter_count(self),
            bytes=byte_count(self),
            convolution=self.conv.weight.numel() * self.channels,
            pooling=math.prod(shape) if len(shape) > 1 else 0,
            scaling=math.prod(shape) + (self.channels if self.start == "identity" else 0),
            activations=self.channels,
        )
        return cost, shape

    def extra_repr(self) -> str:
        """Name what the layer below does not show."""
        return f"channels={self.channels}, start={self.start}"
