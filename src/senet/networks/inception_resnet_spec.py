"""Specs of the two networks called Inception-ResNet-v2. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from senet.blocks.inception_table import Branch, Concat, Conv, Pool, Residual, branch
from senet.blocks.se_config import RESIDUAL_PLACEMENTS, Placement, SEConfig, Units
from senet.networks.inception_spec import Entry, InceptionSpec

_POOL = Pool("max", stride=2, border="unpadded")

# The branches of the units on maps of 35, 17 and 8 pixels.
_UNIT_35 = (
    branch("branch0", Conv(32)),
    branch("branch1", Conv(32), Conv(32, 3)),
    branch("branch2", Conv(32), Conv(48, 3), Conv(64, 3)),
)
_UNIT_17 = (
    branch("branch0", Conv(192)),
    branch("branch1", Conv(128), Conv(160, (1, 7)), Conv(192, (7, 1))),
)
_UNIT_8 = (
    branch("branch0", Conv(192)),
    branch("branch1", Conv(192), Conv(224, (1, 3)), Conv(256, (3, 1))),
)


@dataclass(frozen=True, kw_only=True)
class InceptionResNetSpec(InceptionSpec):
    """Inception-ResNet-v2 (Szegedy et al. 2017), as released in TF-slim or as drawn in the article.

    The paper prints 11.75 GFLOPs for it. The released network has 13.16 and the drawn one 9.26, so
    which of them, or which other, the paper trained is unknown. Nor does it say where SE sits: here, as in
    SE-ResNet, on the linear output of each residual branch, before the factor and the sum.
    ``SEConfig(units="all")`` gives SE to the modules without a shortcut too, which have one place for it
    whatever the placement in the units: behind the concatenation. Stages 3, 4 and 5 are those with maps
    of 35, 17 and 8 pixels; a module that halves the map belongs to the stage it leads to.

    Attributes:
        depths: residual units of each stage.
        form: ``"slim"``: 320, 1088 and 2080 channels; the last unit has no ReLU and no factor, and
            a 1x1 convolution follows it. ``"article"``: 384, 1152 and 2144 channels behind Inception-v4's
            stem, which gets no SE.
        factors: by which the residuals of each stage are multiplied: TF-slim's. The article says 0.1 to 0.3.
    """

    input_size: int = 299
    depths: tuple[int, int, int]
    form: Literal["slim", "article"]
    factors: tuple[float, float, float] = (0.17, 0.1, 0.2)
    dropout: float = 0.2

    @property
    def layers(self) -> tuple[tuple[str, Entry], ...]:
        """The stem, the residual units and the modules between them."""
        slim = self.form == "slim"
        depth_35, depth_17, depth_8 = self.depths
        factor_35, factor_17, factor_8 = self.factors
        return (
            *(_slim_stem() if slim else _article_stem()),
            ("repeat", (Residual(_UNIT_35, 3, factor_35),) * depth_35),
            ("mixed_6a", Concat(_to_17(), 4)),
            ("repeat_1", (Residual(_UNIT_17, 4, factor_17),) * depth_17),
            ("mixed_7a", Concat(_to_8(), 5)),
            ("repeat_2", (Residual(_UNIT_8, 5, factor_8),) * (depth_8 - 1 if slim else depth_8)),
            *(_slim_end() if slim else ()),
        )

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Those of every residual unit."""
        return RESIDUAL_PLACEMENTS

    @property
    def units(self) -> tuple[Units, ...]:
        """The residual units, or the modules without a shortcut too."""
        return ("standard", "all")

    def se_of(self, part: Concat | Residual) -> SEConfig | None:
        """Return the SE of a module or of a residual unit, or ``None`` where it gets none."""
        se = super().se_of(part)
        is_left_out = se is not None and se.units == "standard" and isinstance(part, Concat)
        return None if is_left_out else se


def inception_resnet_networks() -> Iterator[InceptionResNetSpec]:
    """Yield the specs of the plain networks."""
    yield InceptionResNetSpec(name="inception_resnet_v2", depths=(10, 20, 10), form="slim")
    yield InceptionResNetSpec(name="inception_resnet_v2_article", depths=(5, 10, 5), form="article")


def _slim_stem() -> tuple[tuple[str, Entry], ...]:
    """Return the layers up to Mixed_5b, the one module that leads to the units of stage 3."""
    mixed_5b = (
        branch("branch0", Conv(96)),
        branch("branch1", Conv(48), Conv(64, 5)),
        branch("branch2", Conv(64), Conv(96, 3), Conv(96, 3)),
        branch("branch3", Pool("average_inside"), Conv(64)),
    )
    return (
        *_first_convolutions(),
        ("maxpool_3a", _POOL),
        ("conv2d_3b", Conv(80)),
        ("conv2d_4a", Conv(192, 3, padded=False)),
        ("maxpool_5a", _POOL),
        ("mixed_5b", Concat(mixed_5b, 3)),
    )


def _article_stem() -> tuple[tuple[str, Entry], ...]:
    """Return the stem of Inception-v4 (Fig. 3 of the article)."""
    mixed_3a = (branch("branch0", _POOL), branch("branch1", Conv(96, 3, stride=2, padded=False)))
    mixed_4a = (
        branch("branch0", Conv(64), Conv(96, 3, padded=False)),
        branch("branch1", Conv(64), Conv(64, (1, 7)), Conv(64, (7, 1)), Conv(96, 3, padded=False)),
    )
    mixed_5a = (branch("branch0", Conv(192, 3, stride=2, padded=False)), branch("branch1", _POOL))
    modules = {"mixed_3a": mixed_3a, "mixed_4a": mixed_4a, "mixed_5a": mixed_5a}
    return (
        *_first_convolutions(),
        *((name, Concat(branches, stage=None)) for name, branches in modules.items()),
    )


def _first_convolutions() -> tuple[tuple[str, Entry], ...]:
    return (
        ("conv2d_1a", Conv(32, 3, stride=2, padded=False)),
        ("conv2d_2a", Conv(32, 3, padded=False)),
        ("conv2d_2b", Conv(64, 3)),
    )


def _to_17() -> tuple[Branch, ...]:
    """Return the branches of the module between the maps of 35 and of 17 pixels."""
    return (
        branch("branch0", Conv(384, 3, stride=2, padded=False)),
        branch("branch1", Conv(256), Conv(256, 3), Conv(384, 3, stride=2, padded=False)),
        branch("branch2", _POOL),
    )


def _to_8() -> tuple[Branch, ...]:
    """Return the branches of the module between the maps of 17 and of 8 pixels."""
    return (
        branch("branch0", Conv(256), Conv(384, 3, stride=2, padded=False)),
        branch("branch1", Conv(256), Conv(288, 3, stride=2, padded=False)),
        branch("branch2", Conv(256), Conv(288, 3), Conv(320, 3, stride=2, padded=False)),
        branch("branch3", _POOL),
    )


def _slim_end() -> tuple[tuple[str, Entry], ...]:
    return (
        ("block8", Residual(_UNIT_8, 5, relu=False)),
        ("conv2d_7b", Conv(1536)),
    )
