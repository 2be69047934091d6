"""A network as a spec: the plain network and its SE twin differ in one field, ``se``.

Does not import torch, so that names and settings can be listed at once.
Stages are numbered as in the paper: stage s is conv s_x, the stem being conv1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from senet.blocks.se_config import RESIDUAL_PLACEMENTS, Placement, SEConfig, Units
from senet.checks import positive
from senet.errors import SenetError


@dataclass(frozen=True, kw_only=True)
class NetworkSpec(ABC):
    """What all networks have.

    Attributes:
        name: of the plain network.
        se_name: of its twin, ``se_<name>`` unless the paper has a name for it.
        input_size: side in pixels of the images it was designed for.
        num_classes: outputs of the classifier; 0 leaves the classifier out, and the network puts out the
            features that it would get.
        in_channels: of the images; 1 for greyscale, 3 for RGB.
        default_se: the SE of the twin.
        se: the SE of this network, or ``None`` for the plain one.

    Raises:
        SenetError: a number that is too small; a stage, a placement or a choice of units that the
            network does not have.
    """

    name: str
    se_name: str = ""
    input_size: int = 224
    num_classes: int = 1000
    in_channels: int = 3
    default_se: SEConfig = SEConfig()
    se: SEConfig | None = None

    def __post_init__(self) -> None:
        if not (type(self.num_classes) is int and self.num_classes == 0):
            object.__setattr__(self, "num_classes", positive("num_classes", self.num_classes))
        object.__setattr__(self, "in_channels", positive("in_channels", self.in_channels))
        object.__setattr__(self, "se_name", self.se_name or f"se_{self.name}")
        if self.se is not None:
            self._check_se(self.se)

    def _check_se(self, se: SEConfig) -> None:
        for stage in se.stages or ():
            if stage not in self.stages:
                raise SenetError(
                    f"SE stages of {self.name} must be among {', '.join(map(str, self.stages))}, not {stage}."
                )
        if se.placement not in self.placements:
            raise SenetError(
                f"SE placement in {self.name} must be one of {', '.join(self.placements)}, not "
                f"{se.placement!r}."
            )
        if se.units not in self.units:
            raise SenetError(
                f"SE units in {self.name} must be one of {', '.join(self.units)}, not {se.units!r}."
            )

    @property
    @abstractmethod
    def stages(self) -> tuple[int, ...]:
        """The stages that can get SE."""

    @property
    def placements(self) -> tuple[Placement, ...]:
        """The places that SE can take in its units."""
        return ("standard",)

    @property
    def units(self) -> tuple[Units, ...]:
        """The choices of units that can get SE."""
        return ("standard",)

    def se_in(self, stage: int) -> SEConfig | None:
        """Return the SE of ``stage``, or ``None`` where it gets none."""
        if self.se is None or (self.se.stages is not None and stage not in self.se.stages):
            return None
        return self.se


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """The inside of bottleneck units.

    Attributes:
        widths: channels of the 3x3 convolution, stage by stage.
        halved: whether the first 1x1 convolution has half as many (SENet-154).
        projection: kernel of the shortcuts that stride (3x3 in SENet-154).
        groups: of the 3x3 convolution.
        stride_in: the convolution that strides, in the first unit of a stage.
    """

    widths: tuple[int, ...]
    groups: int = 1
    stride_in: Literal["1x1", "3x3"] = "1x1"
    halved: bool = False
    projection: Literal["1x1", "3x3"] = "1x1"


@dataclass(frozen=True, kw_only=True)
class ResNetSpec(NetworkSpec):
    """ResNet (He et al. 2016), ResNeXt (Xie et al. 2017) and the CIFAR ResNets.

    Attributes:
        depths: units per stage.
        outputs: channels each stage puts out.
        bottleneck: the inside of its units, or ``None`` for basic units.
        stem: one 7x7 convolution of stride 2, one 3x3 of stride 1, or three 3x3 of which the first
            strides and the last has twice the channels of the others (``"3x3x3"``, SENet-154).
        stem_channels: the stem puts out.
        dropout: probability before the classifier.
        pool: the 3x3 max pool of stride 2 behind the stem. ``"ceil"``: no padding, sizes rounded
            up, as in the released SE networks. ``"padded"``: one pixel of padding, as in
            torchvision. ``None``: no pool.
    """

    depths: tuple[int, ...]
    outputs: tuple[int, ...]
    bottleneck: Bottleneck | None = None
    stem: Literal["7x7", "3x3", "3x3x3"] = "7x7"
    stem_channels: int = 64
    dropout: float = 0.0
    pool: Literal["ceil", "padded"] | None = "padded"

    @property
    def stages(self) -> tuple[int, ...]:
        """Behind the stem, conv1: conv2_x and so on."""
        return tuple(range(2, 2 + len(self.depths)))

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Those of every residual unit."""
        return RESIDUAL_PLACEMENTS


@dataclass(frozen=True, kw_only=True)
class VGGSpec(NetworkSpec):
    """VGG with BatchNorm (Simonyan and Zisserman 2015).

    SE follows the non-linearity of each convolution (Section 3.3). SE behind the last convolution of each
    stage only, which the printed GFLOPs fit as well, is ``SEConfig(units="last")``.

    Attributes:
        depths: 3x3 convolutions per stage; a 2x2 max pool ends each stage.
        widths: their channels.
        hidden: units of the two hidden fully connected layers.
        dropout: probability behind each of those two.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden: int = 4096
    dropout: float = 0.5

    @property
    def stages(self) -> tuple[int, ...]:
        """VGG's first convolutions are stage 1: it has no stem."""
        return tuple(range(1, 1 + len(self.depths)))

    @property
    def units(self) -> tuple[Units, ...]:
        """All convolutions, or the last one of each stage."""
        return ("standard", "last")
