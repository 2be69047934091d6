"""What a block costs, told from shapes alone: nothing is run, traced or allocated.

The convention, for one image in evaluation mode:

* **convolution** and **fully connected**: one multiply-add for each weight applied to each output
  position. Biases, normalisation and non-linearities are not counted, as in the tables the field
  compares by. Their sum is what `torch.utils.flop_counter` counts, halved.
* **pooling**: one operation for each value a window reads, SE's squeeze included. A window counts whole
  at the border too, where part of it sees padding, just as a convolution's does.
* **scaling**: one multiplication for each value that is multiplied by SE's weights or by another factor.
* **addition**: one for each value of a sum of two maps, such as a residual unit's.
* **activations**: values that convolutions and fully connected layers put out.
* **bytes**: of the parameters and buffers, which is what a checkpoint holds.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace

from torch import nn

from senet.blocks.attached import attached_block, position_of
from senet.errors import SenetError
from senet.shown import Rows, Shown, Table

CONVENTION = (
    "One multiply-add per weight and output position; biases, normalisation and non-linearities are not "
    "counted."
)
"""The convention in one line, for whoever reads the numbers."""

Shape = tuple[int, ...]
"""Of one image, without the batch: (C, H, W), or (C,) behind the last pooling."""

_SHAPE_KEEPING = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Dropout, nn.Identity)


@dataclass(frozen=True, kw_only=True, repr=False)
class Cost(Shown):
    """What one image costs; the module's docstring states the convention.

    Attributes:
        parameters: trained numbers; BatchNorm's running statistics are not among them.
        convolution: multiply-adds of convolutions.
        fully_connected: multiply-adds of fully connected layers, SE's included.
        pooling: values read by pooling windows, SE's squeeze included.
        scaling: values multiplied by a factor, SE's above all.
        addition: values of sums of maps.
        activations: values put out by convolutions and fully connected layers.
        bytes: of parameters and buffers.
    """

    parameters: int = 0
    convolution: int = 0
    fully_connected: int = 0
    pooling: int = 0
    scaling: int = 0
    addition: int = 0
    activations: int = 0
    bytes: int = 0

    @property
    def multiply_adds(self) -> int:
        """Of convolutions and fully connected layers: what the field's tables state."""
        return self.convolution + self.fully_connected

    def to_rows(self) -> Rows:
        """Return one row with every number."""
        return [{**asdict(self), "multiply_adds": self.multiply_adds}]

    def table(self) -> Table:
        """Return one line per number, with its unit."""
        counted = {
            "parameters": (self.parameters, ""),
            "multiply-adds": (self.multiply_adds, "the two kinds below"),
            "  convolution": (self.convolution, "multiply-adds"),
            "  fully connected": (self.fully_connected, "multiply-adds"),
            "pooling": (self.pooling, "values read"),
            "scaling": (self.scaling, "multiplications"),
            "addition": (self.addition, "additions"),
            "activations": (self.activations, "values"),
            "size": (self.bytes, "bytes"),
        }
        return Table(
            head=(),
            lines=[(name, f"{number:,}", unit) for name, (number, unit) in counted.items()],
            numbers=(1,),
            notes=(f"For one image. {CONVENTION}",),
        )

    def __str__(self) -> str:
        """Return the table."""
        return self.table().text()

    def __add__(self, other: Cost) -> Cost:
        """Add up two parts of a network that share no parameter."""
        return Cost(**{name: getattr(self, name) + getattr(other, name) for name in _NUMBERS})


_NUMBERS = tuple(each.name for each in fields(Cost))


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


def byte_count(module: nn.Module) -> int:
    """Count the bytes of the parameters and buffers of ``module``."""
    return sum(each.numel() * each.element_size() for each in (*module.parameters(), *module.buffers()))


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
    operations, output = _leaf(module, shape)
    block = attached_block(module)
    if isinstance(block, CostedModule):
        before = position_of(module) == "before"
        cost, _ = block.cost(shape if before else output)
        operations += replace(cost, parameters=0, bytes=0)  # counted below, with the layer's own
    held = byte_count(module)
    if held == 0:
        return operations, output
    return operations + Cost(parameters=parameter_count(module), bytes=held), output


def chain_cost(modules: Iterable[nn.Module], shape: Shape) -> tuple[Cost, Shape]:
    """Return the cost and the output shape of modules that run one after the other."""
    total = Cost()
    for module in modules:
        cost, shape = cost_of(module, shape)
        total += cost
    return total, shape


def concat_cost(branches: Iterable[nn.Module], shape: Shape) -> tuple[Cost, Shape]:
    """Return the cost and the output shape of branches side by side whose channels are concatenated."""
    total, channels, size = Cost(), 0, shape[1:]
    for branch in branches:
        cost, output = cost_of(branch, shape)
        total += cost
        channels, size = channels + output[0], output[1:]
    return total, (channels, *size)


def addition_cost(shape: Shape) -> Cost:
    """Return the cost of the sum of two maps of ``shape``."""
    return Cost(addition=math.prod(shape))


def scaling_cost(shape: Shape) -> Cost:
    """Return the cost of multiplying maps of ``shape`` by a factor."""
    return Cost(scaling=math.prod(shape))


def _leaf(module: nn.Module, shape: Shape) -> tuple[Cost, Shape]:
    if isinstance(module, nn.Conv2d):
        return _convolution(module, shape)
    if isinstance(module, nn.Linear):
        _require_channels(module, module.in_features, shape)
        cost = Cost(fully_connected=module.weight.numel(), activations=module.out_features)
        return cost, (module.out_features,)
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return _window_pool(module, shape)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return _adaptive_pool(module, shape)
    if isinstance(module, nn.Flatten):
        return Cost(), (math.prod(shape),)
    if isinstance(module, _SHAPE_KEEPING):
        return Cost(), shape
    raise UnknownLayerError(f"senet has no cost rule for a {type(module).__name__}.")


def _convolution(module: nn.Conv2d, shape: Shape) -> tuple[Cost, Shape]:
    _require_channels(module, module.in_channels, shape)
    size = _window_output(module, shape, ceil=False)
    cost = Cost(
        convolution=module.weight.numel() * math.prod(size), activations=module.out_channels * math.prod(size)
    )
    return cost, (module.out_channels, *size)


def _window_pool(module: nn.MaxPool2d | nn.AvgPool2d, shape: Shape) -> tuple[Cost, Shape]:
    output = (shape[0], *_window_output(module, shape, ceil=module.ceil_mode))
    return Cost(pooling=math.prod(_pair(module.kernel_size)) * math.prod(output)), output


def _adaptive_pool(module: nn.AdaptiveAvgPool2d, shape: Shape) -> tuple[Cost, Shape]:
    output = _pair(module.output_size)
    read = shape[0]
    for size, parts in zip(shape[1:], output, strict=True):
        read *= values_read(size, parts)
    return Cost(pooling=read), (shape[0], *output)


def values_read(size: int, parts: int) -> int:
    """Return how many values an adaptive pool reads along one side, from ``size`` to ``parts`` pixels.

    The i-th window reaches from floor(i size / parts) to ceil((i + 1) size / parts).
    """
    return sum(-(-(i + 1) * size // parts) - i * size // parts for i in range(parts))


def _window_output(
    module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, shape: Shape, *, ceil: bool
) -> tuple[int, int]:
    """Return the height and width a sliding window leaves."""
    sizes = []
    windows = zip(
        shape[1:],
        _pair(module.kernel_size),
        _pair(module.stride),
        _pair(module.padding),
        _pair(getattr(module, "dilation", 1)),
        strict=True,
    )
    for size, kernel, stride, padding, dilation in windows:
        room = size + 2 * padding - dilation * (kernel - 1) - 1
        output = (room + (stride - 1 if ceil else 0)) // stride + 1
        # A window that would start beyond the input and its left padding is dropped.
        if ceil and (output - 1) * stride >= size + padding:
            output -= 1
        if output < 1:
            raise NoPixelLeftError(
                f"A {shape[1]}×{shape[2]} map is too small for {module}: use larger images."
            )
        sizes.append(output)
    return sizes[0], sizes[1]


def _pair(value: object) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if isinstance(value, tuple):
        first, second = value
        if isinstance(first, int) and isinstance(second, int):
            return first, second
    raise UnknownLayerError(f"senet has no cost rule for a layer with the setting {value!r}.")


def _require_channels(module: nn.Module, expected: int, shape: Shape) -> None:
    if shape[0] != expected:
        raise SenetError(f"{module} takes {expected} channels, not {shape[0]}.")
