"""Pre-activation ResNets and Wide ResNets for CIFAR as specs (the paper's Tables 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from senet.blocks.se_config import RESIDUAL_PLACEMENTS, Placement, SEConfig
from senet.networks.specs import NetworkSpec


@dataclass(frozen=True, kw_only=True)
class PreActivationBottleneck:
    """The inside of pre-activation bottleneck units.

    Attributes:
        widths: channels of the 3x3 convolution, stage by stage.
        stride_in: the convolution that strides, in the first unit of a stage. The article's code has the
            first 1x1; the 3x3 is pytorchcv's, whose weights load.
    """

    widths: tuple[int, ...]
    stride_in: Literal["1x1", "3x3"] = "3x3"


@dataclass(frozen=True, kw_only=True)
class PreResNetSpec(NetworkSpec):
    """Pre-activation ResNet (He et al. 2016, Identity Mappings) and Wide ResNet (Zagoruyko et al. 2016).

    The paper's ResNet-110 and ResNet-164 cite the pre-activation article, and the 6.37 % error it prints
    for ResNet-110 is that article's; the post-activation networks are ``resnet110`` and ``resnet164``.

    Attributes:
        depths: units per stage.
        outputs: channels each stage puts out.
        bottleneck: the inside of its units, or ``None`` for basic units.
        stem_channels: the stem, one 3x3 convolution, puts out.
        norm: where the one BatchNorm with ReLU that belongs to no unit stands: behind the last unit, as in
            both articles, or behind the stem (``"stem"``), as in pytorchcv's SE networks, whose last sum
            reaches the classifier without a BatchNorm and which therefore are no twins of its plain ones.
    """

    depths: tuple[int, ...]
    outputs: tuple[int, ...]
    bottleneck: PreActivationBottleneck | None = None
    stem_channels: int = 16
    norm: Literal["end", "stem"] = "end"

    @property
    def stages(self) -> tuple[int, ...]:
        """Behind the stem, conv1: conv2_x and so on."""
        return tuple(range(2, 2 + len(self.depths)))

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Those of every residual unit."""
        return RESIDUAL_PLACEMENTS


def preresnet_networks() -> Iterator[NetworkSpec]:
    """Yield ResNet-110, ResNet-164 and WRN-16-8, by default for the 10 classes of CIFAR-10.

    Their default SE keeps the paper's widths where C / 16 is below 4, as that of the other CIFAR networks.
    """
    for name, depth, outputs, bottleneck in (
        ("preresnet110", 18, (16, 32, 64), None),
        ("preresnet164", 18, (64, 128, 256), PreActivationBottleneck(widths=(16, 32, 64))),
        ("wrn16_8", 2, (128, 256, 512), None),
    ):
        yield PreResNetSpec(
            name=name,
            input_size=32,
            num_classes=10,
            depths=(depth,) * 3,
            outputs=outputs,
            bottleneck=bottleneck,
            default_se=SEConfig(min_hidden=1),
        )
