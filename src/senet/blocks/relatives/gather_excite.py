"""GE: gather what a neighbourhood shows and excite each pixel by it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from senet.blocks.cost import Cost, CostedModule, Shape, byte_count, parameter_count
from senet.blocks.relatives.shared import (
    CONVOLUTIONS,
    NORMALISATIONS,
    draw,
    require_batch,
    require_choices,
    require_maps,
    sigmoid_for,
    to_float32,
    zero,
)
from senet.blocks.se_config import Start
from senet.checks import true_or_false
from senet.errors import SenetError
from senet.kernels import reference

Extent = Literal[2, 4, 8]


def _average_3d(x: Tensor, window: int, stride: int, padding: int, *, count_include_pad: bool) -> Tensor:
    # avg_pool3d refuses maps smaller than its window, also where they have padding around them.
    assert not count_include_pad
    sides = (padding,) * 6
    share = functional.avg_pool3d(functional.pad(torch.ones_like(x[:1, :1]), sides), window, stride)
    return functional.avg_pool3d(functional.pad(x, sides), window, stride) / share


_AVERAGES: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: _average_3d,
}


class GatherExcite(CostedModule):
    """Weigh each pixel by its neighbourhood (Hu et al. 2018, arXiv:1810.12348).

    ``y = x * sigmoid(upsample(gather(x)))`` with the nearest gathered value for each pixel. With parameters
    (GE-θ) log2(extent) depthwise 3x3 convolutions of stride 2 gather, each with a BatchNorm and all but the
    last with a ReLU. Without (GE-θ⁻) it is an average over windows of 2 extent - 1 pixels, one for every
    ``extent`` pixels; beyond the border nothing counts. Takes (N, C, *spatial) and returns the same shape,
    type and memory format. Half-precision maps are averaged in float32.

    Args:
        channels: C.
        extent: e, pixels per gathered value along each side: 2, 4 or 8.
        learned: whether convolutions gather (GE-θ) or an average does (GE-θ⁻).
        dims: number of spatial dimensions, 1 to 3.
        start: ``"random"`` for the paper's gate and He et al. (2015) weights; ``"identity"`` for twice the
            sigmoid behind a last BatchNorm with scale and shift zero, so that all gates are exactly 1 until
            it is trained.

    Raises:
        SenetError: a value is not allowed, or the start is ``"identity"`` with nothing to learn.
    """

    def __init__(
        self,
        channels: int,
        extent: Extent = 8,
        *,
        learned: bool = True,
        dims: int = 2,
        start: Start = "random",
    ) -> None:
        super().__init__()
        require_choices(channels, start, dims)
        true_or_false("learned", learned)
        if isinstance(extent, bool) or extent not in (2, 4, 8):
            raise SenetError(f"extent must be 2, 4 or 8, not {extent!r}.")
        if not learned and start == "identity":
            raise SenetError(
                "start 'identity' needs parameters, and gather-excite with learned=False has none: "
                "choose learned=True or start 'random'."
            )
        self.channels = channels
        self.extent = extent
        self.learned = learned
        self.dims = dims
        self.start = start
        self.gate = sigmoid_for(start)
        count = int(math.log2(extent)) if learned else 0
        self.convs = nn.ModuleList(
            CONVOLUTIONS[dims](channels, channels, 3, 2, 1, groups=channels, bias=False) for _ in range(count)
        )
        self.norms = nn.ModuleList(NORMALISATIONS[dims](channels) for _ in range(count))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew and forget the statistics."""
        for conv in self.convs:
            draw(cast(_ConvNd, conv))
        for norm in self.norms:
            cast(_BatchNorm, norm).reset_parameters()
        if self.start == "identity":
            zero(cast(_BatchNorm, self.norms[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, (N, C, *spatial), with each pixel of each channel weighed.

        Raises:
            SenetError: ``x`` has another number of channels or dimensions, or maps without pixels; or one
                single value per channel is gathered in training.
        """
        require_maps("gather-excite", x, self.channels, self.dims)
        gathered = self._convolved(x) if self.learned else self._averaged(x)
        # Upsampling repeats values: whether the gate comes before or after it is the same.
        s = functional.interpolate(self.gate(gathered), size=x.shape[2:], mode="nearest")
        return reference.scale(x, s)

    def _convolved(self, x: Tensor) -> Tensor:
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = conv(torch.relu(x) if index else x)
            require_batch("gather-excite", norm, y)
            x = norm(y)
        return x

    def _averaged(self, x: Tensor) -> Tensor:
        average = _AVERAGES[self.dims]
        window, padding = 2 * self.extent - 1, self.extent - 1
        y = average(to_float32(x), window, self.extent, padding, count_include_pad=False)
        return y.to(x.dtype)

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape``, (C, *spatial), and the shape of the output."""
        size, convolved = shape[1:], 0
        for _ in self.convs:
            size = tuple(-(-side // 2) for side in size)
            convolved += self.channels * math.prod(size)
        if not self.learned:
            size = tuple((side - 1) // self.extent + 1 for side in size)
        gathered = self.channels * math.prod(size)
        cost = Cost(
            parameters=parameter_count(self),
            bytes=byte_count(self),
            convolution=3**self.dims * convolved,
            pooling=0 if self.learned else (2 * self.extent - 1) ** self.dims * gathered,
            scaling=math.prod(shape) + (gathered if self.start == "identity" else 0),
            activations=convolved,
        )
        return cost, shape

    def extra_repr(self) -> str:
        """Name what the layers below do not show."""
        return (
            f"channels={self.channels}, extent={self.extent}, learned={self.learned}, dims={self.dims}, "
            f"start={self.start}"
        )
