"""The blocks that may be put into a network, by name."""

from __future__ import annotations

from typing import Literal, get_args

from senet.blocks.cost import CostedModule
from senet.blocks.se_config import SEConfig, Start
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.errors import SenetError, nearest

Kind = Literal["se"]


def require_kind(kind: str) -> None:
    """Raise `SenetError` unless ``kind`` is one of the names."""
    allowed = get_args(Kind)
    if kind not in allowed:
        raise SenetError(
            f"kind {kind!r} is not known: choose one of {', '.join(allowed)}.{nearest(str(kind), allowed)}"
        )


def uses_reduction(kind: Kind) -> bool:
    """Whether blocks of this kind have a hidden layer."""
    return kind in ("se",)


def hidden_width(kind: Kind, channels: int, reduction: int) -> int | None:
    """Return the width of the hidden layer, or ``None`` where there is none."""
    return SEConfig(reduction=reduction).hidden_width(channels) if uses_reduction(kind) else None


def make_block(
    kind: Kind, channels: int, *, reduction: int = 16, start: Start = "identity", dims: int = 2
) -> CostedModule:
    """Return a block of this kind.

    Args:
        kind: its name.
        channels: that it weighs.
        reduction: r; the hidden layer has channels / r units.
        start: ``"identity"`` for a block that returns what it takes until it is trained.
        dims: spatial dimensions of the maps.
    """
    require_kind(kind)
    gate: Literal["double_sigmoid", "sigmoid"] = "double_sigmoid" if start == "identity" else "sigmoid"
    return SqueezeExcitation(channels, reduction, gate=gate, start=start)
