"""The places SE can take in a residual unit, the same for every kind of unit.

With branch F, shortcut S (the identity, a projection or a pool), the unit's sum and the SE block:

* standard: ``relu(SE(F(x)) + S(x))``. SE follows the branch's last layer, without a ReLU between, as
  in the released files (Section 3.3, Fig. 3).
* pre: ``relu(F(SE(x)) + S(x))``. The shortcut sees the input as it is (Fig. 5 draws it so).
* post: ``SE(relu(F(x) + S(x)))``. Behind the ReLU, where the unit has one.
* identity: ``relu(F(x) + SE(S(x)))``. The paper leaves open on which side of a projection SE sits;
  here it sits behind, so that every unit gates the channels it puts out.
* conv3x3: SE behind the 3x3 convolution and the BatchNorm that follows it, before the ReLU: the order
  the standard unit has. The paper defines this for the bottleneck only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from senet.blocks.se_config import Placement, SEConfig
from senet.blocks.squeeze_excitation import SqueezeExcitation


class HasSE(Protocol):
    """A unit with at most one SE block, and the place it takes."""

    se: SqueezeExcitation | None
    placement: Placement | None


def se_of(place: Placement, unit: HasSE) -> SqueezeExcitation | None:
    """Return the unit's SE block if it sits at ``place``."""
    return unit.se if unit.placement == place else None


def se_at(place: Placement, unit: HasSE, x: Tensor) -> Tensor:
    """Return ``x`` weighed by the unit's SE block if that sits at ``place``, else ``x`` itself."""
    se = se_of(place, unit)
    return x if se is None else se(x)


def se_for(se: SEConfig | None, out_channels: int, **special: int) -> SqueezeExcitation | None:
    """Build the SE block of a unit.

    Args:
        se: what it looks like and where it sits, or ``None`` for a plain unit.
        out_channels: channels at every place that ``special`` does not name.
        special: the channels at other places, such as ``pre=64``.

    Raises:
        SenetError: the reduction is larger than the number of channels there.
    """
    channels: Mapping[str, int] = special
    return None if se is None else SqueezeExcitation.from_config(channels.get(se.placement, out_channels), se)
