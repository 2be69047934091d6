"""What a block costs, told from shapes alone: nothing is run, traced or allocated.

A multiply-add is counted for each weight a convolution or fully connected layer applies to one
image. Biases, normalisation, pooling, non-linearities, sums and the SE scale are not counted, as
in the tables the field compares by.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from senet.errors import SenetError

Shape = tuple[int, ...]
"""Of one image, without the batch: (C, H, W), or (C,) behind the last pooling."""

_SHAPE_KEEPING = (nn.BatchNorm2d, nn.ReLU, nn.Dropout, nn.Identity)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one image costs.

    Attributes:
        parameters: trained numbers; BatchNorm's running statistics are not among them.
        multiply_adds: of convolutions and fully connected layers, SE's included, for one image.
    """

    parameters: int
    multiply_adds: int

    def __add__(self, other: Cost) -> Cost:
        """Add up two parts of a network that share no parameter."""
        return Cost(
            parameters=self.parameters + other.parameters,
            multiply_adds=self.multiply_adds + other.multiply_adds,
        )


class CostedModule(nn.Module, ABC):
    """A module that can say what it costs."""

    @abstractmethod
    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output.

        Raises:
            NoPixelLeftError: the input is so small that a layer has nothing to look at.
        """


class NoPixelLeftError(SenetError):
    """A convolution or pooling shrank its input to nothing."""


class UnknownLayerError(SenetError):
    """A layer whose cost cannot be told from its shape."""


def parameter_count(module: nn.Module) -> int:
    """Count the trained numbers of ``module``."""
    return sum(parameter.numel() for parameter in module.parameters())


def cost_of(module: nn.Module, shape: Shape) -> tuple[Cost, Shape]:
    """Return what ``module`` costs for one image of ``shape``, and the shape of its output.

    Raises:
        NoPixelLeftError: the input is too small for a layer.
        UnknownLayerError: no rule for this kind of layer.
        SenetError: the channels do not fit.
    """
    if isinstance(module, CostedModule):
        return module.cost(shape)
    if isinstance(module, nn.Sequential):
        return chain_cost(module, shape)
    multiply_adds, output = _leaf(module, shape)
    return Cost(parameters=parameter_count(module), multiply_adds=multiply_adds), output


def chain_cost(modules: Iterable[nn.Module], shape: Shape) -> tuple[Cost, Shape]:
    """Return the cost and the output shape of modules that run one after the other."""
    total = Cost(parameters=0, multiply_adds=0)
    for module in modules:
        cost, shape = cost_of(module, shape)
        total += cost
    return total, shape


def _leaf(module: nn.Module, shape: Shape) -> tuple[int, Shape]:
    if isinstance(module, nn.Conv2d):
        return _convolution(module, shape)
    if isinstance(module, nn.Linear):
        _require_channels(module, module.in_features, shape)
        return module.weight.numel(), (module.out_features,)
    if isinstance(module, nn.MaxPool2d):
        return 0, (shape[0], *_window_output(module, shape, ceil=module.ceil_mode))
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return 0, (shape[0], *_pair(module.output_size))
    if isinstance(module, nn.Flatten):
        return 0, (math.prod(shape),)
    if isinstance(module, _SHAPE_KEEPING):
        return 0, shape
    raise UnknownLayerError(f"senet has no rule for the cost of a {type(module).__name__}.")


def _convolution(module: nn.Conv2d, shape: Shape) -> tuple[int, Shape]:
    _require_channels(module, module.in_channels, shape)
    height, width = _window_output(module, shape, ceil=False)
    return module.weight.numel() * height * width, (module.out_channels, height, width)


def _window_output(module: nn.Conv2d | nn.MaxPool2d, shape: Shape, *, ceil: bool) -> tuple[int, int]:
    """Return the height and width a sliding window leaves."""
    sizes = []
    windows = zip(
        shape[1:],
        _pair(module.kernel_size),
        _pair(module.stride),
        _pair(module.padding),
        _pair(module.dilation),
        strict=True,
    )
    for size, kernel, stride, padding, dilation in windows:
        room = size + 2 * padding - dilation * (kernel - 1) - 1
        output = (room + (stride - 1 if ceil else 0)) // stride + 1
        # A window that would start beyond the input and its left padding is dropped.
        if ceil and (output - 1) * stride >= size + padding:
            output -= 1
        if output < 1:
            raise NoPixelLeftError(f"A {shape[1]}×{shape[2]} map leaves no pixel after {module}.")
        sizes.append(output)
    return sizes[0], sizes[1]


def _pair(value: object) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if isinstance(value, tuple):
        first, second = value
        if isinstance(first, int) and isinstance(second, int):
            return first, second
    raise UnknownLayerError(f"senet has no rule for the cost of a layer with the setting {value!r}.")


def _require_channels(module: nn.Module, expected: int, shape: Shape) -> None:
    if shape[0] != expected:
        raise SenetError(f"{module} takes {expected} channels, not {shape[0]}.")
