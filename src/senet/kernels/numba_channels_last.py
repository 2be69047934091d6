"""The passes over maps in channels_last as loops that Numba compiles.

Pixel p of image n is a row of C values at ``(n M + p) C``. Inner loops run over channels; the rows of the
tables lie beside them. A piece of work is a block of channels of one image where something is summed, and
a block of pixels of one image where nothing is. The comments at ``given`` name the arguments in order;
`senet.kernels.torch_passes` says what each pass computes.

The passes that write go through the images backwards: the last ones read are still in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from senet.kernels.numba_task import GIVEN, MAX_ARGUMENTS, PIECES, Loop, next_piece, part
from senet.kernels.torch_passes import SHIFT_PIXELS

CHUNK = 64
"""Pixels summed in the maps' own type before they join a float64 total."""


def moments(dtype: Any) -> Loop:
    """Return the loop of `torch_passes.moments_pass`."""
    head = SHIFT_PIXELS  # within the closure, Numba's cache on disk knows it

    def loop(address: Any) -> None:
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]  # C, M, block, y, shift, first, second
        C, M, block = given[0], given[1], given[2]
        blocks = (C + block - 1) // block
        a1, a2 = np.empty(block, dtype), np.empty(block, dtype)
        s1, s2 = np.empty(block, np.float64), np.empty(block, np.float64)
        while True:
            piece = next_piece(address)
            if piece >= carray(address, MAX_ARGUMENTS)[PIECES]:
                break
            n, start = piece // blocks, (piece % blocks) * block
            width = min(block, C - start)
            y = part(given[3], n * M * C + start, (M - 1) * C + width, dtype)
            k = part(given[4], n * C + start, width, dtype)
            first = part(given[5], n * C + start, width, dtype)
            squares = part(given[6], n * C + start, width, dtype)
            k[:] = 0
            s1[:] = 0
            s2[:] = 0
            for p in range(min(M, head)):
                y0 = y[p * C : p * C + width]
                for c in range(width):
                    k[c] += y0[c]
            for c in range(width):
                mean = k[c] / dtype(min(M, head))
                k[c] = mean if np.isfinite(mean) else dtype(0)
            for begin in range(0, M, CHUNK):
                a1[:] = 0
                a2[:] = 0
                for p in range(begin, min(M, begin + CHUNK)):
                    y0 = y[p * C : p * C + width]
                    for c in range(width):
                        d = y0[c] - k[c]
                        a1[c] += d
                        a2[c] += d * d
                for c in range(width):
                    s1[c] += a1[c]
                    s2[c] += a2[c]
            for c in range(width):
                first[c] = s1[c]
                squares[c] = s2[c]

    return loop


def relu_sums(dtype: Any) -> Loop:
    """Return the loop of `torch_passes.relu_sums_pass`."""
    zero, one = dtype(0), dtype(1)

    def loop(address: Any) -> None:
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]  # C, M, block, y, centre, scale, bias, passed, sums
        C, M, block = given[0], given[1], given[2]
        blocks = (C + block - 1) // block
        a0, a1 = np.empty(block, dtype), np.empty(block, dtype)
        s0, s1 = np.empty(block, np.float64), np.empty(block, np.float64)
        while True:
            piece = next_piece(address)
            if piece >= carray(address, MAX_ARGUMENTS)[PIECES]:
                break
            n, start = piece // blocks, (piece % blocks) * block
            width = min(block, C - start)
            y = part(given[3], n * M * C + start, (M - 1) * C + width, dtype)
            k = part(given[4], start, width, dtype)
            scale, bias = part(given[5], start, width, dtype), part(given[6], start, width, dtype)
            passed = part(given[7], n * C + start, width, dtype)
            sums = part(given[8], n * C + start, width, dtype)
            s0[:] = 0
            s1[:] = 0
            for begin in range(0, M, CHUNK):
                a0[:] = 0
                a1[:] = 0
                for p in range(begin, min(M, begin + CHUNK)):
                    y0 = y[p * C : p * C + width]
                    for c in range(width):
                        d = y0[c] - k[c]
                        stopped = scale[c] * d + bias[c] <= zero
                        a0[c] += zero if stopped else one
                        a1[c] += zero if stopped else d
                for c in range(width):
                    s0[c] += a0[c]
                    s1[c] += a1[c]
            for c in range(width):
                passed[c] = s0[c]
                sums[c] = s1[c]

    return loop


def apply(dtype: Any, *, add: bool, relu: bool) -> Loop:
    """Return the loop of `torch_passes.apply_pass`."""
    zero = dtype(0)

    def loop(address: Any) -> None:
        given = carray(address, MAX_ARGUMENTS)[
            GIVEN:
        ]  # C, M, rows, step, y, centre, scale, bias, out, shortcut
        C, M, rows, step = given[0], given[1], given[2], given[3]
        pieces = carray(address, MAX_ARGUMENTS)[PIECES]
        blocks = (M + rows - 1) // rows
        k = part(given[5], 0, C, dtype)
        while True:
            piece = pieces - 1 - next_piece(address)
            if piece < 0:
                break
            n, start = piece // blocks, (piece % blocks) * rows
            scale, bias = part(given[6], n * step, C, dtype), part(given[7], n * step, C, dtype)
            for p in range(n * M + start, n * M + min(M, start + rows)):
                y, out = part(given[4], p * C, C, dtype), part(given[8], p * C, C, dtype)
                x = part(given[9], p * C, C, dtype)
                for c in range(C):
                    value = scale[c] * (y[c] - k[c]) + bias[c]
                    if add:
                        value += x[c]
                    if relu:
                        value = zero if value <= zero else value
                    out[c] = value

    return loop


def gradient_sums(dtype: Any, *, mask: str) -> Loop:
    """Return the loop of `torch_passes.gradient_sums_pass`; the mask is output or affine."""
    zero = dtype(0)
    by_output, by_affine = mask == "output", mask == "affine"

    def loop(address: Any) -> None:
        # C, M, block, step, grad, y, centre, g_sum, gd_sum, output, mask's scale, mask's bias
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]
        C, M, block, step = given[0], given[1], given[2], given[3]
        blocks = (C + block - 1) // block
        a1, a2 = np.empty(block, dtype), np.empty(block, dtype)
        s1, s2 = np.empty(block, np.float64), np.empty(block, np.float64)
        while True:
            piece = next_piece(address)
            if piece >= carray(address, MAX_ARGUMENTS)[PIECES]:
                break
            n, start = piece // blocks, (piece % blocks) * block
            width = min(block, C - start)
            first, size = n * M * C + start, (M - 1) * C + width
            grad, y = part(given[4], first, size, dtype), part(given[5], first, size, dtype)
            output = part(given[9], first, size, dtype)
            k = part(given[6], start, width, dtype)
            scale = part(given[10], n * step + start, width, dtype)
            bias = part(given[11], n * step + start, width, dtype)
            g_sum = part(given[7], n * C + start, width, dtype)
            gd_sum = part(given[8], n * C + start, width, dtype)
            s1[:] = 0
            s2[:] = 0
            for begin in range(0, M, CHUNK):
                a1[:] = 0
                a2[:] = 0
                for p in range(begin, min(M, begin + CHUNK)):
                    y0, g0 = y[p * C : p * C + width], grad[p * C : p * C + width]
                    o0 = output[p * C : p * C + width]
                    for c in range(width):
                        d, g = y0[c] - k[c], g0[c]
                        if by_output:
                            g = zero if o0[c] <= zero else g
                        if by_affine:
                            g = zero if scale[c] * d + bias[c] <= zero else g
                        a1[c] += g
                        a2[c] += g * d
                for c in range(width):
                    s1[c] += a1[c]
                    s2[c] += a2[c]
            for c in range(width):
                g_sum[c] = s1[c]
                gd_sum[c] = s2[c]

    return loop


def gradient_apply(dtype: Any, *, mask: str, inside: bool, of_batch: bool, shortcut: bool) -> Loop:
    """Return the loop of `torch_passes.gradient_apply_pass`: with T if ``inside``, Q if ``of_batch``."""
    zero = dtype(0)
    by_output, by_affine = mask == "output", mask == "affine"
    reads_y = of_batch or by_affine

    def loop(address: Any) -> None:
        # C, M, rows, steps of P, T, R and mask; grad, y, centre, P, T, Q, R,
        # output, mask's scale, mask's bias, dy, dx
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]
        C, M, rows = given[0], given[1], given[2]
        pieces = carray(address, MAX_ARGUMENTS)[PIECES]
        blocks = (M + rows - 1) // rows
        k, Q = part(given[9], 0, C, dtype), part(given[12], 0, C, dtype)
        while True:
            piece = pieces - 1 - next_piece(address)
            if piece < 0:
                break
            n, start = piece // blocks, (piece % blocks) * rows
            P, T = part(given[10], n * given[3], C, dtype), part(given[11], n * given[4], C, dtype)
            R = part(given[13], n * given[5], C, dtype)
            scale, bias = part(given[15], n * given[6], C, dtype), part(given[16], n * given[6], C, dtype)
            for p in range(n * M + start, n * M + min(M, start + rows)):
                grad, y = part(given[7], p * C, C, dtype), part(given[8], p * C, C, dtype)
                output = part(given[14], p * C, C, dtype)
                dy, dx = part(given[17], p * C, C, dtype), part(given[18], p * C, C, dtype)
                for c in range(C):
                    d = y[c] - k[c] if reads_y else zero
                    g = grad[c]
                    e = g * P[c]
                    if inside:
                        e += T[c]
                    if by_output:
                        stopped = output[c] <= zero
                        e, g = zero if stopped else e, zero if stopped else g
                    if by_affine:
                        stopped = scale[c] * d + bias[c] <= zero
                        e, g = zero if stopped else e, zero if stopped else g
                    if of_batch:
                        e += d * Q[c]
                    dy[c] = e + R[c]
                    if shortcut:
                        dx[c] = g

    return loop
