"""The state of network and optimiser as whole tensors by name, however they are shared among processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(value: Tensor) -> Tensor:
    """Return the whole of a tensor on the CPU; all processes call this for a tensor that is shared out."""
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().cpu()


def own_part(value: Tensor) -> Tensor:
    """Return what this process holds of a tensor."""
    return value.to_local() if isinstance(value, DTensor) else value


def shared_like(value: Tensor, like: Tensor) -> Tensor:
    """Share a whole tensor out as ``like`` is, and put it on its device."""
    if isinstance(like, DTensor):
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
    if isinstance(next(iter(own.values()), None), DTensor) or any(
        isinstance(v, DTensor) for v in own.values()
    ):
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
