"""The algebra of a fused tail on (N, C) and (C,) tables: what the passes over the maps need and leave.

BatchNorm is an affine map of each channel, so the squeeze commutes with it, and SE and BatchNorm together
are one affine map of each channel of each image: ``out = A (y - centre) + B``. The formulas themselves are
in `senet.kernels.formulas`; here they meet the sums over images, and other processes.

Notation: N images, C channels, M pixels in a map, n = N M values in a channel (all processes' with
SyncBatchNorm). ``d = y - centre``, where ``centre`` is the channel's mean rounded to the tables' type and
``offset`` what the rounding left, so that no digits are lost however far the mean is from zero.
The BatchNorm output is ``t = a d + c``. ``docs/performance.md`` tells the derivation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from senet.kernels import formulas


class Moments(NamedTuple):
    """Per image and channel, (N, C) each: a shift, the sum of ``y - shift``, and the sum of its squares."""

    shift: Tensor
    first: Tensor
    second: Tensor | None


class Affine(NamedTuple):
    """``t = scale d + bias``: (C,) or (N, C) each."""

    scale: Tensor
    bias: Tensor


class Norm(NamedTuple):
    """A channel's statistics as BatchNorm uses them, and the affine map they make, (C,) each.

    The mean is ``centre + offset``. ``var`` is the unbiased variance, which BatchNorm keeps a running mean
    of; ``rstd`` comes from the biased one, by which it divides.
    """

    centre: Tensor
    offset: Tensor
    rstd: Tensor
    var: Tensor
    scale: Tensor
    bias: Tensor

    @classmethod
    def of(cls, table: Tensor) -> Norm:
        """Return the rows of a table, (6, C), by name."""
        return cls(*table.unbind())

    @property
    def affine(self) -> Affine:
        """BatchNorm as an affine map."""
        return Affine(self.scale, self.bias)

    def move(self, mean: Tensor | None, var: Tensor | None, momentum: float) -> None:
        """Move running statistics, (C,), towards the batch's, as BatchNorm does.

        Like BatchNorm it does not count as a change of them: another call of the same layer, which autograd
        has noted, can still be differentiated.
        """
        if mean is not None and var is not None:
            mean.data.lerp_((self.centre + self.offset).to(mean.dtype), momentum)
            var.data.lerp_(self.var.to(var.dtype), momentum)


class Squeezed(NamedTuple):
    """What SE sees of maps, and what the backward of the squeeze needs.

    Attributes:
        sums: (1, N, C): the sum of ``d``; or with a ReLU before SE (2, N, C): the number of pixels that it
            lets through and the sum of ``d`` over them.
        z: the squeeze, (N, C).
    """

    sums: Tensor
    z: Tensor


def table_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type of the tables for maps of ``dtype``: float32, whatever their precision below it."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def statistics(
    moments: Moments,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    pixels: int,
    eps: float,
    group: str,
    squeeze: bool,
) -> tuple[Tensor, Squeezed | None]:
    """Return the statistics of a batch, (6, C) as `Norm`, and the squeeze where SE follows.

    The images' own means and variances are merged, which cancels nothing (Chan et al. 1979).

    Args:
        moments: of the maps, with the second one.
        weight: of BatchNorm.
        bias: of BatchNorm.
        pixels: M.
        eps: added to the variance.
        group: name of the process group of a SyncBatchNorm, or empty.
        squeeze: whether SE is to see the maps as BatchNorm leaves them.
    """
    assert moments.second is not None
    base = moments.shift[0]
    relative = formulas.relative_mean(moments.shift, moments.first, base, pixels)
    scatter = formulas.own_scatter(moments.first, moments.second, pixels).sum(0)
    count: Any = pixels * len(relative)
    mean = relative.mean(0)
    scatter = torch.add(scatter, (relative - mean).square_().sum(0), alpha=pixels)
    if group:
        count, mean, scatter = _across_processes(base, mean, scatter, count, group)
    centre = base + mean
    # Of an infinite mean nothing is lost, and the running mean becomes infinite as BatchNorm's does.
    offset = formulas.lost(base, mean, centre).nan_to_num(0.0, 0.0, 0.0)
    table = _table(centre, offset, scatter / count, scatter / (count - 1), eps, weight, bias)
    return table, squeeze_of(moments, table, pixels=pixels) if squeeze else None


def squeeze_of(moments: Moments, table: Tensor, *, pixels: int) -> Squeezed:
    """Return SE's squeeze of what BatchNorm with the statistics ``table`` makes of maps of M = ``pixels``."""
    norm = Norm.of(table)
    base = moments.shift[0]
    relative = formulas.relative_mean(moments.shift, moments.first, base, pixels)
    total = formulas.sum_of_d(relative, norm.centre, base, pixels)
    return Squeezed(total[None], formulas.squeeze(norm.scale, norm.bias, pixels, total, pixels))


def squeeze_after_relu(sums: Tensor, norm: Norm, pixels: int) -> Squeezed:
    """Return SE's squeeze of what a ReLU behind BatchNorm has left, from `torch_passes.relu_sums_pass`."""
    return Squeezed(sums, formulas.squeeze(norm.scale, norm.bias, sums[0], sums[1], pixels))


def _across_processes(
    base: Tensor, mean: Tensor, scatter: Tensor, count: float, group: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, mean less ``base``, and scatter of all processes' images; one all-reduce in float64."""
    channels = len(base)
    own = base.double() + mean
    packed = torch.cat([own.new_full((1,), count), count * own, scatter + count * own * own])
    packed = _sum_over(packed, group)
    total = packed[1 : channels + 1] / packed[0]
    scatter_of_all = (packed[channels + 1 :] - packed[0] * total * total).clamp_(min=0)
    return packed[0].to(base.dtype), (total - base).to(base.dtype), scatter_of_all.to(base.dtype)


def _sum_over(table: Tensor, group: str) -> Tensor:
    """Return the sum of all processes' tables."""
    from torch.distributed import distributed_c10d as processes

    named = processes._resolve_process_group(group)  # type: ignore[attr-defined,arg-type]
    processes.all_reduce(table, group=named)
    return table


def running_statistics(
    mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, dtype: torch.dtype
) -> Tensor:
    """Return running statistics, (C,) each, as BatchNorm uses them in evaluation mode: (6, C) as `Norm`."""
    centre, var = mean.to(dtype), var.to(dtype)
    return _table(centre, torch.zeros_like(centre), var, var, eps, weight, bias)


def no_statistics(channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the statistics under which BatchNorm changes nothing, (6, C) as `Norm`."""
    zeros = torch.zeros(channels, dtype=dtype, device=device)
    ones = torch.ones_like(zeros)
    return torch.stack([zeros, zeros, ones, ones, ones, zeros])


def _table(
    centre: Tensor,
    offset: Tensor,
    biased_var: Tensor,
    var: Tensor,
    eps: float,
    weight: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    rstd = torch.rsqrt(biased_var + eps)
    a, c = formulas.affine(
        rstd,
        offset,
        1 if weight is None else weight.to(rstd.dtype),
        0 if bias is None else bias.to(rstd.dtype),
    )
    return torch.stack([centre, offset, rstd, var, a, c])


class Gradients(NamedTuple):
    """What the second pass of the backward computes with, and the gradients of BatchNorm's parameters.

    ``dy = mask (g P + T) + d Q + R``; P, T and R are (N, C) or (C,), Q is (C,). T, Q and R may be missing.
    """

    P: Tensor
    T: Tensor | None
    Q: Tensor | None
    R: Tensor | None
    weight: Tensor
    bias: Tensor


def gradients(
    g_sum: Tensor,
    gd_sum: Tensor,
    norm: Tensor,
    sums: Tensor | None,
    s: Tensor | None,
    d_z: Tensor | None,
    *,
    pixels: int,
    of_batch: bool,
    group: str,
) -> Gradients:
    """Return the tables of the backward's second pass from the sums of its first.

    Args:
        g_sum: the sum of the masked gradient over each map, (N, C).
        gd_sum: the sum of the masked gradient times ``d``, (N, C).
        norm: of the forward, (6, C) as `Norm`.
        sums: as in `Squeezed`; missing without SE, like the next two.
        s: SE's channel weights, (N, C).
        d_z: the gradient of the squeeze, (N, C).
        pixels: M.
        of_batch: whether the statistics are the batch's and so have gradients of their own.
        group: name of the process group of a SyncBatchNorm, or empty.
    """
    _, offset, rstd, _, a, _ = Norm.of(norm)
    P, T, Q, R = a, None, None, None
    t_sum, td_sum = g_sum, gd_sum
    if s is not None and d_z is not None and sums is not None:
        spread = d_z / pixels
        P = a * s
        passed = sums[0] if len(sums) == 2 else pixels
        T, R = (a * spread, None) if len(sums) == 2 else (None, a * spread)
        t_sum, td_sum = formulas.through_se(g_sum, gd_sum, s, spread, passed, sums[-1])
    d_bias = t_sum.sum(0)
    d_weight = formulas.weight_gradient(td_sum.sum(0), d_bias, offset, rstd)
    if of_batch:
        count: Any = pixels * len(g_sum)
        all_weight, all_bias = d_weight, d_bias
        if group:
            packed = torch.cat([d_weight, d_bias, d_bias.new_full((1,), count)])
            packed = _sum_over(packed.double(), group).to(d_bias.dtype)
            all_weight, all_bias, count = packed[: len(a)], packed[len(a) : -1], packed[-1]
        Q, rest = formulas.statistics_gradient(a, rstd, offset, all_weight, all_bias, count)
        R = rest if R is None else R.add_(rest)
    return Gradients(P, T, Q, R, d_weight, d_bias)
