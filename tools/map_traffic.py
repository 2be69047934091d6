"""Counts how often PyTorch's own layers read and write whole maps, operator by operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from benchmarks.common import EagerTail
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from senet.insight.tails import TailStep, Traffic, make_maps

# BatchNorm in training goes over its maps twice: for the statistics, or their gradients, and for the result.
_TWICE = ("native_batch_norm", "native_batch_norm_backward")


class MapTraffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the reads and writes of tensors with as many values as the maps."""

    def __init__(self, values: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values = values
        self.reads = self.writes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not _is_view(func):
            passes = 2 if func.overloadpacket.__name__ in _TWICE else 1
            self.reads += passes * self._maps_in((args, kwargs))
            self.writes += self._maps_in(result)
        return result

    def _maps_in(self, tree: Any) -> int:
        # What is expanded has the values in no memory of its own.
        return sum(
            isinstance(leaf, Tensor) and leaf.numel() == self.values and 0 not in leaf.stride()
            for leaf in tree_leaves(tree)
        )


def _is_view(func: Any) -> bool:
    returned = [each.alias_info for each in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in returned)


def eager_traffic(se: bool) -> tuple[Traffic, Traffic]:
    """Return what forward and backward of a residual tail in PyTorch's layers read and write."""
    channels, batch = 24, 2
    maps = make_maps((channels, 5, 7), batch, add=True, device=torch.device("cpu"))
    module = EagerTail(channels, 4 if se else None)
    step = TailStep(module, maps)
    out: list[Tensor] = []
    forward = _counted(maps.y.numel(), lambda: out.append(step.forward()))
    backward = _counted(maps.y.numel(), lambda: torch.autograd.grad(out[0], step.inputs, maps.grad))
    return forward, backward


def _counted(values: int, work: Callable[[], object]) -> Traffic:
    with MapTraffic(values) as seen:
        work()
    return Traffic(seen.reads, seen.writes)
