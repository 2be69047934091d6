"""The algebra of a fused tail on (N, C) and (C,) tables: what the passes over the maps need and leave.

BatchNorm is an affine map of each channel, so the squeeze commutes with it, and SE and BatchNorm together
are one affine map of each channel of each image: ``out = A (y - centre) + B``. Everything that is not a pass
over the maps is here, once for all backends.

Notation: N images, C channels, M pixels in a map, n = N M values in a channel (all processes' with
SyncBatchNorm). ``d = y - centre``, where ``centre`` is the channel's mean rounded to the tables' type and
``offset`` what the rounding left, so that no digits are lost however far the mean is from zero.
The BatchNorm output is ``t = a d + c``. ``docs/performance.md`` tells the derivation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from senet.kernels.excitation import Excitation, ExcitationGradients
from senet.kernels.steps import Steps


class Moments(NamedTuple):
    """Per image and channel, (N, C) each: a shift, the sum of ``y - shift``, and the sum of its squares."""

    shift: Tensor
    first: Tensor
    second: Tensor | None


class Norm(NamedTuple):
    """A channel's statistics as BatchNorm uses them, (C,) each.

    The mean is ``centre + offset``. ``var`` is the unbiased variance, which BatchNorm keeps a running mean
    of; ``rstd`` comes from the biased one, by which it divides.
    """

    centre: Tensor
    offset: Tensor
    rstd: Tensor
    var: Tensor


class Affine(NamedTuple):
    """``t = scale d + bias``: (C,) or (N, C) each."""

    scale: Tensor
    bias: Tensor


def table_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type of the tables for maps of ``dtype``: float32, whatever their precision below it."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class Means(NamedTuple):
    """The means of maps, (N, C), less a value of each channel, ``base`` (C,), that is near all of them."""

    base: Tensor
    relative: Tensor


def means_of(moments: Moments, pixels: int) -> Means:
    """Return the mean of each map of M = ``pixels`` pixels, without losing digits to a large one."""
    base = moments.shift[0]
    return Means(base, torch.add(moments.shift - base, moments.first, alpha=1 / pixels))


def norm_of_batch(moments: Moments, pixels: int, eps: float, group: str) -> tuple[Norm, Means]:
    """Return the statistics of a batch and the means of its maps.

    The images' own means and variances are merged, which cancels nothing (Chan et al. 1979).

    Args:
        moments: with the second one.
        pixels: M.
        eps: added to the variance.
        group: name of the process group of a SyncBatchNorm, or empty.
    """
    assert moments.second is not None
    means = means_of(moments, pixels)
    scatter = torch.addcmul(moments.second, moments.first, moments.first, value=-1 / pixels).sum(0)
    count: Any = pixels * len(means.relative)
    mean = means.relative.mean(0)
    scatter = torch.add(scatter, (means.relative - mean).square_().sum(0), alpha=pixels)
    if group:
        count, mean, scatter = _across_processes(means.base, mean, scatter, count, group)
    centre = means.base + mean
    offset = means.base - centre + mean
    var = scatter / count
    return Norm(centre, offset, torch.rsqrt(var + eps), scatter / (count - 1)), means


def _across_processes(
    base: Tensor, mean: Tensor, scatter: Tensor, count: float, group: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, mean less ``base``, and scatter of all processes' images; one all-reduce in float64."""
    channels = len(base)
    own = base.double() + mean
    packed = torch.cat([own.new_full((1,), count), count * own, scatter + count * own * own])
    packed = sum_over(packed, group)
    total = packed[1 : channels + 1] / packed[0]
    scatter_of_all = (packed[channels + 1 :] - packed[0] * total * total).clamp_(min=0)
    return packed[0].to(base.dtype), (total - base).to(base.dtype), scatter_of_all.to(base.dtype)


def sum_over(table: Tensor, group: str) -> Tensor:
    """Return the sum of all processes' tables."""
    from torch.distributed import distributed_c10d as processes

    named = processes._resolve_process_group(group)  # type: ignore[attr-defined,arg-type]
    processes.all_reduce(table, group=named)
    return table


def norm_of_running(mean: Tensor, var: Tensor, eps: float, dtype: torch.dtype) -> Norm:
    """Return running statistics, (C,) each, as BatchNorm uses them in evaluation mode."""
    centre, var = mean.to(dtype), var.to(dtype)
    return Norm(centre, torch.zeros_like(centre), torch.rsqrt(var + eps), var)


def no_norm(like: Tensor, dtype: torch.dtype) -> Norm:
    """Return the statistics under which BatchNorm changes nothing, for maps ``like`` (N, C, ...)."""
    zeros = torch.zeros(like.shape[1], dtype=dtype, device=like.device)
    ones = torch.ones_like(zeros)
    return Norm(zeros, zeros, ones, ones)


def affine_of(norm: Norm, weight: Tensor | None, bias: Tensor | None) -> Affine:
    """Return BatchNorm as ``t = a d + c``, (C,) each."""
    a = norm.rstd if weight is None else norm.rstd * weight
    if bias is None:
        return Affine(a, -norm.offset * a)
    return Affine(a, torch.addcmul(bias.to(a.dtype), norm.offset, a, value=-1))


def sums_of(means: Means, norm: Norm, pixels: int) -> Tensor:
    """Return the sum of ``d`` over each map, (N, C)."""
    return (means.relative - (norm.centre - means.base)) * pixels


def squeezed(sums: Tensor, affine: Affine, pixels: int, steps: Steps) -> Tensor:
    """Return SE's squeeze, (N, C), without another look at the maps (Eq. 2).

    Args:
        sums: (1, N, C): the sum of ``d``; or with a ReLU before SE (2, N, C): the number of pixels that it
            lets through and the sum of ``d`` over them.
        affine: BatchNorm.
        pixels: M.
        steps: of the tail.
    """
    if steps.relu_first:
        return torch.addcmul(affine.scale * sums[1], affine.bias, sums[0]).div_(pixels)
    return torch.addcmul(affine.bias, affine.scale, sums[0], value=1 / pixels)


class Gradients(NamedTuple):
    """What the second pass of the backward computes with, and the gradients of all parameters.

    ``dy = mask (g P + T) + d Q + R``; P, T and R are (N, C) or (C,), Q is (C,). T and Q may be missing.
    """

    P: Tensor
    T: Tensor | None
    Q: Tensor | None
    R: Tensor | None
    weight: Tensor
    bias: Tensor
    excitation: ExcitationGradients | None


def gradients(
    g_sum: Tensor,
    gd_sum: Tensor,
    sums: Tensor | None,
    norm: Norm,
    affine: Affine,
    excitation: Excitation | None,
    steps: Steps,
    *,
    pixels: int,
    of_batch: bool,
    group: str,
) -> Gradients:
    """Return the tables of the backward's second pass from the sums of its first.

    Args:
        g_sum: the sum of the masked gradient over each map, (N, C).
        gd_sum: the sum of the masked gradient times ``d``, (N, C).
        sums: what `squeezed` took.
        norm: of the forward.
        affine: of the forward.
        excitation: of SE, or ``None`` without.
        steps: of the tail.
        pixels: M.
        of_batch: whether the statistics are the batch's and so have gradients of their own.
        group: name of the process group of a SyncBatchNorm, or empty.
    """
    a, c = affine
    excited, P, T, R = None, a, None, None
    t_sum, td_sum = g_sum, gd_sum  # of the gradient of t: over a map, and times d
    if excitation is not None:
        assert sums is not None
        z = squeezed(sums, affine, pixels, steps)
        excited = excitation.gradients(z, lambda _: torch.addcmul(a * gd_sum, c, g_sum))
        spread = excited.z / pixels
        P = a * excited.s
        if steps.relu_first:
            T = a * spread
            t_sum = torch.addcmul(spread * sums[0], excited.s, g_sum)
            td_sum = torch.addcmul(spread * sums[1], excited.s, gd_sum)
        else:
            R = a * spread
            t_sum = torch.addcmul(excited.z, excited.s, g_sum)
            td_sum = torch.addcmul(spread * sums[0], excited.s, gd_sum)
    d_bias = t_sum.sum(0)
    d_weight = torch.addcmul(td_sum.sum(0), norm.offset, d_bias, value=-1) * norm.rstd
    Q = None
    if of_batch:
        count: Any = pixels * len(g_sum)
        all_weight, all_bias = d_weight, d_bias
        if group:
            packed = torch.cat([d_weight, d_bias, d_bias.new_full((1,), count)])
            packed = sum_over(packed.double(), group).to(d_bias.dtype)
            all_weight, all_bias, count = packed[: len(a)], packed[len(a) : -1], packed[-1]
        Q = (a * norm.rstd).mul_(all_weight).mul_(-1 / count)
        rest = torch.addcmul(Q * norm.offset, a, all_bias.mul(1 / count)).neg_()
        R = rest if R is None else R.add_(rest)
    return Gradients(P, T, Q, R, d_weight, d_bias, excited)
