"""A network made ready to be trained: on its device, compiled, and shared among processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from senet.blocks.sync_norm import synchronise, unsynchronise
from senet.errors import SenetError
from senet.training.execution import Execution
from senet.training.processes import Processes
from senet.training.recipe import FittedRecipe

# The first process's statistics are those that are kept, so they need not be sent at every step.
_LOCAL_BUFFERS: dict[str, Any] = (
    {"forward_sync_buffers": False}
    if "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    else {"broadcast_buffers": False}
)


class TrainableNetwork:
    """A network, and how it is called in training.

    Attributes:
        model: the network itself; its names are those of its state dict. Where weights are shared out,
            its parameters are `torch.distributed.tensor.DTensor`.
        device: where it trains.
        forward: runs the network on this process's images; gradients become the mean over all processes.
        sharded: whether weights are shared out among the processes.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: FittedRecipe,
        execution: Execution,
        processes: Processes,
        device: torch.device,
    ) -> None:
        execution.check_processes(processes.count)
        if recipe.sync_norm and processes.count > 1:
            self._synchronised = synchronise(model, device)
        else:
            self._synchronised = []
        self._recomputes = execution.recompute
        if execution.recompute:
            recompute(model, True)
        # Only contiguous weights can be shared out; the maps are channels_last all the same.
        last = execution.channels_last and not execution.shard
        layout = torch.channels_last if last else torch.contiguous_format
        self.model = model.to(device, memory_format=layout)  # type: ignore[call-overload]
        self.norms = [each for each in model.modules() if isinstance(each, _BatchNorm)]
        self.sharded = execution.shard
        self._processes, self.device = processes, device
        # The network itself stays as it is: only training calls the compiled one.
        # Sizes change seldom, and code for any size is slower where it compiles at all.
        self._callable: nn.Module = torch.compile(model, dynamic=False) if execution.compile else model  # type: ignore[assignment]
        self.forward: Callable[[Tensor], Tensor] = self._callable

    def share(self, first_batch: Callable[[Callable[[Tensor], Tensor]], None]) -> None:
        """Share the training among the processes.

        Args:
            first_batch: runs forward and backward once through the network it is given.
        """
        if self.sharded:
            from torch.distributed.fsdp import fully_shard  # here, as its import takes a second

            for part in parts_to_shard(self.model):
                fully_shard(part)
            fully_shard(self.model)
        elif self._processes.count > 1:
            with self._untouched():
                first_batch(self.model)
                unused = any(each.grad is None for each in self.model.parameters() if each.requires_grad)
            self.forward = DistributedDataParallel(
                self._callable,
                device_ids=[self.device] if self.device.type == "cuda" else None,
                **_LOCAL_BUFFERS,
                find_unused_parameters=unused,
                gradient_as_bucket_view=True,
            )
            with self._untouched():
                # DDP orders its buckets anew after the first backward. A resumed training must sum in the
                # order of one that was never interrupted, so neither counts the first.
                first_batch(self.forward)

    def release(self) -> None:
        """Give the network back as it came, trained."""
        # DDP holds the connections to the other processes, which are closed soon.
        self.forward = self.model
        unsynchronise(self._synchronised)
        if self._recomputes:
            recompute(self.model, False)

    def adding_up(self, *, last: bool) -> AbstractContextManager[None]:
        """Return what surrounds the pieces of a batch: only the last one exchanges gradients."""
        if isinstance(self.forward, DistributedDataParallel) and not last:
            return self.forward.no_sync()
        if self.sharded:
            sharded: Any = self.model  # an `FSDPModule`
            sharded.set_requires_gradient_sync(last)
        return nullcontext()

    def copy_buffers_from_first(self) -> None:
        """Give all processes the first one's BatchNorm statistics, which are those that are kept."""
        self._processes.copy_from_first(self.model.buffers())

    @contextmanager
    def _untouched(self) -> Iterator[None]:
        """Leave statistics and gradients as they are."""
        kept = [(each, each.detach().clone()) for each in self.model.buffers()]
        self.model.train()
        yield
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
        self.model.zero_grad(set_to_none=True)


def recompute(model: nn.Module, enable: bool) -> None:
    """Choose whether a network keeps few activations and computes them again in the backward pass.

    Raises:
        SenetError: it does not know how.
    """
    switch = getattr(model, "set_grad_checkpointing", None)
    if switch is None:
        raise SenetError(
            "recompute needs a network with set_grad_checkpointing, as senet's and timm's have, but "
            f"{type(model).__name__} has none: add it, or leave out recompute."
        )
    switch(enable)


def parts_to_shard(model: nn.Module) -> list[nn.Module]:
    """Return the parts of a network whose weights are gathered together, each just before it runs.

    In a residual network these are the units: the outermost modules that consist of others, below sequences
    and lists of them. Single layers belong to the whole, which reads their weights without calling them where
    they run fused.
    """
    parts: list[nn.Module] = []
    for child in model.children():
        if type(child) in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
            parts += parts_to_shard(child)
        elif any(True for _ in child.children()) and any(True for _ in child.parameters()):
            parts.append(child)
    return parts
