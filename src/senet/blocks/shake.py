"""Residual units with two branches that are mixed at random (Gastaldi 2017, Shake-Shake).

In training each image's branches are mixed by a coefficient alpha, uniform in [0, 1), and what flows back
is shared out by another one: a second draw in Shake-Shake, 0.5 in Shake-Even. In evaluation both branches
count half. One coefficient per image is the article's variant "Image", which the paper's networks have.

With the branches A and B, their mix, the shortcut S (the identity or a projection) and the SE block:

* standard: ``SE(mix(A(x), B(x))) + S(x)``, one block on what the unit adds to its shortcut. The paper does
  not say whether SE sits here or on the branches.
* branches: ``mix(SE_A(A(x)), SE_B(B(x))) + S(x)``, a block of its own for each branch.
* pre: ``mix(A(SE(x)), B(SE(x))) + S(x)``, in front of the branches' first ReLU where they begin with one.
* post: SE behind the sum, and behind its ReLU where the unit has one.
* identity: ``mix(A(x), B(x)) + SE(S(x))``, behind the projection where there is one.
* conv3x3: in each branch behind the 3x3 convolution (of two the first) and its BatchNorm, before the ReLU;
  a block of its own for each branch.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

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
from senet.blocks.placement import se_at, se_for, se_of
from senet.blocks.se_config import Placement, SEConfig
from senet.blocks.tail import in_order, tail

Activation = Literal["pre", "post"]
Shortcut = Literal["shifted", "1x1"]
Backward = Literal["random", "even"]

_IN_BRANCHES: tuple[Placement, ...] = ("branches", "conv3x3")


def shake(a: Tensor, b: Tensor, backward: Backward) -> Tensor:
    """Mix two branches in training: ``alpha a + (1 - alpha) b``, one alpha per image.

    Both coefficients are float32 and drawn here, from torch's generator of the device, so that a seed
    decides them whatever order the backward pass takes, and recomputing the unit draws them again.

    Args:
        a: (N, C, H, W).
        b: of the same shape and type.
        backward: what gradients are shared out by: a second draw, or 0.5 each.

    Returns:
        the mix, of the same shape and type, computed in float32 at least.
    """
    # In one call: a compiler may put off a draw that only the backward pass needs, and change the order.
    alpha, beta = torch.rand(2, a.shape[0], 1, 1, 1, device=a.device)
    if backward == "even":
        beta = torch.full_like(beta, 0.5)
    mix: Tensor = _Mix.apply(a, b, alpha, beta)  # type: ignore[no-untyped-call]
    return mix


class _Mix(torch.autograd.Function):
    """A mix by one share whose gradients go by another."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        return (alpha * a + (1 - alpha) * b).to(a.dtype)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[3])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (beta,) = ctx.saved_tensors
        return (beta * gradient).to(gradient.dtype), ((1 - beta) * gradient).to(gradient.dtype), None, None


class BasicBranch(CostedModule):
    """Two 3x3 convolutions with BatchNorm and a ReLU between: a branch of Shake-Shake 26.

    Args:
        in_channels: of the input.
        out_channels: of both convolutions and of the output.
        stride: of the first convolution.
        se: a block for this branch alone, at the places branches or conv3x3, or ``None``.

    Raises:
        SenetError: the reduction is larger than the number of channels.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, se: SEConfig | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.placement: Placement | None = None if se is None else se.placement
        self.se = se_for(se, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride) for (N, in_channels, H, W)."""
        y = tail(self.conv1(x), self.bn1, self.relu, se=se_of("conv3x3", self))
        return tail(self.conv2(y), self.bn2, se=se_of("branches", self))

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        return _branch_cost(self, [self.conv1, self.bn1, self.conv2, self.bn2], shape)


class BottleneckBranch(CostedModule):
    """1x1, grouped 3x3 and 1x1 convolution with BatchNorm, ReLU between: a branch of Shake-Even 29.

    This is form C of ResNeXt's unit (Xie et al. 2017, Fig. 3).

    Args:
        in_channels: of the input.
        width: channels of the first two convolutions.
        out_channels: of the third convolution and of the output.
        groups: of the 3x3 convolution.
        stride: of the 3x3 convolution.
        se: a block for this branch alone, at the places branches or conv3x3, or ``None``.

    Raises:
        SenetError: the reduction is larger than the number of channels SE would see.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        *,
        groups: int = 1,
        stride: int = 1,
        se: SEConfig | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.placement: Placement | None = None if se is None else se.placement
        self.se = se_for(se, out_channels, conv3x3=width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride) for (N, in_channels, H, W)."""
        y = tail(self.conv1(x), self.bn1, self.relu)
        y = tail(self.conv2(y), self.bn2, self.relu, se=se_of("conv3x3", self))
        return tail(self.conv3(y), self.bn3, se=se_of("branches", self))

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        layers = [self.conv1, self.bn1, self.conv2, self.bn2, self.conv3, self.bn3]
        return _branch_cost(self, layers, shape)


class ShiftedShortcut(CostedModule):
    """Two 1x1 convolutions, the second on the map shifted by one pixel right and down, and BatchNorm.

    With stride 2 the two thus see different pixels. Each puts out half of the channels.

    Args:
        in_channels: of the input.
        out_channels: of the output, even.
        stride: of both convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels // 2, 1, stride, bias=False)
        self.conv2 = nn.Conv2d(in_channels, out_channels // 2, 1, stride, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride) for (N, in_channels, H, W)."""
        shifted = functional.pad(x, (1, -1, 1, -1))
        return tail(torch.cat([self.conv1(x), self.conv2(shifted)], 1), self.bn)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        total, output = concat_cost((self.conv1, self.conv2), shape)
        return total + cost_of(self.bn, output)[0], output


class ShakeUnit(CostedModule):
    """Two branches of the same form, their mix, and a shortcut.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        stride: of the unit.
        width: channels of a bottleneck branch's 3x3 convolution, or ``None`` for basic branches.
        groups: of that convolution.
        activation: ``"pre"``: a ReLU in front of the branches and of a projection, none behind the sum, so
            that an identity shortcut carries on sums as they are. ``"post"``: a ReLU behind the sum only.
        shortcut: the projection where size or channels change: `ShiftedShortcut`, or a 1x1 convolution
            and BatchNorm.
        backward: what gradients are shared out by, see `shake`.
        se: the SE blocks and their place, or ``None`` for the plain unit.

    Raises:
        SenetError: the reduction is larger than the number of channels SE would see.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        width: int | None = None,
        groups: int = 1,
        activation: Activation = "pre",
        shortcut: Shortcut = "shifted",
        backward: Backward = "random",
        se: SEConfig | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.backward_share = backward
        self.placement: Placement | None = None if se is None else se.placement
        inside = se if self.placement in _IN_BRANCHES else None

        def branch() -> BasicBranch | BottleneckBranch:
            if width is None:
                return BasicBranch(in_channels, out_channels, stride=stride, se=inside)
            return BottleneckBranch(in_channels, width, out_channels, groups=groups, stride=stride, se=inside)

        self.branch1 = branch()
        self.branch2 = branch()
        self.downsample = _projection(in_channels, out_channels, stride, shortcut)
        self.se = se_for(se if inside is None else None, out_channels, pre=in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride) for (N, in_channels, H, W)."""
        y = self._activated(se_at("pre", self, x))
        a, b = self.branch1(y), self.branch2(y)
        mix = shake(a, b, self.backward_share) if self.training else 0.5 * (a + b)
        if self.downsample is None:
            shortcut = x
        elif isinstance(self.downsample, nn.Sequential):
            shortcut = in_order(self.downsample, self._activated(x))
        else:
            shortcut = self.downsample(self._activated(x))
        shortcut = se_at("identity", self, shortcut)
        y = tail(mix, se=se_of("standard", self), shortcut=shortcut)
        return se_at("post", self, functional.relu(y) if self.activation == "post" else y)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape`` and the shape of the output."""
        total, output = cost_of(self.branch1, shape)
        total += cost_of(self.branch2, shape)[0] + addition_cost(output) + scaling_cost(output)
        if self.downsample is not None:
            total += cost_of(self.downsample, shape)[0]
        if self.se is not None:
            size = shape[1:] if self.placement == "pre" else output[1:]
            total += self.se.cost((self.se.channels, *size))[0]
        return total + addition_cost(output), output

    def _activated(self, x: Tensor) -> Tensor:
        return functional.relu(x) if self.activation == "pre" else x


def _projection(in_channels: int, out_channels: int, stride: int, shortcut: Shortcut) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    if shortcut == "shifted":
        return ShiftedShortcut(in_channels, out_channels, stride=stride)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )


def _branch_cost(
    branch: BasicBranch | BottleneckBranch, layers: list[nn.Module], shape: Shape
) -> tuple[Cost, Shape]:
    total, output = chain_cost(layers, shape)
    if branch.se is not None:
        total += branch.se.cost((branch.se.channels, *output[1:]))[0]
    return total, output
