"""What the reading of a forward took for granted, checked again at each call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from senet.blocks.squeeze_excitation import has_forward_of_its_own, has_hooks

Path = tuple[str, ...]
"""The names from a block down to a module in it; empty for the block itself."""
MISSING = "(no such attribute)"
"""The value of an attribute that a forward looked for and did not find."""


@dataclass(frozen=True)
class Conditions:
    """Under which a rewritten forward computes what the block's own forward computes.

    Attributes:
        values: attributes that the forward read, with their values then.
        children: modules whose children the forward went through, with the names of these.
        kinds: modules that have to be of the type they were.
        untouched: modules that the rewritten forward does not call: each has to be of the type it was,
            without a hook and without a forward of its own.
    """

    values: tuple[tuple[Path, str, Any], ...] = ()
    children: tuple[tuple[Path, tuple[str, ...]], ...] = ()
    kinds: tuple[tuple[Path, type], ...] = ()
    untouched: tuple[tuple[Path, type], ...] = ()

    def hold(self, block: nn.Module) -> bool:
        """Return whether all of them hold for ``block``."""
        for path, name, value in self.values:
            now = getattr(module_at(block, path), name, MISSING)
            if type(now) is not type(value) or now != value:
                return False
        for path, names in self.children:
            module = module_at(block, path)
            if module is None or children_of(module) != names:
                return False
        for path, kind in self.kinds:
            if type(module_at(block, path)) is not kind:
                return False
        for path, kind in self.untouched:
            module = module_at(block, path)
            if module is None or type(module) is not kind or is_touched(module):
                return False
        return True


def module_at(block: nn.Module, path: Path) -> nn.Module | None:
    """Return the module at ``path`` below ``block``, or ``None`` where there is none."""
    module: nn.Module | None = block
    for name in path:
        if module is None:
            return None
        module = module._modules.get(name)
    return module


def children_of(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the children that are there."""
    return tuple(name for name, child in module._modules.items() if child is not None)


def is_touched(module: nn.Module) -> bool:
    """Whether a call of ``module`` runs something else than the forward of its class."""
    return has_hooks(module) or has_forward_of_its_own(module)


def path_of(name: str) -> Path:
    """Return the path for a qualified name such as ``"layer1.0.bn3"``."""
    return tuple(name.split(".")) if name else ()


def joined(*names: str) -> str:
    """Return the qualified name of what has these names from the outside to the inside; they may be empty."""
    return ".".join(name for name in names if name)
