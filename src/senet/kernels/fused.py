"""A whole tail, forward and backward, from the passes of any backend and the algebra on tables.

With `torch_passes` the forward is the plain formulation, which autograd differentiates and torch.compile
fuses. With a backend of compiled passes, `senet.kernels.operators` pairs it with the backward.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from senet.kernels.excitation import Excitation, ExcitationGradients
from senet.kernels.steps import Steps
from senet.kernels.tables import (
    Affine,
    Norm,
    affine_of,
    gradients,
    means_of,
    no_norm,
    norm_of_batch,
    norm_of_running,
    squeezed,
    sums_of,
    table_dtype,
)


class BatchNorm(NamedTuple):
    """What a BatchNorm layer computes with, (C,) each.

    ``of_batch`` says that the statistics are the batch's, as in training; else ``mean`` and ``var`` are used.
    ``group`` names the process group over which a SyncBatchNorm takes them. ``prepared`` holds what follows
    from the running statistics, where it is known already; no gradient goes through it.
    """

    weight: Tensor | None
    bias: Tensor | None
    mean: Tensor | None
    var: Tensor | None
    of_batch: bool
    eps: float
    group: str = ""
    prepared: tuple[Norm, Affine] | None = None


NO_BATCH_NORM = BatchNorm(None, None, None, None, False, 0.0)


def prepare(batch_norm: BatchNorm, dtype: torch.dtype) -> tuple[Norm, Affine]:
    """Return the running statistics and the affine map of a BatchNorm in evaluation mode, as tables."""
    assert batch_norm.mean is not None and batch_norm.var is not None
    norm = norm_of_running(batch_norm.mean, batch_norm.var, batch_norm.eps, dtype)
    return norm, affine_of(norm, batch_norm.weight, batch_norm.bias)


class Forward(NamedTuple):
    """The output, in the shape of the input, and what the backward needs beside both.

    ``sums`` is what `tables.squeezed` takes, and missing without SE.
    """

    out: Tensor
    norm: Norm
    sums: Tensor | None


class Backward(NamedTuple):
    """The gradients of input, shortcut (if a ReLU cut it), BatchNorm's weight and bias, and SE's layers."""

    y: Tensor
    shortcut: Tensor | None
    weight: Tensor
    bias: Tensor
    excitation: ExcitationGradients | None


def forward(
    passes: ModuleType,
    y: Tensor,
    shortcut: Tensor | None,
    batch_norm: BatchNorm,
    excitation: Excitation | None,
    steps: Steps,
) -> Forward:
    """Run a tail on ``y``, (N, C, *spatial), with the passes of a backend.

    Args:
        passes: a module with the functions of `torch_passes`.
        y: the output of a convolution.
        shortcut: added where ``steps.add`` says so, in the shape of ``y``.
        batch_norm: parameters and statistics; unused without ``steps.bn``.
        excitation: SE's layers; unused without ``steps.se``.
        steps: of the tail.
    """
    pixels, dtype = math.prod(y.shape[2:]), table_dtype(y.dtype)
    means, sums = None, None
    if not steps.bn:
        norm = no_norm(y, dtype)
        affine = affine_of(norm, None, None)
    elif batch_norm.of_batch:
        moments = passes.moments_pass(y, second=True)
        norm, means = norm_of_batch(moments, pixels, batch_norm.eps, batch_norm.group)
        affine = affine_of(norm, batch_norm.weight, batch_norm.bias)
    else:
        norm, affine = batch_norm.prepared or prepare(batch_norm, dtype)
    scaled = affine
    if steps.se:
        assert excitation is not None
        if steps.relu_first:
            sums = passes.relu_sums_pass(y, norm.centre, affine)
        else:
            if means is None:
                moments = passes.moments_pass(y, second=False)
                means = means_of(moments, pixels)
            sums = sums_of(means, norm, pixels)[None]
        s = excitation.weights(squeezed(sums, affine, pixels, steps))
        scaled = Affine(s * affine.scale, s * affine.bias)
    out = passes.apply_pass(y, norm.centre, scaled, shortcut, relu=steps.relu or steps.relu_first)
    return Forward(out, norm, sums)


def backward(
    passes: ModuleType,
    grad: Tensor,
    y: Tensor,
    saved: tuple[Tensor | None, Norm, Tensor | None],
    batch_norm: BatchNorm,
    excitation: Excitation | None,
    steps: Steps,
) -> Backward:
    """Return the gradients of a tail from ``grad``, that of its output.

    Args:
        passes: a module with the functions of `torch_passes`.
        grad: in the shape of ``y``.
        y: the forward's input.
        saved: the forward's output (if ``steps.masked_by_output``), ``norm`` and ``sums``.
        batch_norm: as in the forward.
        excitation: as in the forward.
        steps: of the tail.
    """
    out, norm, sums = saved
    pixels = math.prod(y.shape[2:])
    affine = affine_of(norm, batch_norm.weight, batch_norm.bias)
    mask: Tensor | Affine | None = None
    if steps.masked_by_output:
        mask = out
    elif steps.relu_first or (steps.relu and excitation is None):
        mask = affine
    elif steps.relu:
        assert excitation is not None and sums is not None
        s = excitation.weights(squeezed(sums, affine, pixels, steps))
        mask = Affine(s * affine.scale, s * affine.bias)
    g_sum, gd_sum = passes.gradient_sums_pass(grad, y, norm.centre, mask)
    tables = gradients(
        g_sum,
        gd_sum,
        sums,
        norm,
        affine,
        excitation,
        steps,
        pixels=pixels,
        of_batch=batch_norm.of_batch,
        group=batch_norm.group,
    )
    dy, d_shortcut = passes.gradient_apply_pass(
        grad,
        y,
        norm.centre,
        mask,
        tables.P,
        tables.T,
        tables.Q,
        tables.R,
        with_shortcut=steps.masked_by_output,
    )
    return Backward(dy, d_shortcut, tables.weight, tables.bias, tables.excitation)
