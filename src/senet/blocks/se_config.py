"""The choices of an SE block, as plain data: every ablation of the paper's Section 6 is a field.

Does not import torch: the command line builds its options from these fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from senet.checks import one_of, positive, true_or_false
from senet.errors import SenetError, nearest
from senet.schema import shown

Squeeze = Literal["avg", "max", "none"]
Activation = Literal["relu", "silu", "gelu", "hard_swish"]
Gate = Literal["sigmoid", "tanh", "relu", "hard_sigmoid", "double_sigmoid"]
Start = Literal["random", "identity"]
Placement = Literal["standard", "pre", "post", "identity", "conv3x3", "branches"]
Units = Literal["standard", "last", "stride1", "all"]

RESIDUAL_PLACEMENTS: tuple[Placement, ...] = ("standard", "pre", "post", "identity", "conv3x3")
"""Those that every residual unit has."""

MOST_WEIGHTS = 2**31

_CHOICES = {
    "squeeze": get_args(Squeeze),
    "activation": get_args(Activation),
    "gate": get_args(Gate),
    "start": get_args(Start),
    "placement": get_args(Placement),
    "units": get_args(Units),
}


@dataclass(frozen=True, kw_only=True)
class SEConfig:
    """What an SE block computes and where in a network it sits.

    The defaults are those of the released SE networks. ``placement`` belongs to the unit, ``units`` and
    ``stages`` to the network, all other fields to the block. A network refuses a placement or a choice
    of units that it does not have.

    Raises:
        SenetError: a field has a value that is not allowed, or ``start="identity"`` stands beside a gate
            that cannot be 1 for every input.
    """

    reduction: int = field(
        default=16, metadata={"help": "reduction ratio r: the hidden layer has channels / r units"}
    )
    squeeze: Squeeze = field(
        default="avg",
        metadata={
            "help": "how a channel's map becomes one number: its mean or its maximum; none leaves the maps "
            "as they are, so that each pixel has its own gate (NoSqueeze, Table 16)"
        },
    )
    activation: Activation = field(
        default="relu", metadata={"help": "non-linearity between the two fully connected layers"}
    )
    gate: Gate = field(
        default="sigmoid",
        metadata={
            "help": "non-linearity that turns the excitation into channel weights; double_sigmoid is twice "
            "the sigmoid, 1 where the excitation is 0"
        },
    )
    bias: bool = field(default=True, metadata={"help": "use biases in the two fully connected layers"})
    min_hidden: int = field(default=4, metadata={"help": "smallest number of units of the hidden layer"})
    divisor: int = field(
        default=1,
        metadata={"help": "round the width of the hidden layer to the nearest multiple of this number"},
    )
    start: Start = field(
        default="random",
        metadata={
            "help": "random weights as in the paper, or identity: all gates are exactly 1 until trained, "
            "which needs the gate double_sigmoid"
        },
    )
    placement: Placement = field(
        default="standard",
        metadata={
            "help": "where SE sits in a residual unit: standard (end of the branch, before the sum), "
            "pre (start of the branch), post (after the sum), identity (on the shortcut), "
            "conv3x3 (after the 3x3 convolution) or branches (Shake-Shake: one on each branch)"
        },
    )
    units: Units = field(
        default="standard",
        metadata={
            "help": "which units get SE: standard (those of the paper's rule), last (VGG: the last "
            "convolution of each stage), stride1 (ShuffleNet: only units of stride 1) or all "
            "(Inception-ResNet: also the modules without a shortcut)"
        },
    )
    stages: tuple[int, ...] | None = field(
        default=None,
        metadata={"help": "stages that get SE, numbered as in the paper (conv2_x is 2); default: all"},
    )

    def __post_init__(self) -> None:
        for name in ("reduction", "min_hidden", "divisor"):
            object.__setattr__(self, name, positive(name, getattr(self, name)))
        for name, allowed in _CHOICES.items():
            one_of(name, getattr(self, name), allowed)
        true_or_false("bias", self.bias)
        if self.start == "identity" and self.gate != "double_sigmoid":
            raise SenetError(
                "start 'identity' needs the gate 'double_sigmoid', which is 1 for every input if the "
                f"excitation is 0, not {self.gate!r}."
            )
        if self.stages is not None:
            object.__setattr__(self, "stages", _checked_stages(self.stages))

    @classmethod
    def of(cls, given: SEConfig | Mapping[str, Any], usual: SEConfig) -> SEConfig:
        """Return a configuration, given as such or as a mapping of the settings that differ from ``usual``.

        Raises:
            SenetError: it is something else, or has an unknown setting or one that is not allowed.
        """
        if isinstance(given, SEConfig):
            return given
        if not isinstance(given, Mapping):
            raise SenetError(
                f"se must be a senet.SEConfig or a mapping of settings such as {{'reduction': 8}}, not "
                f"{shown(given)}."
            )
        known = [each.name for each in fields(cls)]
        for name in given:
            if name not in known:
                raise SenetError(
                    f"SE has no setting {name!r}; it has {', '.join(known)}.{nearest(str(name), known)}"
                )
        return replace(usual, **given)

    def hidden_width(self, channels: int) -> int:
        """Return the number of hidden units for ``channels`` channels.

        That is ``channels // reduction``, at least ``min_hidden``. With a ``divisor`` it is the
        multiple nearest to that, halves upwards, never below ``min_hidden`` nor ``divisor``:
        the rule of timm's ``make_divisible`` as its SE module calls it (``round_limit=0``).

        Raises:
            SenetError: fewer channels than the reduction, whose hidden layer would be empty; or a hidden
                layer that no memory holds.
        """
        channels = positive("channels", channels)
        if self.reduction > channels:
            raise SenetError(
                f"reduction must be at most the number of channels, {channels}, not {self.reduction}."
            )
        nearest_multiple = (2 * (channels // self.reduction) + self.divisor) // (2 * self.divisor)
        smallest_multiple = -(-self.min_hidden // self.divisor)
        hidden = max(nearest_multiple, smallest_multiple) * self.divisor
        if hidden * channels > MOST_WEIGHTS:
            raise SenetError(
                f"A hidden layer of {hidden:,} units for {channels:,} channels exceeds any memory: choose "
                f"a smaller min_hidden (now {self.min_hidden:,}) or divisor (now {self.divisor:,})."
            )
        return hidden


def _checked_stages(stages: Any) -> tuple[int, ...]:
    """Return the stages in ascending order, as a tuple (JSON gives a list)."""
    if not isinstance(stages, tuple | list) or not stages:
        raise SenetError(
            f"stages must be a list of stage numbers such as 2, 3, 4, not {stages!r}: "
            "leave it out for all stages."
        )
    stages = [positive("Each of the stages", stage) for stage in stages]
    if len(set(stages)) < len(stages):
        raise SenetError(f"stages must name each stage once, not {tuple(stages)}.")
    return tuple(sorted(stages))
