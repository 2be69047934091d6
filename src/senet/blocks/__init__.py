"""What a block computes: squeeze-and-excitation and the units it is put into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from senet.blocks.se_config import SEConfig

if TYPE_CHECKING:
    from senet.blocks.squeeze_excitation import SqueezeExcitation

__all__ = ["SEConfig", "SqueezeExcitation"]


def __getattr__(name: str) -> Any:
    # The command line reads SEConfig to build its options and must not wait for torch.
    if name == "SqueezeExcitation":
        from senet.blocks.squeeze_excitation import SqueezeExcitation

        return SqueezeExcitation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
