"""The passes over contiguous maps as loops that Numba compiles.

The M pixels of a map lie beside each other; map r belongs to image ``r // C`` and channel ``r % C``. A piece
of work is a number of maps. The comments at ``given`` name the arguments in order;
`senet.kernels.torch_passes` says what each pass computes.

The passes that write go through the maps backwards: the last ones read are still in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from senet.kernels.numba_task import GIVEN, MAX_ARGUMENTS, PIECES, Loop, next_piece, part
from senet.kernels.torch_passes import SHIFT_PIXELS

CHUNK = 1024
"""Pixels summed in the maps' own type before they join a float64 total."""


def moments(dtype: Any) -> Loop:
    """Return the loop of `torch_passes.moments_pass`."""
    head = SHIFT_PIXELS  # within the closure, Numba's cache on disk knows it

    def loop(address: Any) -> None:
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]  # maps, M, maps of a piece, y, shift, first, second
        maps, M, rows = given[0], given[1], given[2]
        shift = part(given[4], 0, maps, dtype)
        first, squares = part(given[5], 0, maps, dtype), part(given[6], 0, maps, dtype)
        while True:
            piece = next_piece(address)
            if piece >= carray(address, MAX_ARGUMENTS)[PIECES]:
                break
            for r in range(piece * rows, min(maps, (piece + 1) * rows)):
                y = part(given[3], r * M, M, dtype)
                k = dtype(0)
                for p in range(min(M, head)):
                    k += y[p]
                k /= dtype(min(M, head))
                k = k if np.isfinite(k) else dtype(0)
                shift[r] = k
                s1, s2 = 0.0, 0.0
                for begin in range(0, M, CHUNK):
                    a1, a2 = dtype(0), dtype(0)
                    for p in range(begin, min(M, begin + CHUNK)):
                        d = y[p] - k
                        a1 += d
                        a2 += d * d
                    s1 += a1
                    s2 += a2
                first[r] = s1
                squares[r] = s2

    return loop


def relu_sums(dtype: Any) -> Loop:
    """Return the loop of `torch_passes.relu_sums_pass`."""
    zero, one = dtype(0), dtype(1)

    def loop(address: Any) -> None:
        # maps, M, maps of a piece, C, y, centre, scale, bias, passed, sums
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]
        maps, M, rows, C = given[0], given[1], given[2], given[3]
        centre = part(given[5], 0, C, dtype)
        scale, bias = part(given[6], 0, C, dtype), part(given[7], 0, C, dtype)
        passed, sums = part(given[8], 0, maps, dtype), part(given[9], 0, maps, dtype)
        while True:
            piece = next_piece(address)
            if piece >= carray(address, MAX_ARGUMENTS)[PIECES]:
                break
            for r in range(piece * rows, min(maps, (piece + 1) * rows)):
                y = part(given[4], r * M, M, dtype)
                k, a, b = centre[r % C], scale[r % C], bias[r % C]
                s0, s1 = 0.0, 0.0
                for begin in range(0, M, CHUNK):
                    a0, a1 = zero, zero
                    for p in range(begin, min(M, begin + CHUNK)):
                        d = y[p] - k
                        stopped = a * d + b <= zero
                        a0 += zero if stopped else one
                        a1 += zero if stopped else d
                    s0 += a0
                    s1 += a1
                passed[r] = s0
                sums[r] = s1

    return loop


def apply(dtype: Any, *, add: bool, relu: bool) -> Loop:
    """Return the loop of `torch_passes.apply_pass`."""
    zero = dtype(0)

    def loop(address: Any) -> None:
        # maps, M, maps of a piece, C, step, y, centre, scale, bias, out, shortcut
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]
        maps, M, rows, C, step = given[0], given[1], given[2], given[3], given[4]
        pieces = carray(address, MAX_ARGUMENTS)[PIECES]
        images = (maps - 1) // C
        centre = part(given[6], 0, C, dtype)
        scale, bias = part(given[7], 0, images * step + C, dtype), part(given[8], 0, images * step + C, dtype)
        while True:
            piece = pieces - 1 - next_piece(address)
            if piece < 0:
                break
            for r in range(piece * rows, min(maps, (piece + 1) * rows)):
                y, out = part(given[5], r * M, M, dtype), part(given[9], r * M, M, dtype)
                x = part(given[10], r * M, M, dtype)
                at = r // C * step + r % C
                k, a, b = centre[r % C], scale[at], bias[at]
                for p in range(M):
                    value = a * (y[p] - k) + b
                    if add:
                        value += x[p]
                    if relu:
                        value = zero if value <= zero else value
                    out[p] = value

    return loop


def gradient_sums(dtype: Any, *, mask: str) -> Loop:
    """Return the loop of `torch_passes.gradient_sums_pass`; the mask is output or affine."""
    zero = dtype(0)
    by_output, by_affine = mask == "output", mask == "affine"

    def loop(address: Any) -> None:
        # maps, M, maps of a piece, C, step, grad, y, centre, g_sum, gd_sum, output, mask's scale, mask's bias
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]
        maps, M, rows, C, step = given[0], given[1], given[2], given[3], given[4]
        images = (maps - 1) // C
        centre = part(given[7], 0, C, dtype)
        g_sum, gd_sum = part(given[8], 0, maps, dtype), part(given[9], 0, maps, dtype)
        scale = part(given[11], 0, images * step + C, dtype)
        bias = part(given[12], 0, images * step + C, dtype)
        while True:
            piece = next_piece(address)
            if piece >= carray(address, MAX_ARGUMENTS)[PIECES]:
                break
            for r in range(piece * rows, min(maps, (piece + 1) * rows)):
                grad, y = part(given[5], r * M, M, dtype), part(given[6], r * M, M, dtype)
                output = part(given[10], r * M, M, dtype)
                k, a, b = centre[r % C], zero, zero
                if by_affine:
                    a, b = scale[r // C * step + r % C], bias[r // C * step + r % C]
                s1, s2 = 0.0, 0.0
                for begin in range(0, M, CHUNK):
                    a1, a2 = zero, zero
                    for p in range(begin, min(M, begin + CHUNK)):
                        d, g = y[p] - k, grad[p]
                        if by_output:
                            g = zero if output[p] <= zero else g
                        if by_affine:
                            g = zero if a * d + b <= zero else g
                        a1 += g
                        a2 += g * d
                    s1 += a1
                    s2 += a2
                g_sum[r] = s1
                gd_sum[r] = s2

    return loop


def gradient_apply(dtype: Any, *, mask: str, inside: bool, of_batch: bool, shortcut: bool) -> Loop:
    """Return the loop of `torch_passes.gradient_apply_pass`: with T if ``inside``, Q if ``of_batch``."""
    zero = dtype(0)
    by_output, by_affine = mask == "output", mask == "affine"
    reads_y = of_batch or by_affine

    def loop(address: Any) -> None:
        # maps, M, maps of a piece, C, steps of P, T, R and mask; grad, y, centre, P, T, Q, R,
        # output, mask's scale, mask's bias, dy, dx
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]
        maps, M, rows, C = given[0], given[1], given[2], given[3]
        pieces = carray(address, MAX_ARGUMENTS)[PIECES]
        centre, Q = part(given[10], 0, C, dtype), part(given[13], 0, C, dtype)
        while True:
            piece = pieces - 1 - next_piece(address)
            if piece < 0:
                break
            for r in range(piece * rows, min(maps, (piece + 1) * rows)):
                grad, y = part(given[8], r * M, M, dtype), part(given[9], r * M, M, dtype)
                output = part(given[15], r * M, M, dtype)
                dy, dx = part(given[18], r * M, M, dtype), part(given[19], r * M, M, dtype)
                n, c = r // C, r % C
                factor = part(given[11], n * given[4] + c, 1, dtype)[0]
                rest = part(given[14], n * given[6] + c, 1, dtype)[0]
                k, t, q, a, b = centre[c], zero, zero, zero, zero
                if inside:
                    t = part(given[12], n * given[5] + c, 1, dtype)[0]
                if of_batch:
                    q = Q[c]
                if by_affine:
                    a = part(given[16], n * given[7] + c, 1, dtype)[0]
                    b = part(given[17], n * given[7] + c, 1, dtype)[0]
                for p in range(M):
                    d = y[p] - k if reads_y else zero
                    g = grad[p]
                    e = g * factor + t
                    if by_output:
                        stopped = output[p] <= zero
                        e, g = zero if stopped else e, zero if stopped else g
                    if by_affine:
                        stopped = a * d + b <= zero
                        e, g = zero if stopped else e, zero if stopped else g
                    if of_batch:
                        e += d * q
                    dy[p] = e + rest
                    if shortcut:
                        dx[p] = g

    return loop
