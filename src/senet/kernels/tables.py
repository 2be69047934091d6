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


def norm_of_batch(
    moments: Moments, pixels: int, eps: float, dtype: torch.dtype, group: str
) -> tuple[Norm, Tensor]:
    """Return the statistics of a batch, and each image's mean, (N, C) in float64.

    The images' own means and variances are merged, which cancels nothing (Chan et al. 1979).

    Args:
        moments: with the second one.
        pixels: M.
        eps: added to the variance.
        dtype: of the tables returned.
        group: name of the process group of a SyncBatchNorm, or empty.
    """
    assert moments.second is not None
    first, second = moments.first.double(), moments.second.double()
    means = moments.shift + first / pixels
    scatter = torch.addcmul(second, first, first, value=-1 / pixels)
    count: float | Tensor = pixels * means.shape[0]
    if group:
        count, mean, var = _across_processes(means, scatter, pixels, group)
    else:
        mean = means.mean(0)
        var = scatter.sum(0) / count + means.var(0, correction=0)
    centre = mean.to(dtype)
    unbiased = (var * (count / (count - 1))).to(dtype)
    norm = Norm(centre, (mean - centre).to(dtype), torch.rsqrt(var + eps).to(dtype), unbiased)
    return norm, means


def _across_processes(
    means: Tensor, scatter: Tensor, pixels: int, group: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, mean and variance of all processes' images; one all-reduce in float64."""
    channels = means.shape[1]
    count = means.new_full((1,), pixels * means.shape[0])
    packed = torch.cat([count, (pixels * means).sum(0), (scatter + pixels * means * means).sum(0)])
    packed = sum_over(packed, group)
    mean = packed[1 : channels + 1] / packed[0]
    return packed[0], mean, (packed[channels + 1 :] / packed[0] - mean * mean).clamp_(min=0)


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
    a = norm.rstd if weight is None else weight.to(norm.rstd.dtype) * norm.rstd
    c = -norm.offset * a
    return Affine(a, c if bias is None else c + bias.to(c.dtype))


def sums_of(means: Tensor, norm: Norm, pixels: int) -> Tensor:
    """Return the sum of ``d`` over each map, (N, C), from the maps' means in float64."""
    return ((means - norm.centre.double()) * pixels).to(norm.centre.dtype)


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
        return (affine.scale * sums[1] + affine.bias * sums[0]) / pixels
    return affine.scale * (sums[0] / pixels) + affine.bias


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
    excited = None
    t_sum, td_sum = g_sum, gd_sum  # of the gradient of t: over a map, and times d
    P, T, R = a, None, None
    if excitation is not None:
        assert sums is not None
        z = squeezed(sums, affine, pixels, steps)
        excited = excitation.gradients(z, lambda _: a * gd_sum + c * g_sum)
        spread = excited.z / pixels
        P = a * excited.s
        t_sum, td_sum = excited.s * g_sum, excited.s * gd_sum
        if steps.relu_first:
            t_sum, td_sum = t_sum + spread * sums[0], td_sum + spread * sums[1]
            T = a * spread
        else:
            t_sum, td_sum = t_sum + excited.z, td_sum + spread * sums[0]
            R = a * spread
    d_bias = t_sum.sum(0)
    d_weight = (td_sum.sum(0) - norm.offset * d_bias) * norm.rstd
    Q = None
    if of_batch:
        count: Any = pixels * g_sum.shape[0]
        all_weight, all_bias = d_weight, d_bias
        if group:
            packed = torch.cat([d_weight, d_bias, d_bias.new_full((1,), count)])
            packed = sum_over(packed.double(), group).to(d_bias.dtype)
            all_weight, all_bias, count = packed[: len(a)], packed[len(a) : -1], packed[-1]
        Q = -a * norm.rstd * all_weight / count
        rest = -Q * norm.offset - a * all_bias / count
        R = rest if R is None else R + rest
    return Gradients(P, T, Q, R, d_weight, d_bias, excited)
