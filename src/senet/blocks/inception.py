"""Inception modules and Inception-ResNet units: branches side by side, concatenated."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from senet.blocks.conv_unit import ConvUnit
from senet.blocks.cost import (
    Cost,
    CostedModule,
    Shape,
    addition_cost,
    chain_cost,
    concat_cost,
    cost_of,
    scaling_cost,
)
from senet.blocks.inception_table import Branch, Conv, HalvingPool, Layer, Pool
from senet.blocks.placement import se_at, se_for
from senet.blocks.se_config import Placement, SEConfig
from senet.blocks.squeeze_excitation import SqueezeExcitation


class Branches(CostedModule):
    """What Inception modules and Inception-ResNet units have in common.

    Args:
        in_channels: of the input.
        branches: in the order in which they are concatenated.
        eps: of every BatchNorm.

    Attributes:
        concatenated_channels: of all branches together.
    """

    def __init__(self, in_channels: int, branches: Iterable[Branch], eps: float) -> None:
        super().__init__()
        self.concatenated_channels = 0
        self._routes = tuple(self._add(each, in_channels, eps) for each in branches)

    def concatenate(self, x: Tensor) -> Tensor:
        """Return (N, concatenated_channels, H', W') for (N, in_channels, H, W)."""
        outputs = []
        for trunk, ends in self._routes:
            y = x
            for name in trunk:
                y = getattr(self, name)(y)
            outputs += [getattr(self, name)(y) for name in ends]
        return torch.cat(outputs, 1)

    def concatenation_cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the concatenated branches."""
        total, output = Cost(), shape
        for trunk, ends in self._routes:
            cost, inner = chain_cost((self.get_submodule(name) for name in trunk), shape)
            end_cost, output = concat_cost((self.get_submodule(name) for name in ends), inner)
            total += cost + end_cost
        return total, (self.concatenated_channels, *output[1:])

    def _add(self, each: Branch, channels: int, eps: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Build the layers of a branch and return the names of its trunk and of its ends."""
        first_end = len(each.layers) - each.ends
        for index, (name, entry) in enumerate(each.layers):
            layer, out_channels = _chain(entry, channels, eps)
            self.add_module(name, layer)
            if index < first_end:
                channels = out_channels
            else:
                self.concatenated_channels += out_channels
        names = tuple(name for name, _ in each.layers)
        return names[:first_end], names[first_end:]


class InceptionModule(Branches):
    """Branches side by side, concatenated, then SE where asked for (Section 3.3, Fig. 2).

    Args:
        in_channels: of the input.
        branches: in the order in which they are concatenated.
        eps: of every BatchNorm.
        se: the SE block on the concatenated output, or ``None`` for the plain module.

    Attributes:
        out_channels: of all branches together.

    Raises:
        SenetError: the reduction is larger than the number of concatenated channels.
    """

    def __init__(
        self, in_channels: int, branches: Iterable[Branch], *, eps: float, se: SEConfig | None = None
    ) -> None:
        super().__init__(in_channels, branches, eps)
        self.out_channels = self.concatenated_channels
        self.se = None if se is None else SqueezeExcitation.from_config(self.out_channels, se)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H', W') for (N, in_channels, H, W)."""
        y = self.concatenate(x)
        return y if self.se is None else self.se(y)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        total, output = self.concatenation_cost(shape)
        if self.se is not None:
            total += self.se.cost(output)[0]
        return total, output


class InceptionResidualUnit(Branches):
    """Branches, a linear 1x1 convolution with a bias, a factor and the sum (Szegedy et al. 2017).

    The places of SE are those of `senet.blocks.placement`, with the residual F multiplied by the factor:

    * standard: ``relu(x + factor * SE(linear(branches(x))))``, before the factor.
    * pre: ``relu(x + factor * linear(branches(SE(x))))``.
    * post: ``SE(relu(x + factor * linear(branches(x))))``.
    * identity: ``relu(SE(x) + factor * linear(branches(x)))``.
    * conv3x3: ``relu(x + factor * linear(SE(branches(x))))``, on the concatenated branches, most of whose
      channels come from 3x3 or longer kernels.

    Args:
        channels: of the input and of the output.
        branches: in the order in which they are concatenated.
        eps: of every BatchNorm.
        factor: by which the residual is multiplied, or 1.
        relu: whether a ReLU follows the sum.
        se: the SE block and its placement, or ``None`` for the plain unit.

    Raises:
        SenetError: the reduction is larger than the number of channels SE would see.
    """

    def __init__(
        self,
        channels: int,
        branches: Iterable[Branch],
        *,
        eps: float,
        factor: float,
        relu: bool = True,
        se: SEConfig | None = None,
    ) -> None:
        super().__init__(channels, branches, eps)
        self.conv2d = nn.Conv2d(self.concatenated_channels, channels, 1)
        self.factor = factor
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()
        self.placement: Placement | None = None if se is None else se.placement
        self.se = se_for(se, channels, conv3x3=self.concatenated_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        y = se_at("conv3x3", self, self.concatenate(se_at("pre", self, x)))
        y = se_at("standard", self, self.conv2d(y))
        if self.factor != 1:
            y = self.factor * y
        return se_at("post", self, self.relu(se_at("identity", self, x) + y))

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        total, inside = self.concatenation_cost(shape)
        total += cost_of(self.conv2d, inside)[0]
        if self.se is not None:
            total += self.se.cost((self.se.channels, *shape[1:]))[0]
        if self.factor != 1:
            total += scaling_cost(shape)
        return total + addition_cost(shape), shape


class HalvingMaxPool(CostedModule):
    """A 3x3 max pool of stride 2 beside padded convolutions of stride 2 (BN-Inception's 3c and 4e).

    The windows start at the border, as Caffe's do. An odd side, of which such convolutions make
    (side + 1) / 2 pixels, gets one more window, on its last pixel: the released network, made for even
    sides only, would have one pixel less than the branches it is concatenated with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H / 2, W / 2), rounded up, for (N, C, H, W)."""
        bottom, right = x.shape[-2] % 2, x.shape[-1] % 2
        if bottom or right:
            x = functional.pad(x, (0, right, 0, bottom), value=-torch.inf)
        y: Tensor = self.pool(x)
        return y

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        channels, *sides = shape
        return cost_of(self.pool, (channels, *(side + side % 2 for side in sides)))


def build_layer(entry: Layer, in_channels: int, eps: float) -> tuple[nn.Module, int]:
    """Return the layer that ``entry`` describes and the channels it puts out."""
    if isinstance(entry, Conv):
        layer = ConvUnit(
            in_channels, entry.channels, entry.kernel, stride=entry.stride, padded=entry.padded, eps=eps
        )
        return layer, entry.channels
    return HalvingMaxPool() if isinstance(entry, HalvingPool) else _pool(entry), in_channels


def _pool(entry: Pool) -> nn.Module:
    padding = entry.side // 2 if entry.border == "padded" else 0
    ceil = entry.border == "ceil"
    if entry.kind == "max":
        return nn.MaxPool2d(entry.side, entry.stride, padding, ceil_mode=ceil)
    counts_zeros = entry.kind == "average"
    return nn.AvgPool2d(entry.side, entry.stride, padding, ceil_mode=ceil, count_include_pad=counts_zeros)


def _chain(entries: Layer | tuple[Layer, ...], channels: int, eps: float) -> tuple[nn.Module, int]:
    """Return a layer, or a sequence of layers, and the channels it puts out."""
    if not isinstance(entries, tuple):
        return build_layer(entries, channels, eps)
    layers = []
    for entry in entries:
        layer, channels = build_layer(entry, channels, eps)
        layers.append(layer)
    return nn.Sequential(*layers), channels
