"""eSE: effective squeeze-and-excitation, with one fully connected layer."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from senet.blocks.cost import Cost, CostedModule, Shape, byte_count, parameter_count
from senet.blocks.relatives.shared import double_hard_sigmoid, draw, require_choices, require_maps, zero
from senet.blocks.se_config import Start
from senet.kernels import reference


class EffectiveSE(CostedModule):
    """Weigh each channel by one layer without reduction (Lee and Park 2020, arXiv:1911.06667).

    ``y = x * hard_sigmoid(W mean(x) + b)`` with ``W`` of C x C, as in VoVNetV2: no hidden layer loses what
    channels show. Takes (N, C, *spatial) and returns the same shape, type and memory format.

    Args:
        channels: C.
        start: ``"random"`` for the paper's gate and He et al. (2015) weights; ``"identity"`` for twice the
            hard sigmoid behind a layer of zeros, so that all gates are exactly 1 until it is trained.

    Raises:
        SenetError: a value is not allowed.
    """

    def __init__(self, channels: int, *, start: Start = "random") -> None:
        super().__init__()
        require_choices(channels, start)
        self.channels = channels
        self.start = start
        self.gate = double_hard_sigmoid if start == "identity" else functional.hardsigmoid
        self.fc = nn.Linear(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        draw(self.fc)
        if self.start == "identity":
            zero(self.fc)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, (N, C, *spatial), with each channel weighed.

        Raises:
            SenetError: ``x`` has another number of channels, or maps without pixels.
        """
        require_maps("eSE", x, self.channels)
        return reference.scale(x, self.gate(self.fc(reference.squeeze(x))))

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape``, (C, *spatial), and the shape of the output."""
        cost = Cost(
            parameters=parameter_count(self),
            bytes=byte_count(self),
            fully_connected=self.fc.weight.numel(),
            pooling=math.prod(shape) if len(shape) > 1 else 0,
            scaling=math.prod(shape) + (self.channels if self.start == "identity" else 0),
            activations=self.channels,
        )
        return cost, shape

    def extra_repr(self) -> str:
        """Name what the layer below does not show."""
        return f"channels={self.channels}, start={self.start}"
