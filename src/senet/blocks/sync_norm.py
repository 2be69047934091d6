"""BatchNorm over the images of all processes, on any device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from senet.errors import SenetError

_EXACT_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class CpuSyncBatchNorm(_BatchNorm):
    """`torch.nn.SyncBatchNorm` for a CPU, where PyTorch's own does not run.

    Attributes:
        process_group: that shares the statistics; ``None`` for all processes.
    """

    process_group: Any

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {x.dim()}D input)")

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, *spatial) by the mean and variance over all processes.

        All processes must have the same number of images.
        """
        if not self.training or not torch.distributed.is_initialized():
            return super().forward(x)
        shape = (1, -1) + (1,) * (x.dim() - 2)
        dims = [0, *range(2, x.dim())]
        # Half precision has too few digits for statistics.
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _mean_over_processes(values.mean(dims))
        centred = values - mean.view(shape)
        # In two passes: a difference of squares would lose digits where the mean is large.
        variance = _mean_over_processes(centred.square().mean(dims))
        count = x.numel() // x.shape[1] * torch.distributed.get_world_size()
        self._follow(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards a batch's, as BatchNorm does."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def is_synchronised(layer: nn.Module) -> bool:
    """Return whether a BatchNorm takes its statistics over all processes."""
    return isinstance(layer, nn.SyncBatchNorm | CpuSyncBatchNorm)


def synchronise(model: nn.Module, device: torch.device) -> list[tuple[_BatchNorm, type[_BatchNorm]]]:
    """Make every BatchNorm of ``model`` see the images of all processes.

    Args:
        model: changed in place.
        device: on which it will run.

    Returns:
        Each layer with the class it had, for `unsynchronise`.

    Raises:
        SenetError: a layer is another package's BatchNorm, whose forward may do more.
    """
    changed: list[tuple[_BatchNorm, type[_BatchNorm]]] = []
    for name, module in model.named_modules():
        if not isinstance(module, _BatchNorm) or is_synchronised(module):
            continue
        if type(module) not in _EXACT_KINDS:
            unsynchronise(changed)
            raise SenetError(
                f"The layer {name} is a {type(module).__name__}, which senet cannot synchronise over "
                "processes: use the package's own conversion, or leave out sync_norm."
            )
        changed.append((module, type(module)))
        # The layer itself stays, with its hooks, its state and whatever refers to it.
        module.__class__ = CpuSyncBatchNorm if device.type == "cpu" else nn.SyncBatchNorm
        module.process_group = None  # type: ignore[assignment]
    return changed


def unsynchronise(changed: list[tuple[_BatchNorm, type[_BatchNorm]]]) -> None:
    """Give the layers the classes they had."""
    for module, kind in changed:
        del module.process_group
        module.__class__ = kind


class _SumOverProcesses(torch.autograd.Function):
    """The sum of each process's tensor; its gradient is the sum of each process's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        torch.distributed.all_reduce(total)
        return total


def _mean_over_processes(x: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(x)  # type: ignore[no-untyped-call]
    return total / torch.distributed.get_world_size()
