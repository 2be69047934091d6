"""The SE of a checkpoint, read off its tensors, and how it agrees with the SE that was asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

from torch import Tensor

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError

_BLOCK = re.compile(r"(.*\bse\d*)\.fc1\.weight")
# What tensors do not show. The released networks of all packages have the default here.
_BEHAVIOUR = ("squeeze", "activation", "gate", "placement", "units", "stages")
_WIDTHS = ("reduction", "min_hidden", "divisor")


@dataclass(frozen=True)
class Block:
    """One SE block of a checkpoint: the channels it weighs, its hidden units, whether it has biases."""

    channels: int
    hidden: int
    bias: bool


def se_blocks(state: Mapping[str, Tensor]) -> dict[str, Block]:
    """Return the SE blocks of a state dict under senet's names."""
    found = {}
    for key, weight in state.items():
        match = _BLOCK.fullmatch(key)
        if match and weight.dim() >= 2:
            found[match[1]] = Block(weight.shape[1], weight.shape[0], f"{match[1]}.fc1.bias" in state)
    return found


def inferred_se(blocks: Mapping[str, Block], base: SEConfig) -> SEConfig | None:
    """Return ``base`` with the biases and hidden widths of ``blocks``; ``None`` if no setting gives them.

    Where several settings give the same widths, it is the one nearest to ``base``.
    """
    widest = max(blocks.values(), key=lambda block: block.channels)
    reductions = dict.fromkeys((base.reduction, max(1, widest.channels // max(1, widest.hidden))))
    for divisor, least, reduction in product(
        dict.fromkeys((base.divisor, 1, 8)), dict.fromkeys((base.min_hidden, 4, 1)), reductions
    ):
        se = replace(base, reduction=reduction, min_hidden=least, divisor=divisor, bias=widest.bias)
        if _has_widths(se, blocks):
            return se
    return None


def agreed_se(
    wanted: SEConfig,
    found: SEConfig,
    blocks: Mapping[str, Block],
    *,
    chosen: bool,
    source: str,
    origin: str,
) -> tuple[SEConfig, tuple[str, ...]]:
    """Return the SE to build for a checkpoint that has SE, and sentences on how it differs from ``wanted``.

    Args:
        wanted: the network's default, or what the user asked for.
        found: the checkpoint's.
        blocks: of the checkpoint.
        chosen: whether the user asked for ``wanted``.
        source: of the checkpoint, for the error.
        origin: who has such SE, for the sentences.

    Raises:
        SenetError: the user asked for another SE than the checkpoint has.
    """
    names = [name for name in ("bias", *_BEHAVIOUR) if getattr(wanted, name) != getattr(found, name)]
    if not _has_widths(wanted, blocks):
        names += [name for name in _WIDTHS if getattr(wanted, name) != getattr(found, name)]
    if not names:
        return wanted, ()
    if chosen:
        asked = ", ".join(f"{name}={getattr(wanted, name)!r}" for name in names)
        there = ", ".join(f"{name}={getattr(found, name)!r}" for name in names)
        raise SenetError(
            f"SE with {asked} contradicts {source}, whose SE has {there}: request that instead, or leave "
            "out se, and senet.create_model uses it."
        )
    return found, tuple(_sentence(name, getattr(found, name), origin) for name in names)


def _has_widths(se: SEConfig, blocks: Mapping[str, Block]) -> bool:
    return all(
        se.reduction <= block.channels and se.hidden_width(block.channels) == block.hidden
        for block in blocks.values()
    )


def _sentence(name: str, value: object, origin: str) -> str:
    if name == "bias":
        how = "biases" if value else "no bias"
        return f"The fully connected layers of SE have {how}, as in {origin}."
    if name == "divisor":
        return f"The hidden layers of SE are rounded to multiples of {value}, as in {origin}."
    return f"SE has {name}={value!r}, as in {origin}."
