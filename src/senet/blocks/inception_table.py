"""The parts of an Inception network as plain data: a spec lists them, `senet.blocks.inception` builds them.

Does not import torch, so that specs can be read at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Conv:
    """A convolution with BatchNorm and ReLU.

    Attributes:
        channels: it puts out.
        kernel: its side, or its height and width.
        stride: of the convolution.
        padded: whether half a kernel of zeros around the map keeps its size with stride 1.
    """

    channels: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padded: bool = True


@dataclass(frozen=True)
class Pool:
    """The maximum or the mean of each window, which moves on by ``stride`` pixels.

    Attributes:
        kind: ``"average"`` counts the zeros of the padding as pixels, ``"average_inside"`` does not.
        side: of the window.
        stride: between windows.
        border: ``"padded"`` by half a window, which with stride 1 keeps the size; ``"unpadded"``, where
            pixels that fill no window are lost; ``"ceil"``, where windows that reach beyond the map count, as
            in Caffe.
    """

    kind: Literal["max", "average", "average_inside"]
    side: int = 3
    stride: int = 1
    border: Literal["padded", "unpadded", "ceil"] = "padded"


@dataclass(frozen=True)
class HalvingPool:
    """`senet.blocks.inception.HalvingMaxPool`."""


Layer = Conv | Pool | HalvingPool


@dataclass(frozen=True)
class Branch:
    """One way through a module.

    Attributes:
        layers: by the name they have in the module, in the order in which they run. Several behind one name
            are a sequence, numbered from 0.
        ends: so many of them, the last ones, run side by side on what the others put out, and the module
            concatenates the output of each.
    """

    layers: tuple[tuple[str, Layer | tuple[Layer, ...]], ...]
    ends: int = 1


@dataclass(frozen=True)
class Concat:
    """A module: branches side by side whose outputs are concatenated.

    Attributes:
        branches: in the order in which they are concatenated.
        stage: the number under which it can get SE, or ``None`` where it cannot.
    """

    branches: tuple[Branch, ...]
    stage: int | None


@dataclass(frozen=True)
class Residual:
    """A residual unit whose branch is such a module and a linear 1x1 convolution.

    Attributes:
        branches: in the order in which they are concatenated.
        stage: the number under which it can get SE.
        factor: by which the residual is multiplied before the sum, or 1.
        relu: whether a ReLU follows the sum.
    """

    branches: tuple[Branch, ...]
    stage: int
    factor: float = 1.0
    relu: bool = True


def branch(name: str, *layers: Layer) -> Branch:
    """Return a branch that is one layer called ``name``, or a sequence of layers called so."""
    return Branch(((name, layers[0] if len(layers) == 1 else layers),))
