"""The Squeeze-and-Excitation block: the only class in senet that squeezes and excites."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from senet.blocks.cost import Cost, CostedModule, Shape, byte_count, parameter_count
from senet.blocks.se_config import Activation, Gate, SEConfig, Squeeze, Start
from senet.checks import positive
from senet.errors import SenetError
from senet.kernels import reference
from senet.kernels.dispatch import Choice, choose, record, run, unreadable
from senet.kernels.excitation import ACTIVATIONS, GATES, Excitation
from senet.kernels.fused import NO_BATCH_NORM
from senet.kernels.steps import Steps

_SE = Steps.parse("se")


def has_hooks(layer: nn.Module) -> bool:
    """Whether a call of ``layer`` runs more than its forward."""
    return bool(
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    )


def has_forward_of_its_own(layer: nn.Module) -> bool:
    """Whether the forward of this one layer was replaced."""
    return "forward" in layer.__dict__


def _unfused_layer(x: Tensor, layer: nn.Linear) -> str:
    if type(layer).forward is not nn.Linear.forward or has_forward_of_its_own(layer):
        return f"{type(layer).__name__} in SE is not a Linear"
    return "a layer of SE has a hook" if has_hooks(layer) else unreadable(x, (layer.weight, layer.bias))


class SqueezeExcitation(CostedModule):
    """Weigh each channel by what all channels show (Section 3, Eq. 2 to 4).

    Takes (N, C, *spatial) with any number of spatial dimensions, also none, and returns the same
    shape, type and memory format. Half-precision maps are averaged in float32.

    The fully connected layers start with He et al. (2015) weights, as the paper's training does,
    and zero biases. Behind a BatchNorm the squeezed values of a batch have mean zero, so with
    a zero bias no hidden unit starts dead for the whole batch, not even a single one. Behind a ReLU they
    are all positive, and a hidden unit may: there ``min_hidden`` keeps some company.

    Args:
        channels: C.
        reduction: r; the hidden layer has C / r units, see `SEConfig.hidden_width`.
        squeeze: mean (the paper's choice) or maximum of each map; ``"none"`` for a gate at every pixel
            (NoSqueeze, Section 6.6 and Table 16): the two layers become 1x1 convolutions of the same
            sizes.
        activation: between the two fully connected layers.
        gate: applied to the excitation. The attribute ``gate`` may be replaced by any function.
        bias: whether the fully connected layers have one.
        min_hidden: least number of hidden units.
        divisor: the hidden layer is rounded to a multiple of this.
        start: ``"identity"`` for a block whose gates are exactly 1 until it is trained: ``fc2`` is zero
            and the gate has to be ``"double_sigmoid"``. The first step then moves ``fc2`` only, every
            later one both layers.

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
        start: Start = "random",
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
            start=start,
        )
        channels = positive("channels", channels)
        hidden = config.hidden_width(channels)
        self.channels = channels
        self.config = config
        self.activation = ACTIVATIONS[activation]
        self.gate = GATES[gate]
        self.fc1 = nn.Linear(channels, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, channels, bias=bias)
        self.reset_parameters()

    @classmethod
    def from_config(cls, channels: int, config: SEConfig) -> Self:
        """Build the block that ``config`` describes.

        ``placement``, ``units`` and ``stages`` say where blocks sit: whoever places this one has read
        them.
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
            start=config.start,
        )

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if self.config.start == "identity":
            nn.init.zeros_(self.fc2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, (N, C, *spatial), with each channel weighed.

        Raises:
            SenetError: ``x`` has another number of channels, or maps without pixels.
        """
        self._check(x)
        if torch.compiler.is_compiling():
            return reference.scale(x, self.gates(x))
        reason = self.unfused(x)
        choice = Choice("reference", reason) if reason else choose(x, None, _SE, gate=self.config.gate)
        record((None, self, None), _SE, x, choice)
        if choice.backend == "reference":
            return reference.scale(x, self.gates(x))
        return run(choice, x, None, NO_BATCH_NORM, self.excitation(), _SE)[0]

    def gates(self, x: Tensor) -> Tensor:
        """Return the weights that ``forward`` gives the channels of ``x``, (N, C, *spatial).

        Returns:
            (N, C), or with squeeze ``"none"`` one for each pixel, in the shape of ``x``.
        """
        reduce: Callable[[Tensor], Tensor] = self.fc1
        expand: Callable[[Tensor], Tensor] = self.fc2
        if self.config.squeeze == "none":
            z = x
            if x.dim() > 2:
                reduce = partial(reference.pointwise, weight=self.fc1.weight, bias=self.fc1.bias)
                expand = partial(reference.pointwise, weight=self.fc2.weight, bias=self.fc2.bias)
        else:
            z = reference.squeeze(x, self.config.squeeze)
        return reference.excitation(z, reduce, self.activation, expand, self.gate)

    def excitation(self) -> Excitation:
        """Return the two layers and what stands between and behind them, as the kernels take them."""
        first, second, config = self.fc1, self.fc2, self.config
        return Excitation(
            first.weight, first.bias, second.weight, second.bias, config.activation, config.gate
        )

    def unfused(self, x: Tensor) -> str:
        """Return why no kernel weighs ``x``, (N, C, *spatial), as this block does, or an empty text."""
        config = self.config
        if config.squeeze != "avg":
            return f"squeeze {config.squeeze}"
        if self.gate is not GATES[config.gate] or self.activation is not ACTIVATIONS[config.activation]:
            return "the gate or the activation was replaced"
        if has_forward_of_its_own(self) or type(self).forward is not SqueezeExcitation.forward:
            return "SE has its own forward"
        if x.shape[1] != self.channels:
            return "SE has another number of channels"
        return _unfused_layer(x, self.fc1) or _unfused_layer(x, self.fc2)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape``, (C, *spatial), and the shape of the output.

        NoSqueeze runs its two layers as convolutions over all pixels and pools nothing. The factor 2 of
        the gate double_sigmoid scales one value per gate.
        """
        weights = self.fc1.weight.numel() + self.fc2.weight.numel()
        outputs = self.fc1.out_features + self.fc2.out_features
        pixels = math.prod(shape[1:]) if self.config.squeeze == "none" else 1
        as_convolution = self.config.squeeze == "none" and len(shape) > 1
        doubles = self.gate is reference.double_sigmoid
        cost = Cost(
            parameters=parameter_count(self),
            bytes=byte_count(self),
            convolution=weights * pixels if as_convolution else 0,
            fully_connected=0 if as_convolution else weights,
            pooling=math.prod(shape) if len(shape) > 1 and self.config.squeeze != "none" else 0,
            scaling=math.prod(shape) + (self.channels * pixels if doubles else 0),
            activations=outputs * pixels,
        )
        return cost, shape

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
                f"This SE block expects input of shape (N, {self.channels}, ...), not {tuple(x.shape)}."
            )
        if 0 in x.shape[2:]:
            raise SenetError(
                f"SE needs maps with at least one pixel, not an input of shape {tuple(x.shape)}."
            )
