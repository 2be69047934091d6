"""Everything between a convolution and the next one: BatchNorm, SE, the sum with the shortcut, ReLU.

Units call `tail` instead of these layers one by one, so that they can run fused; see `senet.kernels`. What
cannot be fused runs layer by layer, with the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.modules.batchnorm import _BatchNorm

from senet.blocks.attached import attached_block, has_other_hooks, position_of
from senet.blocks.squeeze_excitation import SqueezeExcitation, has_forward_of_its_own, has_hooks
from senet.blocks.sync_norm import CpuSyncBatchNorm, is_synchronised
from senet.kernels.dispatch import Choice, choose, overflowed, record, run, unreadable
from senet.kernels.fused import NO_BATCH_NORM, BatchNorm
from senet.kernels.steps import Steps
from senet.kernels.tables import Norm

NORM_FORWARDS = (_BatchNorm.forward, nn.SyncBatchNorm.forward, CpuSyncBatchNorm.forward)
"""The forwards that normalise and do nothing else."""


def tail(
    y: Tensor,
    bn: _BatchNorm | None = None,
    relu: nn.Module | None = None,
    *,
    se: SqueezeExcitation | None = None,
    shortcut: Tensor | None = None,
    relu_first: bool = False,
) -> Tensor:
    """Return ``relu(se(bn(y)) + shortcut)``, each step where it is given, or ``se(relu(bn(y)))``.

    An SE block that sits on the BatchNorm or the ReLU (`senet.blocks.attached`) is one of the steps.

    Args:
        y: the output of a convolution, (N, C, *spatial).
        bn: the BatchNorm behind it; in training its running statistics are updated.
        relu: a ReLU.
        se: the SE block.
        shortcut: added, in the shape of ``y``.
        relu_first: whether the ReLU stands before SE, as in VGG, instead of behind the sum.

    Returns:
        The shape, type and memory format of ``y``.
    """
    if torch.compiler.is_compiling():
        # A compiler sees the layers: what fuses them there is its business (`senet.compiler`).
        return _layer_by_layer(y, bn, relu, se, shortcut, relu_first)
    host = None if se is not None else _host(bn, relu, shortcut)
    if host is not None:
        se, relu_first = host.se, host is relu or position_of(host) == "after relu"
    steps = Steps(
        bn is not None,
        se is not None,
        shortcut is not None,
        relu is not None and not relu_first,
        relu is not None and relu_first,
    )
    reason = _unlike(y, bn, relu, se, host)
    if reason:
        choice, of_batch, excitation = Choice("reference", reason), False, None
    else:
        of_batch = bn is not None and (bn.training or bn.running_mean is None)
        excitation = None if se is None else se.excitation()
        gate = "" if excitation is None else excitation.gate
        choice = choose(y, shortcut, steps, gate=gate, of_batch=of_batch)
    record((bn, se, relu), steps, y, choice)
    if choice.backend == "reference":
        # Where the block sits on one of the layers, that runs it.
        return _layer_by_layer(y, bn, relu, se if host is None else None, shortcut, relu_first)
    norm = _batch_norm(bn, of_batch)
    out, table = run(choice, y, shortcut, norm, excitation, steps)
    if of_batch and not norm.group and overflowed(choice, table):
        return _layer_by_layer(y, bn, relu, se if host is None else None, shortcut, relu_first)
    if bn is not None and bn.training and bn.track_running_stats and table is not None:
        _update_running(bn, Norm.of(table))
    return out


def is_stand_in(x: object) -> bool:
    """Whether ``x`` stands for a tensor while torch.fx reads a network: it has neither values nor a size."""
    return isinstance(x, Proxy)


def paired(layers: Iterable[tuple[str, nn.Module]]) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Yield the layers by name in order, a BatchNorm and the ReLU behind it as one, by the ReLU's name."""
    waiting: tuple[str, _BatchNorm] | None = None
    for name, layer in layers:
        if waiting is not None and isinstance(layer, nn.ReLU):
            yield name, partial(tail, bn=waiting[1], relu=layer)
            waiting = None
            continue
        if waiting is not None:
            yield waiting[0], partial(tail, bn=waiting[1])
            waiting = None
        if isinstance(layer, _BatchNorm):
            waiting = name, layer
        else:
            yield name, layer
    if waiting is not None:
        yield waiting[0], partial(tail, bn=waiting[1])


def in_order(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Run the layers one after the other, those that `paired` pairs as one."""
    if has_hooks(layers):
        y: Tensor = layers(x)
        return y
    for _, layer in paired(layers.named_children()):
        x = layer(x)
    return x


def _host(bn: nn.Module | None, relu: nn.Module | None, shortcut: Tensor | None) -> Any:
    """Return the layer on which an SE block sits that can be a step of the tail, or ``None``."""
    hosts = [each for each in (bn, relu) if each is not None and each._forward_hooks and position_of(each)]
    if len(hosts) != 1 or not isinstance(attached_block(hosts[0]), SqueezeExcitation):
        return None
    behind_relu = hosts[0] is relu or position_of(hosts[0]) == "after relu"
    return None if behind_relu and (relu is None or shortcut is not None) else hosts[0]


def _layer_by_layer(
    y: Tensor,
    bn: _BatchNorm | None,
    relu: nn.Module | None,
    se: SqueezeExcitation | None,
    shortcut: Tensor | None,
    relu_first: bool,
) -> Tensor:
    if bn is not None:
        y = bn(y)
    if relu is not None and relu_first:
        y = relu(y)
    if se is not None:
        y = se(y)
    if shortcut is not None:
        y = y + shortcut
    return y if relu is None or relu_first else relu(y)


def _unlike(
    y: Tensor,
    bn: _BatchNorm | None,
    relu: nn.Module | None,
    se: SqueezeExcitation | None,
    host: nn.Module | None,
) -> str:
    """Return what a layer does that the fused form would not, or an empty text."""
    if is_stand_in(y):
        return "torch.fx reads the network"
    return _unlike_bn(y, bn, host) or _unlike_relu(relu, host) or _unlike_se(y, se)


def _unlike_bn(y: Tensor, bn: _BatchNorm | None, host: nn.Module | None) -> str:
    if bn is not None:
        if type(bn).forward not in NORM_FORWARDS or has_forward_of_its_own(bn):
            return f"{type(bn).__name__} is not PyTorch's BatchNorm"
        if bn.num_features != y.shape[1]:
            return "BatchNorm has another number of channels"
        if has_hooks(bn) and (host is None or has_other_hooks(bn)):
            return "BatchNorm has a hook"
        return unreadable(y, (bn.weight, bn.bias, bn.running_mean, bn.running_var))
    return ""


def _unlike_relu(relu: nn.Module | None, host: nn.Module | None) -> str:
    if relu is not None:
        if type(relu) is not nn.ReLU:
            return f"{type(relu).__name__} is not a ReLU"
        if has_hooks(relu) and (host is None or has_other_hooks(relu)):
            return "ReLU has a hook"
    return ""


def _unlike_se(y: Tensor, se: SqueezeExcitation | None) -> str:
    return "" if se is None else ("SE has a hook" if has_hooks(se) else se.unfused(y))


def _batch_norm(bn: _BatchNorm | None, of_batch: bool) -> BatchNorm:
    if bn is None:
        return NO_BATCH_NORM
    if of_batch:
        return BatchNorm(bn.weight, bn.bias, None, None, True, bn.eps, _group(bn))
    return BatchNorm(bn.weight, bn.bias, bn.running_mean, bn.running_var, False, bn.eps)


def _group(bn: _BatchNorm) -> str:
    """Return the name of the processes over which a SyncBatchNorm takes its statistics, or an empty text."""
    if not is_synchronised(bn) or not bn.training:
        return ""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return ""
    group: Any = bn.process_group or torch.distributed.group.WORLD
    return str(group.group_name) if torch.distributed.get_world_size(group) > 1 else ""


def _update_running(bn: _BatchNorm, norm: Norm) -> None:
    """Move the running statistics towards the batch's, as BatchNorm does."""
    momentum = bn.momentum
    if bn.num_batches_tracked is not None:
        bn.num_batches_tracked.add_(1)
        if momentum is None:
            momentum = 1.0 / float(bn.num_batches_tracked)
    norm.move(bn.running_mean, bn.running_var, momentum or 0.0)
