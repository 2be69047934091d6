"""A moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from senet.training.state import own_part, shared_like, whole


class MovingAverage:
    """Exponential moving average of all floating-point state of a model.

    Kept as a plain dictionary rather than a copy of the model, so that it costs one fused
    operation per step, can be stored and restored like any state, and is shared among processes as
    the weights are.

    Args:
        model: the model to follow; its state is the start value.
        decay: share of the old average kept at each step; the first steps use less, so that the
            average is not dominated by the random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.values = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's present state."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, present = [], []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                averages.append(own_part(self.values[name]))
                present.append(own_part(value))
            else:
                self.values[name].copy_(value)
        torch._foreach_lerp_(averages, present, 1 - decay)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Give ``model`` the average while the context is open, and its own state back after it."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.values)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs, with whole tensors on the CPU; all processes call this."""
        return {
            "updates": self.updates,
            "values": {name: whole(value) for name, value in self.values.items()},
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.updates = int(state["updates"])
        values: dict[str, Tensor] = state["values"]
        for name, value in self.values.items():
            value.copy_(shared_like(values[name], value))
