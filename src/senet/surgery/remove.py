"""Takes SE out of a model again."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer

from senet.blocks.attached import attached, detach
from senet.compiler.wrapped import refuse_wrapped
from senet.errors import SenetError


def remove(model: nn.Module, *, optimizer: Optimizer | None = None) -> tuple[str, ...]:
    """Take out the blocks that `senet.squeeze_excite` put into ``model``, trained or not.

    Works in place. What is left has the keys, modules, hooks and classes that it had before the insertion,
    and where nothing was trained it computes the same, bit for bit.

    Args:
        model: with blocks.
        optimizer: of the model; it forgets the parameters of the blocks.

    Returns:
        The names of the modules on which a block sat.

    Raises:
        SenetError: there is none, or the model is scripted, compiled or wrapped.
    """
    refuse_wrapped(model, "remove")
    hosts = list(attached(model))
    if not hosts:
        raise SenetError(
            f"This {type(model).__name__} has no block inserted by senet.squeeze_excite: there is nothing "
            "to remove."
        )
    gone = {id(each) for _, host in hosts for each in detach(host).parameters()}
    if optimizer is not None:
        _forget(optimizer, gone)
    return tuple(name for name, _ in hosts)


def _forget(optimizer: Optimizer, gone: set[int]) -> None:
    for group in optimizer.param_groups:
        group["params"][:] = [each for each in group["params"] if id(each) not in gone]
    for parameter in [each for each in optimizer.state if id(each) in gone]:
        del optimizer.state[parameter]
