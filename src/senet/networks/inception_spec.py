"""Specs of the Inception networks without shortcuts: GoogLeNet, BN-Inception and Inception-v3.

Does not import torch. The maps of stage s have about 1 / 2^s of the image's side.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from senet.blocks.inception_table import Branch, Concat, Conv, HalvingPool, Layer, Pool, Residual, branch
from senet.blocks.se_config import SEConfig
from senet.networks.specs import NetworkSpec

Widths = tuple[int, int, int, int, int, int]
PoolBranch = Literal["average", "max", "halving"]
Entry = Layer | Concat | Residual | tuple[Residual, ...]

_CEIL_POOL = Pool("max", stride=2, border="ceil")
_UNPADDED_POOL = Pool("max", stride=2, border="unpadded")

_GOOGLENET_MODULES: tuple[tuple[str, Widths], ...] = (
    ("3a", (64, 96, 128, 16, 32, 32)),
    ("3b", (128, 128, 192, 32, 96, 64)),
    ("4a", (192, 96, 208, 16, 48, 64)),
    ("4b", (160, 112, 224, 24, 64, 64)),
    ("4c", (128, 128, 256, 24, 64, 64)),
    ("4d", (112, 144, 288, 32, 64, 64)),
    ("4e", (256, 160, 320, 32, 128, 128)),
    ("5a", (256, 160, 320, 32, 128, 128)),
    ("5b", (384, 192, 384, 48, 128, 128)),
)
_BN_INCEPTION_MODULES: tuple[tuple[str, PoolBranch, Widths], ...] = (
    ("3a", "average", (64, 64, 64, 64, 96, 32)),
    ("3b", "average", (64, 64, 96, 64, 96, 64)),
    ("3c", "halving", (0, 128, 160, 64, 96, 0)),
    ("4a", "average", (224, 64, 96, 96, 128, 128)),
    ("4b", "average", (192, 96, 128, 96, 128, 128)),
    ("4c", "average", (160, 128, 160, 128, 160, 128)),
    ("4d", "average", (96, 128, 192, 160, 192, 128)),
    ("4e", "halving", (0, 128, 192, 192, 256, 0)),
    ("5a", "average", (352, 192, 320, 160, 224, 128)),
    ("5b", "max", (352, 192, 320, 192, 224, 128)),
)


@dataclass(frozen=True, kw_only=True)
class InceptionSpec(NetworkSpec):
    """What the Inception networks have in common: a table of layers and modules.

    Attributes:
        dropout: probability before the classifier.
        eps: of every BatchNorm.
    """

    dropout: float = 0.0
    eps: float = 1e-3

    @property
    @abstractmethod
    def layers(self) -> tuple[tuple[str, Entry], ...]:
        """What stands before the head, by name and in the order in which it runs."""

    @property
    def stages(self) -> tuple[int, ...]:
        """Those with modules that can get SE."""
        entries = (entry if isinstance(entry, tuple) else (entry,) for _, entry in self.layers)
        parts = [each for group in entries for each in group if isinstance(each, Concat | Residual)]
        return tuple(sorted({part.stage for part in parts if part.stage is not None}))

    def se_of(self, part: Concat | Residual) -> SEConfig | None:
        """Return the SE of a module or of a residual unit, or ``None`` where it gets none."""
        return None if part.stage is None else self.se_in(part.stage)


@dataclass(frozen=True, kw_only=True)
class GoogLeNetSpec(InceptionSpec):
    """GoogLeNet (Szegedy et al. 2015) with BatchNorm, without auxiliary classifiers: torchvision's form.

    That form looks at 3x3 pixels where the article has 5x5, and its last pool between stages is 2x2.
    SE weighs the output of each module (Fig. 2); the paper has no result for this network.

    Attributes:
        modules: the Inception modules by name; the digit is the stage, and a max pool stands between two
            stages. Widths: 1x1; 3x3's reduction, 3x3; "5x5"'s reduction, "5x5"; pool projection.
    """

    modules: tuple[tuple[str, Widths], ...] = _GOOGLENET_MODULES
    dropout: float = 0.2

    @property
    def layers(self) -> tuple[tuple[str, Entry], ...]:
        """The stem, the modules and the pools between stages."""
        entries: list[tuple[str, Entry]] = list(_early_stem())
        stage, last = int(self.modules[0][0][0]), int(self.modules[-1][0][0])
        for name, widths in self.modules:
            if int(name[0]) != stage:
                pool = Pool("max", 2, stride=2, border="ceil") if int(name[0]) == last else _CEIL_POOL
                entries.append((f"maxpool{stage}", pool))
                stage = int(name[0])
            entries.append((f"inception{name}", Concat(_googlenet_branches(widths), stage)))
        return tuple(entries)


@dataclass(frozen=True, kw_only=True)
class BNInceptionSpec(InceptionSpec):
    """BN-Inception (Ioffe and Szegedy 2015) as in the authors' released SE-BN-Inception.

    Its convolutions have no biases. SE weighs the output of all ten modules, also of 3c and 4e, which
    halve the map and pass their input on through a max pool.

    Attributes:
        modules: the Inception modules by name, whose digit is the stage; what the fourth branch pools
            (``"halving"``: all branches have stride 2, and there is no 1x1 branch and no projection); and
            the widths: 1x1; 3x3's reduction, 3x3; double 3x3's reduction, each of both 3x3; pool projection.
    """

    modules: tuple[tuple[str, PoolBranch, Widths], ...] = _BN_INCEPTION_MODULES
    eps: float = 1e-5

    @property
    def layers(self) -> tuple[tuple[str, Entry], ...]:
        """The stem and the modules."""
        modules = (
            (f"inception{name}", Concat(_bn_inception_branches(pool, widths), int(name[0])))
            for name, pool, widths in self.modules
        )
        return (*_early_stem(), *modules)


@dataclass(frozen=True, kw_only=True)
class InceptionV3Spec(InceptionSpec):
    """Inception-v3 (Szegedy et al. 2016) without the auxiliary classifier: torchvision's form.

    The paper has it in Table 8, without SE. Here SE weighs the output of every module, as in BN-Inception,
    the two that halve the map included. Mixed_5b to 5d are stage 3, Mixed_6a to 6e stage 4 and
    Mixed_7a to 7c stage 5.

    Attributes:
        projections: channels of the pool branch of Mixed_5b, 5c and 5d.
        factorised: channels inside the 7x7 branches of Mixed_6b to 6e.
    """

    input_size: int = 299
    projections: tuple[int, ...] = (32, 64, 64)
    factorised: tuple[int, ...] = (128, 160, 160, 192)
    dropout: float = 0.5

    @property
    def layers(self) -> tuple[tuple[str, Entry], ...]:
        """The stem and the modules."""
        first = [(f"Mixed_5{'bcd'[i]}", _v3_first(width)) for i, width in enumerate(self.projections)]
        middle = [(f"Mixed_6{'bcde'[i]}", _v3_middle(width)) for i, width in enumerate(self.factorised)]
        last = [("Mixed_7b", _v3_last()), ("Mixed_7c", _v3_last())]
        modules = [*first, ("Mixed_6a", _v3_to_middle()), *middle, ("Mixed_7a", _v3_to_last()), *last]
        return (
            ("Conv2d_1a_3x3", Conv(32, 3, stride=2, padded=False)),
            ("Conv2d_2a_3x3", Conv(32, 3, padded=False)),
            ("Conv2d_2b_3x3", Conv(64, 3)),
            ("maxpool1", _UNPADDED_POOL),
            ("Conv2d_3b_1x1", Conv(80)),
            ("Conv2d_4a_3x3", Conv(192, 3, padded=False)),
            ("maxpool2", _UNPADDED_POOL),
            *((name, Concat(branches, int(name[6]) - 2)) for name, branches in modules),
        )


def inception_networks() -> Iterator[InceptionSpec]:
    """Yield the specs of the plain networks."""
    yield GoogLeNetSpec(name="googlenet")
    yield BNInceptionSpec(name="bn_inception")
    yield InceptionV3Spec(name="inception_v3")


def _early_stem() -> tuple[tuple[str, Entry], ...]:
    """Return the stem of GoogLeNet and BN-Inception."""
    return (
        ("conv1", Conv(64, 7, stride=2)),
        ("maxpool1", _CEIL_POOL),
        ("conv2", Conv(64)),
        ("conv3", Conv(192, 3)),
        ("maxpool2", _CEIL_POOL),
    )


def _googlenet_branches(widths: Widths) -> tuple[Branch, ...]:
    direct, reduce3, conv3, reduce5, conv5, projection = widths
    return (
        branch("branch1", Conv(direct)),
        branch("branch2", Conv(reduce3), Conv(conv3, 3)),
        branch("branch3", Conv(reduce5), Conv(conv5, 3)),
        branch("branch4", Pool("max"), Conv(projection)),
    )


def _bn_inception_branches(pool: PoolBranch, widths: Widths) -> tuple[Branch, ...]:
    direct, reduce3, conv3, reduce_double, double, projection = widths
    stride = 2 if pool == "halving" else 1
    convolutions = (
        branch("branch2", Conv(reduce3), Conv(conv3, 3, stride)),
        branch("branch3", Conv(reduce_double), Conv(double, 3), Conv(double, 3, stride)),
    )
    if pool == "halving":
        return (*convolutions, branch("branch4", HalvingPool()))
    pooled = branch("branch4", Pool(pool), Conv(projection))
    return (branch("branch1", Conv(direct)), *convolutions, pooled)


def _v3_first(projection: int) -> tuple[Branch, ...]:
    return (
        branch("branch1x1", Conv(64)),
        _numbered("branch5x5", Conv(48), Conv(64, 5)),
        _numbered("branch3x3dbl", Conv(64), Conv(96, 3), Conv(96, 3)),
        _v3_projection(projection),
    )


def _v3_to_middle() -> tuple[Branch, ...]:
    return (
        branch("branch3x3", Conv(384, 3, stride=2, padded=False)),
        _numbered("branch3x3dbl", Conv(64), Conv(96, 3), Conv(96, 3, stride=2, padded=False)),
        branch("pool", _UNPADDED_POOL),
    )


def _v3_middle(width: int) -> tuple[Branch, ...]:
    row, column = Conv(width, (1, 7)), Conv(width, (7, 1))
    return (
        branch("branch1x1", Conv(192)),
        _numbered("branch7x7", Conv(width), row, Conv(192, (7, 1))),
        _numbered("branch7x7dbl", Conv(width), column, row, column, Conv(192, (1, 7))),
        _v3_projection(192),
    )


def _v3_to_last() -> tuple[Branch, ...]:
    last = Conv(192, 3, stride=2, padded=False)
    return (
        _numbered("branch3x3", Conv(192), Conv(320, 3, stride=2, padded=False)),
        _numbered("branch7x7x3", Conv(192), Conv(192, (1, 7)), Conv(192, (7, 1)), last),
        branch("pool", _UNPADDED_POOL),
    )


def _v3_last() -> tuple[Branch, ...]:
    return (
        branch("branch1x1", Conv(320)),
        _forked("branch3x3", Conv(384)),
        _forked("branch3x3dbl", Conv(448), Conv(384, 3)),
        _v3_projection(192),
    )


def _v3_projection(width: int) -> Branch:
    return Branch((("pool", Pool("average")), ("branch_pool", Conv(width))))


def _numbered(name: str, *layers: Conv) -> Branch:
    """Return a branch whose layers are called name_1, name_2 and so on, as in torchvision."""
    return Branch(tuple((f"{name}_{number}", layer) for number, layer in enumerate(layers, start=1)))


def _forked(name: str, *trunk: Conv) -> Branch:
    """Return a numbered branch that ends in a 1x3 and a 3x1 convolution side by side."""
    number = len(trunk) + 1
    ends = ((f"{name}_{number}a", Conv(384, (1, 3))), (f"{name}_{number}b", Conv(384, (3, 1))))
    return Branch((*_numbered(name, *trunk).layers, *ends), ends=2)
