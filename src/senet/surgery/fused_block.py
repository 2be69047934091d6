"""A block with fused tails: an object of its own class, but for the forward.

Its class becomes a subclass of the one it had. Parameters, buffers, modules, hooks and all other attributes
stay where they are. Copies and pickles are made of the block as it was built, and accelerated again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from functools import wraps
from types import FunctionType
from typing import Any
from weakref import WeakValueDictionary

from torch import nn

from senet.surgery.known_layers import known_layers
from senet.surgery.subclass import subclass
from senet.surgery.unseen import Untraceable
from senet.surgery.versions import Version, plan

_classes: WeakValueDictionary[tuple[type, Hashable], type] = WeakValueDictionary()


def fuse(block: nn.Module, versions: tuple[Version, ...], inlined: frozenset[str]) -> None:
    """Let ``block`` run ``versions`` where they fit, and its own forward where none does."""
    block.__class__ = _fused_class(type(block), versions, inlined)


def unfuse(block: nn.Module) -> None:
    """Give ``block`` the class back that it was built with."""
    block.__class__ = built_class(block)


def built_class(block: nn.Module) -> type[nn.Module]:
    """Return the class that ``block`` was built with."""
    kind: type[nn.Module] = getattr(type(block), "_senet_built_class", type(block))
    return kind


def versions_of(block: nn.Module) -> tuple[Version, ...]:
    """Return the forwards that run the block's tails fused, none where it was not accelerated."""
    versions: tuple[Version, ...] = getattr(type(block), "_senet_versions", ())
    return versions


def inlined_of(block: nn.Module) -> frozenset[str]:
    """Return the modules in ``block`` whose forwards are written into its own."""
    inlined: frozenset[str] = getattr(type(block), "_senet_inlined", frozenset())
    return inlined


def why_not(block: nn.Module) -> str:
    """Return why ``block`` cannot be given another class, or an empty text."""
    kind = built_class(block)
    own = [
        name
        for name in ("__reduce__", "__reduce_ex__")
        if getattr(kind, name, None) is not getattr(object, name, None)
    ]
    if hasattr(kind, "__deepcopy__"):
        own.append("__deepcopy__")
    return f"{kind.__name__} has its own {own[0]}" if own else ""


def _fused_class(kind: type, versions: tuple[Version, ...], inlined: frozenset[str]) -> type:
    key = (kind, tuple(version.identity for version in versions))
    known = _classes.get(key)
    if known is not None:
        return known
    members = {
        "__reduce_ex__": _reduce_ex,
        "forward": _forward(kind, versions),
        "_senet_built_class": kind,
        "_senet_versions": versions,
        "_senet_inlined": inlined,
    }
    fused = subclass(kind, members)
    _classes[key] = fused
    return fused


def _forward(kind: Any, versions: tuple[Version, ...]) -> Callable[..., Any]:
    built = kind.forward

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if kind.forward is built:
            for version in versions:
                if version.fits(self, args, kwargs):
                    return version.run(self, *args, **kwargs)
        return kind.forward(self, *args, **kwargs)

    # torch.compile counts how often it compiled a piece of code, and gives up at a limit that is meant for
    # one kind of block: each kind gets a piece of its own.
    own = FunctionType(forward.__code__.replace(), forward.__globals__, "forward", None, forward.__closure__)
    return wraps(built)(own)


def _reduce_ex(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
    state = object.__reduce_ex__(self, 2)[2]
    return _waiting, (built_class(self), tuple(sorted(inlined_of(self)))), state


def _waiting(kind: type, inlined: tuple[str, ...]) -> nn.Module:
    """Return an object that becomes an accelerated block as soon as its state is set."""

    def set_state(self: Any, state: Any) -> None:
        self.__class__ = kind
        self.__setstate__(state)
        _fuse_again(self, frozenset(inlined))

    waiting: Any = subclass(kind, {"__setstate__": set_state})
    block: nn.Module = waiting.__new__(waiting)
    return block


def _fuse_again(block: nn.Module, inlined: frozenset[str]) -> None:
    try:
        found = plan(block, inlined, known_layers(block))
    except Untraceable as error:
        warnings.warn(f"{type(block).__name__} runs layer by layer: {error}.", stacklevel=2)
        return
    if found.versions:
        fuse(block, found.versions, inlined)
