"""The Squeeze-and-Excitation block: the only class in senet that squeezes and excites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from senet.blocks.cost import Cost, CostedModule, Shape, parameter_count
from senet.blocks.se_config import Activation, Gate, SEConfig, Squeeze
from senet.errors import SenetError
from senet.kernels import reference

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "hard_swish": functional.hardswish,
}
_GATES: dict[Gate, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "hard_sigmoid": functional.hardsigmoid,
}


class SqueezeExcitation(CostedModule):
    """Weigh each channel by what all channels show (Section 3, Eq. 2 to 4).

    Takes (N, C, *spatial) with any number of spatial dimensions, also none, and returns the same
    shape, type and memory format. Half-precision maps are averaged in float32.

    The fully connected layers start with He et al. (2015) weights, as the paper's training does,
    and zero biases. Behind a BatchNorm the squeezed values of a batch have mean zero, so with
    a zero bias no hidden unit starts dead for the whole batch, not even a single one.

    Args:
        channels: C.
        reduction: r; the hidden layer has C / r units, see `SEConfig.hidden_width`.
        squeeze: mean (the paper's choice) or maximum of each map.
        activation: between the two fully connected layers.
        gate: applied to the excitation. The attribute ``gate`` may be replaced by any function.
        bias: whether the fully connected layers have one.
        min_hidden: least number of hidden units.
        divisor: the hidden layer is rounded to a multiple of this.

    Raises:
        SenetError: a value is not allowed, or the reduction is larger than ``channels``.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        squeeze: Squeeze = "avg",
        activation: Activation = "relu",
        gate: Gate = "sigmoid",
        bias: bool = True,
        min_hidden: int = 4,
        divisor: int = 1,
    ) -> None:
        super().__init__()
        config = SEConfig(
            reduction=reduction,
            squeeze=squeeze,
            activation=activation,
            gate=gate,
            bias=bias,
            min_hidden=min_hidden,
            divisor=divisor,
        )
        hidden = config.hidden_width(channels)
        self.channels = channels
        self.config = config
        self.activation = _ACTIVATIONS[activation]
        self.gate = _GATES[gate]
        self.fc1 = nn.Linear(channels, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, channels, bias=bias)
        self.reset_parameters()

    @classmethod
    def from_config(cls, channels: int, config: SEConfig) -> Self:
        """Build the block that ``config`` describes.

        ``placement`` and ``stages`` say where blocks sit: whoever places this one has read them.
        """
        return cls(
            channels,
            config.reduction,
            squeeze=config.squeeze,
            activation=config.activation,
            gate=config.gate,
            bias=config.bias,
            min_hidden=config.min_hidden,
            divisor=config.divisor,
        )

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, (N, C, *spatial), with each channel weighed.

        Raises:
            SenetError: ``x`` has another number of channels, or maps without pixels.
        """
        self._check(x)
        z = reference.squeeze(x, self.config.squeeze)
        s = reference.excitation(z, self.fc1, self.activation, self.fc2, self.gate)
        return reference.scale(x, s)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Count the two fully connected layers; pooling and scaling hold no multiply-add layer."""
        multiply_adds = self.fc1.weight.numel() + self.fc2.weight.numel()
        return Cost(parameters=parameter_count(self), multiply_adds=multiply_adds), shape

    def extra_repr(self) -> str:
        """Name what the layers below do not show."""
        config = self.config
        return (
            f"channels={self.channels}, hidden={self.fc1.out_features}, squeeze={config.squeeze}, "
            f"activation={config.activation}, gate={config.gate}"
        )

    def _check(self, x: Tensor) -> None:
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise SenetError(
                f"This SE block weighs {self.channels} channels and takes (N, {self.channels}, ...), "
                f"not a tensor of shape {tuple(x.shape)}."
            )
        if 0 in x.shape[2:]:
            raise SenetError(f"SE cannot squeeze maps without pixels, shape {tuple(x.shape)}.")
