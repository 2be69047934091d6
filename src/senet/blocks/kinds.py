"""The blocks that may be put into a network, by name."""

from __future__ import annotations

from typing import Literal, get_args

from senet.blocks.cost import CostedModule
from senet.blocks.relatives.cbam import CBAM
from senet.blocks.relatives.eca import EfficientChannelAttention
from senet.blocks.relatives.ese import EffectiveSE
from senet.blocks.relatives.gather_excite import GatherExcite
from senet.blocks.relatives.scse import SpatialChannelSE
from senet.blocks.se_config import SEConfig, Start
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.checks import one_of

Kind = Literal["se", "ese", "eca", "scse", "ge", "cbam"]


def require_kind(kind: str) -> None:
    """Raise `SenetError` unless ``kind`` is one of the names."""
    one_of("kind", kind, get_args(Kind))


def uses_reduction(kind: Kind) -> bool:
    """Whether blocks of this kind have a hidden layer."""
    return kind in ("se", "scse", "cbam")


def hidden_width(kind: Kind, channels: int, reduction: int) -> int | None:
    """Return the width of the hidden layer, or ``None`` where there is none."""
    return SEConfig(reduction=reduction).hidden_width(channels) if uses_reduction(kind) else None


def make_block(
    kind: Kind, channels: int, *, reduction: int = 16, start: Start = "identity", dims: int = 2
) -> CostedModule:
    """Return a block of this kind.

    Args:
        kind: its name: squeeze-and-excitation (``"se"``), effective SE (``"ese"``), efficient channel
            attention (``"eca"``), concurrent spatial and channel SE (``"scse"``), gather-excite with
            parameters and extent 8 (``"ge"``) or the convolutional block attention module (``"cbam"``).
        channels: that it weighs.
        reduction: r; the hidden layer has channels / r units. The others have none.
        start: ``"identity"`` for a block that returns what it takes until it is trained.
        dims: spatial dimensions of the maps; ``"se"``, ``"ese"`` and ``"eca"`` take any number.

    Raises:
        SenetError: a value is not allowed, or the reduction is larger than ``channels``.
    """
    require_kind(kind)
    if kind == "ese":
        return EffectiveSE(channels, start=start)
    if kind == "eca":
        return EfficientChannelAttention(channels, start=start)
    if kind == "scse":
        return SpatialChannelSE(channels, reduction, dims=dims, start=start)
    if kind == "ge":
        return GatherExcite(channels, dims=dims, start=start)
    if kind == "cbam":
        return CBAM(channels, reduction, dims=dims, start=start)
    gate: Literal["double_sigmoid", "sigmoid"] = "double_sigmoid" if start == "identity" else "sigmoid"
    return SqueezeExcitation(channels, reduction, gate=gate, start=start)
