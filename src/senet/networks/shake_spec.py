"""Shake-Shake and Shake-Even networks for CIFAR as specs (the paper's Tables 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from senet.blocks.se_config import RESIDUAL_PLACEMENTS, Placement, SEConfig
from senet.networks.specs import NetworkSpec


@dataclass(frozen=True, kw_only=True)
class ShakeBottleneck:
    """The inside of bottleneck branches.

    Attributes:
        widths: channels of the 3x3 convolution, stage by stage.
        groups: of the 3x3 convolution.
    """

    widths: tuple[int, ...]
    groups: int = 1


@dataclass(frozen=True, kw_only=True)
class ShakeSpec(NetworkSpec):
    """Residual networks with two branches mixed at random (Gastaldi 2017, arXiv:1705.07485).

    The SE paper puts SE on "each residual branch" as in its Section 3.3 and does not say whether two
    branches share a block. The standard is one block on their mix, which is what a unit adds to its
    shortcut; a block for each branch is ``SEConfig(placement="branches")``. No size is printed that could
    decide: Shake-Shake 26 has 26,192,922 parameters, with SE 26,292,546 or 26,392,170.

    Attributes:
        depths: units per stage.
        outputs: channels each stage puts out.
        bottleneck: the inside of its branches, or ``None`` for basic branches.
        stem_channels: the stem, one 3x3 convolution with BatchNorm, puts out.
        activation: ``"pre"``: ReLU in front of the branches and once behind the last unit, as in the
            article's code. ``"post"``: ReLU behind each sum, as in ResNeXt, and behind the stem.
        shortcut: the projection where size or channels change: two 1x1 convolutions of which the second
            sees the map shifted by one pixel, or one 1x1 convolution; BatchNorm follows either.
        backward: coefficients of the backward pass: drawn (Shake-Shake) or 0.5 (Shake-Even). Those of the
            forward pass are drawn, one for each image.
    """

    depths: tuple[int, ...]
    outputs: tuple[int, ...]
    bottleneck: ShakeBottleneck | None = None
    stem_channels: int = 16
    activation: Literal["pre", "post"] = "pre"
    shortcut: Literal["shifted", "1x1"] = "shifted"
    backward: Literal["random", "even"] = "random"

    @property
    def stages(self) -> tuple[int, ...]:
        """Behind the stem, conv1: conv2_x and so on."""
        return tuple(range(2, 2 + len(self.depths)))

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Those of every residual unit, and a block on each branch."""
        return (*RESIDUAL_PLACEMENTS, "branches")


def shake_networks() -> Iterator[NetworkSpec]:
    """Yield the paper's network for CIFAR-10 and the one for CIFAR-100, whose default is 100 classes."""
    yield ShakeSpec(
        name="shakeshake26_2x96d",
        input_size=32,
        num_classes=10,
        depths=(4, 4, 4),
        outputs=(96, 192, 384),
        default_se=SEConfig(min_hidden=1),
    )
    yield ShakeSpec(
        name="shakeeven29_2x4x64d",
        input_size=32,
        num_classes=100,
        depths=(3, 3, 3),
        outputs=(256, 512, 1024),
        bottleneck=ShakeBottleneck(widths=(256, 512, 1024), groups=4),
        stem_channels=64,
        activation="post",
        shortcut="1x1",
        backward="even",
        default_se=SEConfig(min_hidden=1),
    )
