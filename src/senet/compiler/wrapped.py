"""Models whose modules cannot be looked into, and what to do instead."""

from __future__ import annotations

import torch
from torch import nn

from senet.errors import SenetError


def refuse_wrapped(model: object, call: str) -> None:
    """Refuse what is no module, and a model that is scripted, compiled or wrapped.

    Args:
        model: anything.
        call: what the user called, such as ``"accelerate"``.

    Raises:
        SenetError: the model cannot be looked into.
    """
    if not isinstance(model, nn.Module):
        raise SenetError(f"senet.{call} needs a torch.nn.Module, not {type(model).__name__}.")
    for name, module in model.named_modules():
        wrapped = _wrapping(module, f"call senet.{call} first, then")
        if wrapped:
            whole = f"its part {name!r}" if name else "the model"
            raise SenetError(
                f"senet.{call} cannot be used on this {type(model).__name__}: {whole} is {wrapped}."
            )


def _wrapping(module: nn.Module, first: str) -> str:
    """Return in what ``module`` is wrapped and what to do instead, or an empty text."""
    if isinstance(module, torch.jit.ScriptModule):
        return f"scripted, which hides its Python code: {first} torch.jit.trace it"
    kinds = {each.__name__ for each in type(module).__mro__}
    if "OptimizedModule" in kinds or module._compiled_call_impl is not None:
        return f"compiled: {first} torch.compile it"
    for kind in ("DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule", "DataParallel"):
        if kind in kinds:
            return f"wrapped in {kind}: {first} wrap it"
    return ""
