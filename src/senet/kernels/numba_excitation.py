"""SE's two fully connected layers on few images, compiled by Numba, for inference.

There a matrix product takes less time than the operator that asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray
from numba.extending import register_jitable

from senet.kernels.numba_task import (
    DTYPES,
    GIVEN,
    MAX_ARGUMENTS,
    PIECES,
    Call,
    Loop,
    compiled,
    next_piece,
    part,
)

MOST_PRODUCTS = 1 << 21
"""Multiply-adds of one layer up to which these loops keep up with PyTorch's matrix product."""

_RELU, _SILU, _GELU, _HARD_SWISH = range(4)
_ACTIVATIONS = {"relu": _RELU, "silu": _SILU, "gelu": _GELU, "hard_swish": _HARD_SWISH}
_SIGMOID, _TANH, _RELU_GATE, _HARD_SIGMOID, _DOUBLE_SIGMOID = range(5)
_GATES = {
    "sigmoid": _SIGMOID,
    "tanh": _TANH,
    "relu": _RELU_GATE,
    "hard_sigmoid": _HARD_SIGMOID,
    "double_sigmoid": _DOUBLE_SIGMOID,
}
_HIDDEN, _CHANNELS = 4, 16
"""Hidden units of the first layer, and channels of the second, in a piece of work."""


def excitation_calls(
    dtype: torch.dtype,
    sizes: tuple[int, int],
    kind: tuple[int, str, str],
    layers: Sequence[int],
    norm: tuple[int, int],
    z: int,
    hidden: int,
    scaled: int,
) -> list[Call]:
    """Return the calls that turn the squeeze into the affine map of each channel of each image.

    Args:
        dtype: of all tensors, which are given by their addresses.
        sizes: N and C.
        kind: K, the number of hidden units, the activation and the gate.
        layers: w1, b1, w2 and b2; a missing bias has the address 0.
        norm: BatchNorm's scale and bias, (C,) each.
        z: the squeeze, (N, C).
        hidden: for the hidden units, (N, K).
        scaled: for the scales and the biases, (2, N, C).
    """
    (N, C), (K, activation, gate), (w1, b1, w2, b2) = sizes, kind, layers
    first = [N, C, K, _ACTIVATIONS[activation], z, w1, b1, hidden]
    second = [N, C, K, _GATES[gate], hidden, w2, b2, *norm, scaled]
    return [
        Call(_loop("hidden", dtype), -(-K // _HIDDEN), first),
        Call(_loop("weights", dtype), -(-C // _CHANNELS), second),
    ]


@register_jitable  # type: ignore[untyped-decorator]
def _hard_sigmoid(x: Any) -> Any:
    x = x + 3
    return (0 if x < 0 else 6 if x > 6 else x) / 6


@register_jitable  # type: ignore[untyped-decorator]
def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


@register_jitable  # type: ignore[untyped-decorator]
def _activated(x: Any, number: int) -> Any:
    if number == _RELU:
        return 0 if x <= 0 else x
    if number == _SILU:
        return x * _sigmoid(x)
    if number == _GELU:
        return x * (1 + math.erf(x * math.sqrt(0.5))) / 2
    return x * _hard_sigmoid(x)


@register_jitable  # type: ignore[untyped-decorator]
def _gated(x: Any, number: int) -> Any:
    if number == _SIGMOID:
        return _sigmoid(x)
    if number == _TANH:
        return np.tanh(x)
    if number == _RELU_GATE:
        return 0 if x <= 0 else x
    if number == _HARD_SIGMOID:
        return _hard_sigmoid(x)
    return 2 * _sigmoid(x)


@cache
def _loop(name: str, dtype: torch.dtype) -> int:
    return compiled(_LOOPS[name](DTYPES[dtype]))


def _hidden_loop(dtype: Any) -> Loop:
    """Return the loop of the first layer and its activation."""

    def loop(address: Any) -> None:
        # N, C, K, activation, z, w1, b1, hidden
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]
        N, C, K = given[0], given[1], given[2]
        while True:
            piece = next_piece(address)
            if piece >= carray(address, MAX_ARGUMENTS)[PIECES]:
                break
            for k in range(piece * _HIDDEN, min(K, piece * _HIDDEN + _HIDDEN)):
                w, bias = part(given[5], k * C, C, dtype), dtype(0)
                if given[6] != 0:
                    bias = part(given[6], k, 1, dtype)[0]
                for n in range(N):
                    z, product = part(given[4], n * C, C, dtype), dtype(0)
                    for c in range(C):
                        product += w[c] * z[c]
                    part(given[7], n * K + k, 1, dtype)[0] = _activated(product + bias, given[3])

    return loop


def _weights_loop(dtype: Any) -> Loop:
    """Return the loop of the second layer, its gate, and the product with BatchNorm's affine map."""

    def loop(address: Any) -> None:
        # N, C, K, gate, hidden, w2, b2, norm's scale, norm's bias, scaled
        given = carray(address, MAX_ARGUMENTS)[GIVEN:]
        N, C, K = given[0], given[1], given[2]
        while True:
            piece = next_piece(address)
            if piece >= carray(address, MAX_ARGUMENTS)[PIECES]:
                break
            start = piece * _CHANNELS
            width = min(_CHANNELS, C - start)
            a, b = part(given[7], start, width, dtype), part(given[8], start, width, dtype)
            for n in range(N):
                hidden = part(given[4], n * K, K, dtype)
                scale = part(given[9], n * C + start, width, dtype)
                bias = part(given[9], (N + n) * C + start, width, dtype)
                for c in range(width):
                    w, product = part(given[5], (start + c) * K, K, dtype), dtype(0)
                    for k in range(K):
                        product += w[k] * hidden[k]
                    if given[6] != 0:
                        product += part(given[6], start + c, 1, dtype)[0]
                    s = _gated(product, given[3])
                    scale[c] = s * a[c]
                    bias[c] = s * b[c]

    return loop


_LOOPS = {"hidden": _hidden_loop, "weights": _weights_loop}
