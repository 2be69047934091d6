"""Specs of the networks for mobile devices: MobileNet and ShuffleNet. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from senet.blocks.se_config import RESIDUAL_PLACEMENTS, Placement, Units
from senet.checks import positive
from senet.errors import SenetError
from senet.networks.specs import NetworkSpec


@dataclass(frozen=True, kw_only=True)
class MobileNetSpec(NetworkSpec):
    """MobileNet v1 (Howard et al. 2017, arXiv:1704.04861): depthwise separable units without shortcuts.

    Stage s puts out maps at stride 2^s, so stage 2 has the resolution of ResNet's conv2_x. The stem
    belongs to stage 1, whose only unit does not stride.

    The SE paper does not say where SE sits, and its Table 3 decides: it prints 4.7M parameters and 572
    MFLOPs. Readings, with the multiplications by the gates counted among the operations:

    * behind the ReLU of each of the 13 1x1 convolutions: 4,718,044 parameters and 571.9 M operations, which
      fits both. It is the standard.
    * behind the ReLU of each of the 13 3x3 convolutions: 4,586,046 and 571.0 M, which fits neither. It is
      ``SEConfig(placement="conv3x3", min_hidden=1)``. The first block sees 32 channels, whose 32 / 16
      hidden units are 2; with the usual ``min_hidden=4`` there are 4,586,176 parameters.

    Attributes:
        depths: units per stage; the first one of a stage strides, except in stage 1.
        widths: channels each stage puts out.
        stem_channels: of the 3x3 convolution of stride 2 in front.
        activation: behind every convolution. The article has the ReLU; the weights timm publishes
            were trained with the ReLU that ends at 6.
    """

    depths: tuple[int, ...] = (1, 2, 2, 6, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    stem_channels: int = 32
    activation: Literal["relu", "relu6"] = "relu"

    @property
    def stages(self) -> tuple[int, ...]:
        """From 1: the stem is followed by a unit at its own resolution."""
        return tuple(range(1, 1 + len(self.depths)))

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Behind the 1x1 or behind the 3x3 convolution; there is no shortcut to place SE by."""
        return ("standard", "conv3x3")


@dataclass(frozen=True, kw_only=True)
class ShuffleNetSpec(NetworkSpec):
    """ShuffleNet v1 (Zhang et al. 2018, arXiv:1707.01083): grouped 1x1 convolutions and channel shuffle.

    Stages are numbered as in the article's Table 1: stage 2 is the first behind the max pool and puts out
    maps at stride 8, twice that of ResNet's conv2_x.

    The SE paper does not say where SE sits. Its Table 3 prints 1.8M parameters and 140 MFLOPs, with SE 2.4M
    and 142. The plain network has 1,865,728 parameters, so the printed ones are cut, not rounded. Readings,
    with the operations SE adds (its layers and the multiplications by its gates):

    * at the end of every branch, before the sum or the concatenation: 2,484,533 parameters and 2.21 M
      operations, which fits. It is the paper's rule for residual networks (Section 3.3) and so the
      standard. The branch of the first unit has 216 channels, whose 216 / 16 hidden units are 13.
    * the same in units of stride 1 only: 2,441,923 and 1.93 M, which fits as well. It is
      ``SEConfig(units="stride1")``.
    * behind the sum or the concatenation and the ReLU: 2,594,908 and 2.41 M. The parameters do not fit. It
      is ``SEConfig(placement="post")``.

    Attributes:
        depths: units per stage; the first one of each strides.
        widths: channels each stage puts out; Table 1 of the article has them for each number of groups.
        groups: of the 1x1 convolutions and of the shuffle.
        stem_channels: of the 3x3 convolution of stride 2 in front.

    Raises:
        SenetError: as every network, and channels that cannot be divided into the groups or do not grow
            from stage to stage.
    """

    depths: tuple[int, ...] = (4, 8, 4)
    widths: tuple[int, ...] = (240, 480, 960)
    groups: int = 3
    stem_channels: int = 24

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("groups", self.groups)
        channels = (self.stem_channels, *self.widths)
        is_divisible = channels[0] % self.groups == 0 and all(
            width % (4 * self.groups) == 0 for width in self.widths
        )
        # The pooled input is a part of what the first unit of a stage puts out.
        if not is_divisible or any(after <= before for before, after in pairwise(channels)):
            raise SenetError(
                f"{self.name} cannot have {self.groups} groups with a stem of {self.stem_channels} "
                f"channels and stages of {', '.join(map(str, self.widths))}: choose a multiple of "
                f"{self.groups} for the stem and increasing multiples of {4 * self.groups} for the stages."
            )

    @property
    def stages(self) -> tuple[int, ...]:
        """Behind the stem, the convolution and pool of the article's first rows."""
        return tuple(range(2, 2 + len(self.depths)))

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Those of every residual unit."""
        return RESIDUAL_PLACEMENTS

    @property
    def units(self) -> tuple[Units, ...]:
        """All units, or those of stride 1."""
        return ("standard", "stride1")


def mobile_networks() -> Iterator[NetworkSpec]:
    """Yield the specs of the networks for mobile devices."""
    yield MobileNetSpec(name="mobilenet")
    yield MobileNetSpec(name="mobilenet_relu6", activation="relu6")
    yield ShuffleNetSpec(name="shufflenet_g3")
