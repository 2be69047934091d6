"""What stands between a convolution and the next one: the steps that one fused operator runs.

A tail is a subset of ``bn``, ``relu``, ``se``, ``add``, ``relu`` in one of two orders:

* ``bn se add relu``: the end of a residual unit, and every part of it, such as ``bn relu`` or ``se``;
* ``bn relu se``: the convolutions of VGG, where SE sees what the ReLU has left.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from senet.errors import SenetError

_RESIDUAL = ("bn", "se", "add", "relu")
_PLAIN = ("bn", "relu", "se")


class Steps(NamedTuple):
    """Which steps a tail has.

    ``relu`` is the last step, ``relu_first`` the one before SE; a tail has at most one of them.
    """

    bn: bool
    se: bool
    add: bool
    relu: bool
    relu_first: bool

    @classmethod
    @lru_cache
    def parse(cls, text: str) -> Steps:
        """Read the steps from their names in order, such as ``"bn se add relu"``.

        Raises:
            SenetError: a step is not known, or the order is neither of the two that exist.
        """
        names = tuple(text.split())
        relu_first = "relu" in names and "se" in names and names.index("relu") < names.index("se")
        order = _PLAIN if relu_first else _RESIDUAL
        if names != tuple(name for name in order if name in names) or not names:
            raise SenetError(
                f"steps must be some of 'bn se add relu' in this order, or 'bn relu se', not {text!r}."
            )
        return cls(
            "bn" in names, "se" in names, "add" in names, "relu" in names and not relu_first, relu_first
        )

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        flags = (self.bn, self.relu_first, self.se, self.add, self.relu)
        names = ("bn", "relu", "se", "add", "relu")
        return " ".join(name for name, there in zip(names, flags, strict=True) if there)

    @property
    def masked_by_output(self) -> bool:
        """Whether the gradient of the ReLU has to be read from the output: the sum hides its sign."""
        return self.relu and self.add
