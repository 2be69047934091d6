"""The state of network and optimiser as whole tensors by name, however they are shared among processes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def gathered(value: Any) -> Any:
    """Return the whole of a tensor where it is; all processes call this for a tensor that is shared out."""
    return value.full_tensor() if _is_shared_out(value) else value


def whole(value: Tensor) -> Tensor:
    """Return `gathered` on the CPU."""
    result: Tensor = gathered(value).detach().cpu()
    return result


def own_part(value: Any) -> Tensor:
    """Return what this process holds of a tensor."""
    result: Tensor = value.to_local() if _is_shared_out(value) else value
    return result


def shared_like(value: Tensor, like: Any) -> Tensor:
    """Share a whole tensor out as ``like`` is, and put it on its device."""
    if _is_shared_out(like):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value.to(like.device)


def network_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the whole state dict on the CPU."""
    return {name: whole(value) for name, value in model.state_dict().items()}


@torch.no_grad()
def set_network_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Restore what `network_state` returned.

    Raises:
        RuntimeError: names or shapes are others.
    """
    own = model.state_dict()
    if any(map(_is_shared_out, own.values())):
        state = {name: shared_like(value, own[name]) for name, value in state.items()}
    model.load_state_dict(dict(state))


def optimiser_state(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """Return what the optimiser keeps for each parameter, by the parameter's name, whole and on the CPU."""
    return {
        name: {key: whole(value) if isinstance(value, Tensor) else value for key, value in kept.items()}
        for name, parameter in model.named_parameters()
        if (kept := optimiser.state.get(parameter))
    }


def set_optimiser_state(
    model: nn.Module, optimiser: torch.optim.Optimizer, state: Mapping[str, Mapping[str, Any]]
) -> None:
    """Restore what `optimiser_state` returned.

    Raises:
        ValueError: a tensor has another shape than its parameter.
    """
    optimiser.state.clear()
    for name, parameter in model.named_parameters():
        for key, value in state.get(name, {}).items():
            if isinstance(value, Tensor) and value.shape != parameter.shape:
                raise ValueError(f"{key} of {name} has the shape {tuple(value.shape)}")
        if name in state:
            optimiser.state[parameter] = {
                # In memory as its parameter, or the optimiser could not take all of them at once.
                key: torch.empty_like(parameter).copy_(shared_like(value, parameter))
                if isinstance(value, Tensor)
                else value
                for key, value in state[name].items()
            }


def _is_shared_out(value: object) -> bool:
    # Its import takes a second, and where nobody has imported it there are none.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)
