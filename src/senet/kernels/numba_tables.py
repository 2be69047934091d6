"""The algebra on tables, compiled by Numba: one loop in place of dozens of operators on small tensors.

Between two passes over the maps an operator on a table costs more in calls, and in code that the maps have
driven out of the caches, than in arithmetic. The functions are those of `senet.kernels.tables`; the
formulas are the same ones.
"""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Sequence
from functools import cache
from inspect import isfunction
from typing import Any

import numpy as np
import torch
from numba import carray
from numba.extending import register_jitable
from torch import Tensor

from senet.kernels import formulas, tables
from senet.kernels.layout import Layout
from senet.kernels.numba_task import (
    DTYPES,
    GIVEN,
    MAX_ARGUMENTS,
    PIECES,
    Call,
    Loop,
    compiled,
    grid,
    next_piece,
    number,
    run,
)
from senet.kernels.tables import Gradients, Moments, Squeezed

_BLOCK = 256
"""Channels in a piece of work."""

_FORMULAS = zlib.crc32(
    b"".join(marshal.dumps(each.__code__) for each in vars(formulas).values() if isfunction(each))
)
"""In the closures of the loops: Numba's cache on disk looks at their file, not at that of the formulas."""

_relative_mean = register_jitable(formulas.relative_mean)
_own_scatter = register_jitable(formulas.own_scatter)
_lost = register_jitable(formulas.lost)
_affine = register_jitable(formulas.affine)
_sum_of_d = register_jitable(formulas.sum_of_d)
_squeeze = register_jitable(formulas.squeeze)
_through_se = register_jitable(formulas.through_se)
_weight_gradient = register_jitable(formulas.weight_gradient)
_statistics_gradient = register_jitable(formulas.statistics_gradient)


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
    """As `tables.statistics`."""
    if group:
        return tables.statistics(moments, weight, bias, pixels=pixels, eps=eps, group=group, squeeze=squeeze)
    shift = moments.shift
    table = shift.new_empty(6, shift.shape[1])
    squeezed = _new_squeezed(shift) if squeeze else None
    parameters = [None if each is None else each.to(shift.dtype).contiguous() for each in (weight, bias)]
    _run_squeeze(moments, table, squeezed, pixels, [eps, moments.second, *parameters])
    return table, squeezed


def squeeze_of(moments: Moments, table: Tensor, *, pixels: int) -> Squeezed:
    """As `tables.squeeze_of`."""
    squeezed = _new_squeezed(moments.shift)
    _run_squeeze(moments, table, squeezed, pixels, [0.0, None, None, None])
    return squeezed


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
    """As `tables.gradients`."""
    if group:
        return tables.gradients(
            g_sum, gd_sum, norm, sums, s, d_z, pixels=pixels, of_batch=of_batch, group=group
        )
    N, C = g_sum.shape
    d_weight, d_bias = g_sum.new_empty(C), g_sum.new_empty(C)  # the user's to keep, so in memory of their own
    Q, R = g_sum.new_empty(2, C).unbind()
    P, spread, passed, total = None, None, None, None
    if sums is not None and s is not None and d_z is not None:
        P, spread = g_sum.new_empty(2, N, C).unbind()
        passed, total = (sums[0], sums[1]) if len(sums) == 2 else (None, sums)
        s, d_z = s.contiguous(), d_z.contiguous()
    sizes = [N, C, pixels, int(of_batch)]
    given = [g_sum, gd_sum, norm, passed, total, s, d_z]
    loop = _loop("gradients", g_sum.dtype)
    run(loop, -(-C // _BLOCK), [*sizes, *given, P, spread, Q, R, d_weight, d_bias])
    q, r = (Q, R) if of_batch else (None, None)
    if P is None:
        return Gradients(norm[4], None, q, r, d_weight, d_bias)
    if passed is None:
        return Gradients(P, None, q, spread, d_weight, d_bias)
    return Gradients(P, spread, q, r, d_weight, d_bias)


def squeeze_call(
    layout: Layout, dtype: torch.dtype, moments: tuple[int, int], table: int, passed: int, total: int, z: int
) -> Call:
    """Return the call that squeezes maps whose statistics are known, given addresses.

    Args:
        layout: of the maps.
        dtype: of the tables.
        moments: of the shift and the sums ``first``, (N, C) each; unused where ``passed`` is given.
        table: of the statistics, (6, C).
        passed: of the numbers of pixels that a ReLU before SE lets through, (N, C), or 0 without one.
        total: for the sums of ``d``, (N, C); with ``passed`` they are there already.
        z: for the squeeze, (N, C).
    """
    N, C, M, _ = layout
    arguments = [N, C, M, *moments, table, total, z, 0, 0, 0, 0, passed]
    return Call(_loop("squeeze", dtype), -(-C // _BLOCK), arguments)


def running_statistics_call(
    dtype: torch.dtype, channels: int, eps: float, parameters: Sequence[int], table: int
) -> Call:
    """Return the call of `tables.running_statistics`, given addresses.

    Args:
        dtype: of all tensors.
        channels: C.
        eps: added to the variance.
        parameters: running mean and variance, weight and bias, (C,) each; 0 for a missing one. Without any
            the call is that of `tables.no_statistics`.
        table: for the result, (6, C).
    """
    return Call(_loop("running", dtype), 1, [channels, eps, *parameters, table])


def _new_squeezed(like: Tensor) -> Squeezed:
    return Squeezed(like.new_empty(1, *like.shape), torch.empty_like(like))


def _run_squeeze(
    moments: Moments, table: Tensor, squeezed: Squeezed | None, pixels: int, given: list[Any]
) -> None:
    N, C = moments.shift.shape
    results = (None, None) if squeezed is None else squeezed
    arguments = [N, C, pixels, moments.shift, moments.first, table, *results, *given, None]
    run(_loop("squeeze", table.dtype), -(-C // _BLOCK), arguments)


@cache
def _loop(name: str, dtype: torch.dtype) -> int:
    # Sums in another order would undo what `formulas.lost` is for.
    return compiled(_LOOPS[name](DTYPES[dtype]), reorder=False)


def _squeeze_loop(dtype: Any) -> Loop:
    """Return the loop of `statistics`, and without the second moments of `squeeze_of`."""
    version = _FORMULAS

    def loop(address: Any) -> None:
        if version == 0:
            return
        # N, C, M, shift, first, table, sums, z, eps, second, weight, bias, passed
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]
        N, C, M = given[0], given[1], given[2]
        shift, first = grid(given[3], N, C, dtype), grid(given[4], N, C, dtype)
        second, table = grid(given[9], N, C, dtype), grid(given[5], 6, C, dtype)
        sums, z, passed = (
            grid(given[6], N, C, dtype),
            grid(given[7], N, C, dtype),
            grid(given[12], N, C, dtype),
        )
        weights, biases = grid(given[10], 1, C, dtype), grid(given[11], 1, C, dtype)
        mean, scatter = np.empty(C, np.float64), np.empty(C, np.float64)
        count, eps = M * N, number(given[8])
        while True:
            piece = next_piece(address)
            if piece >= carray(address, MAX_ARGUMENTS)[PIECES]:
                break
            start, stop = piece * _BLOCK, min(C, piece * _BLOCK + _BLOCK)
            if given[9] != 0:
                for c in range(start, stop):
                    mean[c] = 0
                    scatter[c] = 0
                for n in range(N):
                    for c in range(start, stop):
                        mean[c] += _relative_mean(shift[n, c], first[n, c], shift[0, c], M)
                        scatter[c] += _own_scatter(first[n, c], second[n, c], M)
                for c in range(start, stop):
                    mean[c] /= N
                for n in range(N):
                    for c in range(start, stop):
                        distance = _relative_mean(shift[n, c], first[n, c], shift[0, c], M) - mean[c]
                        scatter[c] += M * distance * distance
                for c in range(start, stop):
                    table[0, c] = shift[0, c] + mean[c]
                    lost = _lost(shift[0, c], mean[c], table[0, c])
                    table[1, c] = lost if np.isfinite(lost) else 0
                    table[2, c] = 1 / np.sqrt(scatter[c] / count + eps)
                    table[3, c] = scatter[c] / (count - 1)
                    weight = weights[0, c] if given[10] != 0 else dtype(1)
                    bias = biases[0, c] if given[11] != 0 else dtype(0)
                    table[4, c], table[5, c] = _affine(table[2, c], table[1, c], weight, bias)
            if given[6] != 0:
                for n in range(N):
                    for c in range(start, stop):
                        counted = dtype(M)
                        if given[12] != 0:
                            counted = passed[n, c]
                        else:
                            relative = _relative_mean(shift[n, c], first[n, c], shift[0, c], M)
                            sums[n, c] = _sum_of_d(relative, table[0, c], shift[0, c], M)
                        z[n, c] = _squeeze(table[4, c], table[5, c], counted, sums[n, c], M)

    return loop


def _running_loop(dtype: Any) -> Loop:
    """Return the loop of `running_statistics_call`."""
    version = _FORMULAS

    def loop(address: Any) -> None:
        if version == 0:
            return
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]  # C, eps, mean, var, weight, bias, table
        C, eps = given[0], number(given[1])
        mean, var = grid(given[2], 1, C, dtype), grid(given[3], 1, C, dtype)
        weights, biases = grid(given[4], 1, C, dtype), grid(given[5], 1, C, dtype)
        table = grid(given[6], 6, C, dtype)
        for c in range(C):
            table[0, c] = mean[0, c] if given[2] != 0 else dtype(0)
            table[1, c] = dtype(0)
            table[3, c] = var[0, c] if given[3] != 0 else dtype(1)
            table[2, c] = 1 / np.sqrt(table[3, c] + eps)
            weight = weights[0, c] if given[4] != 0 else dtype(1)
            bias = biases[0, c] if given[5] != 0 else dtype(0)
            table[4, c], table[5, c] = _affine(table[2, c], table[1, c], weight, bias)

    return loop


def _gradients_loop(dtype: Any) -> Loop:
    """Return the loop of `gradients`."""
    version = _FORMULAS

    def loop(address: Any) -> None:
        if version == 0:
            return
        # N, C, M, of_batch, g_sum, gd_sum, norm, passed, total, s, d_z, P, spread, Q, R, d_weight, d_bias
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]
        N, C, M = given[0], given[1], given[2]
        g_sum, gd_sum = grid(given[4], N, C, dtype), grid(given[5], N, C, dtype)
        norm, passed, total = (
            grid(given[6], 6, C, dtype),
            grid(given[7], N, C, dtype),
            grid(given[8], N, C, dtype),
        )
        s, d_z = grid(given[9], N, C, dtype), grid(given[10], N, C, dtype)
        P, spreads = grid(given[11], N, C, dtype), grid(given[12], N, C, dtype)
        Q, R = grid(given[13], 1, C, dtype), grid(given[14], 1, C, dtype)
        d_weight, d_bias = grid(given[15], 1, C, dtype), grid(given[16], 1, C, dtype)
        t_sum, td_sum = np.empty(C, np.float64), np.empty(C, np.float64)
        while True:
            piece = next_piece(address)
            if piece >= carray(address, MAX_ARGUMENTS)[PIECES]:
                break
            start, stop = piece * _BLOCK, min(C, piece * _BLOCK + _BLOCK)
            for c in range(start, stop):
                t_sum[c] = 0
                td_sum[c] = 0
            for n in range(N):
                for c in range(start, stop):
                    t, td = g_sum[n, c], gd_sum[n, c]
                    if given[9] != 0:
                        counted = passed[n, c] if given[7] != 0 else dtype(M)
                        spread = d_z[n, c] / M
                        t, td = _through_se(t, td, s[n, c], spread, counted, total[n, c])
                        P[n, c] = norm[4, c] * s[n, c]
                        spreads[n, c] = norm[4, c] * spread
                    t_sum[c] += t
                    td_sum[c] += td
            for c in range(start, stop):
                a, rstd, offset = norm[4, c], norm[2, c], norm[1, c]
                d_bias[0, c] = t_sum[c]
                d_weight[0, c] = _weight_gradient(td_sum[c], t_sum[c], offset, rstd)
                Q[0, c], R[0, c] = _statistics_gradient(a, rstd, offset, d_weight[0, c], d_bias[0, c], M * N)
            if given[3] != 0 and given[9] != 0 and given[7] == 0:
                for n in range(N):
                    for c in range(start, stop):
                        spreads[n, c] += R[0, c]

    return loop


_LOOPS = {"squeeze": _squeeze_loop, "running": _running_loop, "gradients": _gradients_loop}
