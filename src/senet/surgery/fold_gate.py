"""An SE block replaced by one constant weight for each channel, for a while or for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from senet.blocks.attached import NAME, detach, position_of
from senet.blocks.conv_unit import ConvUnit
from senet.blocks.depthwise import DepthwiseSeparableUnit
from senet.blocks.inception import InceptionModule, InceptionResidualUnit
from senet.blocks.preactivation import PreActivationBasicUnit, PreActivationBottleneckUnit
from senet.blocks.residual import BasicUnit, BottleneckUnit
from senet.blocks.shake import BasicBranch, BottleneckBranch, ShakeUnit
from senet.blocks.shuffle import ShuffleUnit
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.kernels import reference
from senet.surgery.gate_places import Place
from senet.surgery.scaling import scale_output

UNITS = (
    BasicBranch,
    BasicUnit,
    BottleneckBranch,
    BottleneckUnit,
    ConvUnit,
    DepthwiseSeparableUnit,
    InceptionModule,
    InceptionResidualUnit,
    PreActivationBasicUnit,
    PreActivationBottleneckUnit,
    ShakeUnit,
    ShuffleUnit,
)
"""The modules that run as plain ones where their ``se`` is ``None``."""


@contextmanager
def constant_gate(block: SqueezeExcitation, gate: Tensor) -> Iterator[None]:
    """Let ``block`` weigh its channels by ``gate``, (C,), whatever goes in, while the context lasts."""

    def forward(x: Tensor) -> Tensor:
        return reference.scale(x, gate.to(x.device, x.dtype)[None])

    before = block.__dict__.get("forward")
    vars(block)["forward"] = forward
    try:
        yield
    finally:
        del vars(block)["forward"]
        if before is not None:
            vars(block)["forward"] = before


def refusal(place: Place, gate: Tensor) -> str:
    """Return why ``gate``, (C,), cannot go into the layers of ``place``, or an empty text."""
    if place.reason:
        return place.reason
    behind_relu = [gate[part.start : part.stop] for part in place.parts if part.behind_relu]
    negative = sum(int((each < 0).sum()) for each in behind_relu)
    if negative:
        return f"{negative} of its mean gates are negative, which a ReLU before it would cut off"
    return ""


def fold_gate(model: nn.Module, place: Place, gate: Tensor) -> None:
    """Fold a constant gate into the layers in front of the SE block, and take the block away, in place.

    The model then computes what it would with `constant_gate`. Parameters stay the objects they are. A norm
    without weights gets some.

    Args:
        model: the model that ``place`` was found in, or a copy of it.
        place: of the block, from `senet.surgery.gate_places.find_places`.
        gate: weight of each channel, (C,) float64.
    """
    assert not refusal(place, gate), refusal(place, gate)
    block: Any = model.get_submodule(place.block)
    for part in place.parts:
        scale_output(model.get_submodule(part.layer), gate[part.start : part.stop], like=block.fc1.weight)
    _take_away(model, place.block)


def _take_away(model: nn.Module, block: str) -> None:
    parent, _, child = block.rpartition(".")
    unit: Any = model.get_submodule(parent)
    if child == NAME and position_of(unit) is not None:
        detach(unit)
    elif child == NAME and isinstance(unit, UNITS):
        del unit.se
        unit.se = None
        if not isinstance(unit, ConvUnit | InceptionModule):
            unit.placement = None
    else:
        setattr(unit, child, nn.Identity())
