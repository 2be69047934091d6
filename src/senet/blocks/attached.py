"""A block that sits on a module somebody else built and weighs what goes into it or comes out of it.

The block becomes the child ``se`` of that module, and a hook runs it. So every key, module and class of the
model stays what it was, and whatever copies, moves, wraps or saves the model takes the block along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

Position = Literal["after", "before", "after relu"]
"""Where a block sits: behind the module, in front of it, or behind the ReLU that its output goes into.

A ReLU that is a function, or that several layers share, has no output that could be taken. There the hook
on the layer in front runs the ReLU and the block; the network's own ReLU then changes nothing, because a
block with gates of at least 0 returns values of at least 0.
"""

NAME = "se"
"""Of the child that an attached block becomes."""
# Numbers would begin anew in another process, where the hook of a loaded model could be overwritten.
_KEY = "senet"


def attach(host: nn.Module, block: nn.Module, position: Position = "after") -> None:
    """Let ``block`` weigh what ``host`` takes or returns.

    Args:
        host: has no child or attribute ``se`` yet.
        block: takes and returns maps of one shape.
        position: see `Position`.
    """
    assert not hasattr(host, NAME), f"{type(host).__name__} already has an attribute {NAME}"
    host.add_module(NAME, block)
    hooks: Any = host._forward_pre_hooks if position == "before" else host._forward_hooks
    hooks[_KEY] = _HOOKS[position]


def detach(host: nn.Module) -> nn.Module:
    """Take the attached block of ``host`` away and return it; the opposite of `attach`."""
    block = attached_block(host)
    assert block is not None, f"nothing is attached to this {type(host).__name__}"
    _remove(host._forward_hooks)
    _remove(host._forward_pre_hooks)
    delattr(host, NAME)
    return block


def attached_block(host: nn.Module) -> nn.Module | None:
    """Return the block attached to ``host``, or ``None``."""
    return host._modules.get(NAME) if position_of(host) is not None else None


def position_of(host: nn.Module) -> Position | None:
    """Return where the block attached to ``host`` sits, or ``None`` where none is attached."""
    hook: Any = host._forward_hooks.get(_KEY) or host._forward_pre_hooks.get(_KEY)  # type: ignore[call-overload]
    return next((position for position, each in _HOOKS.items() if each is hook), None)


def attached(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of ``model`` that have a block attached, with their names."""
    for name, module in model.named_modules():
        if position_of(module) is not None:
            yield name, module


def has_other_hooks(host: nn.Module) -> bool:
    """Whether a call of ``host`` runs more than its forward and an attached block."""
    known = (_KEY,)
    after, before = tuple(host._forward_hooks), tuple(host._forward_pre_hooks)
    others = after not in ((), known) or before not in ((), known)
    return bool(others or host._backward_hooks or host._backward_pre_hooks)


def _remove(hooks: Any) -> None:
    hooks.pop(_KEY, None)


def _after(host: Any, _: Any, output: Tensor) -> Tensor:
    y: Tensor = host.se(output)
    return y


def _after_relu(host: Any, _: Any, output: Tensor) -> Tensor:
    y: Tensor = host.se(torch.relu(output))
    return y


def _before(host: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (host.se(inputs[0]), *inputs[1:])


# Found by name when a model is loaded from a pickle: they may not be renamed.
_HOOKS: dict[Position, Callable[..., Any]] = {
    "after": _after,
    "before": _before,
    "after relu": _after_relu,
}
