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
from torch.nn import functional

from senet.kernels.excitation import Excitation, ExcitationGradients, as_table
from senet.kernels.steps import Steps
from senet.kernels.tables import (
    Affine,
    Norm,
    Squeezed,
    no_statistics,
    running_statistics,
    squeeze_after_relu,
    table_dtype,
)


class BatchNorm(NamedTuple):
    """What a BatchNorm layer computes with, (C,) each.

    ``of_batch`` says that the statistics are the batch's, as in training; else ``mean`` and ``var`` are used.
    ``group`` names the process group over which a SyncBatchNorm takes them.
    """

    weight: Tensor | None
    bias: Tensor | None
    mean: Tensor | None
    var: Tensor | None
    of_batch: bool
    eps: float
    group: str = ""

    def like(self, table: Tensor) -> list[Tensor | None]:
        """Return mean, variance, weight and bias in the type of ``table``, each contiguous."""
        return [as_table(each, table) for each in (self.mean, self.var, self.weight, self.bias)]


NO_BATCH_NORM = BatchNorm(None, None, None, None, False, 0.0)


class Forward(NamedTuple):
    """The output, in the shape of the input, and what the backward needs beside both.

    ``norm`` is (6, C) as `tables.Norm`; ``squeezed`` is missing without SE.
    """

    out: Tensor
    norm: Tensor
    squeezed: Squeezed | None


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
    pixels, squeezed = math.prod(y.shape[2:]), None
    squeezes_norm = steps.se and not steps.relu_first
    if batch_norm.of_batch:
        table, squeezed = passes.algebra.statistics(
            passes.moments_pass(y, second=True),
            batch_norm.weight,
            batch_norm.bias,
            pixels=pixels,
            eps=batch_norm.eps,
            group=batch_norm.group,
            squeeze=squeezes_norm,
        )
    else:
        table = _known_statistics(y, batch_norm, steps)
    norm = Norm.of(table)
    if squeezes_norm and squeezed is None:
        squeezed = passes.algebra.squeeze_of(passes.moments_pass(y, second=False), table, pixels=pixels)
    elif steps.se and squeezed is None:
        squeezed = squeeze_after_relu(passes.relu_sums_pass(y, norm.centre, norm.affine), norm, pixels)
    scaled = norm.affine
    if squeezed is not None:
        assert excitation is not None
        s = excitation.weights(squeezed.z)
        scaled = Affine(s * norm.scale, s * norm.bias)
    out = passes.apply_pass(y, norm.centre, scaled, shortcut, relu=steps.relu or steps.relu_first)
    return Forward(out, table, squeezed)


def layers(
    y: Tensor, table: Tensor, batch_norm: BatchNorm, excitation: Excitation | None, steps: Steps
) -> Tensor:
    """Return what stands in front of the sum, layer by layer, as PyTorch can differentiate it again.

    Args:
        y: (N, C, *spatial).
        table: the statistics that BatchNorm used, (6, C) as `tables.Norm`; those of the batch are taken anew.
        batch_norm: of one process.
        excitation: SE's layers; unused without ``steps.se``.
        steps: of the tail. A last ReLU is run only where no sum stands in front of it.

    Returns:
        The shape of ``y``, in the type of ``table``.
    """
    t = y.to(table.dtype)
    if steps.bn:
        weight, bias = (None if each is None else each.to(t.dtype) for each in batch_norm[:2])
        mean, var = (None, None) if batch_norm.of_batch else (table[0], table[3])
        t = functional.batch_norm(t, mean, var, weight, bias, batch_norm.of_batch, 0.0, batch_norm.eps)
    if steps.relu_first:
        t = torch.relu(t)
    if excitation is not None:
        s = excitation.weights(t.flatten(2).mean(2) if t.dim() > 2 else t)
        t = t * s.reshape(*s.shape, *(1,) * (t.dim() - 2))
    return torch.relu(t) if steps.relu and not steps.add else t


def infer(
    passes: ModuleType,
    y: Tensor,
    shortcut: Tensor | None,
    batch_norm: BatchNorm,
    excitation: Excitation | None,
    steps: Steps,
) -> tuple[Tensor, Tensor | None]:
    """Run a tail whose gradients nobody needs and whose operators nobody watches.

    Args:
        passes: as in `forward`, like all other arguments.
        y: (N, C, *spatial).
        shortcut: in the shape of ``y``.
        batch_norm: parameters and statistics, (C,) each.
        excitation: SE's layers.
        steps: of the tail.

    Returns:
        The output, in the shape of ``y``, and the statistics, (6, C) as `tables.Norm`, where they are the
        batch's.
    """
    if passes.infer is not None and not batch_norm.of_batch:
        out = passes.infer(y, shortcut, batch_norm, excitation, steps)
        if out is not None:
            return out, None
    result = forward(passes, y, shortcut, batch_norm, excitation, steps)
    return result.out, result.norm


def _known_statistics(y: Tensor, batch_norm: BatchNorm, steps: Steps) -> Tensor:
    dtype = table_dtype(y.dtype)
    if not steps.bn:
        return no_statistics(y.shape[1], dtype, y.device)
    weight, bias, mean, var = batch_norm[:4]
    assert mean is not None and var is not None
    return running_statistics(mean, var, weight, bias, batch_norm.eps, dtype)


def backward(
    passes: ModuleType,
    grad: Tensor,
    y: Tensor,
    saved: tuple[Tensor | None, Tensor, Squeezed | None],
    batch_norm: BatchNorm,
    excitation: Excitation | None,
    steps: Steps,
) -> Backward:
    """Return the gradients of a tail from ``grad``, that of its output.

    Args:
        passes: a module with the functions of `torch_passes`.
        grad: in the shape of ``y``.
        y: the forward's input.
        saved: the forward's output (if ``steps.masked_by_output``), ``norm`` and ``squeezed``.
        batch_norm: as in the forward.
        excitation: as in the forward.
        steps: of the tail.
    """
    out, table, squeezed = saved
    norm, pixels = Norm.of(table), math.prod(y.shape[2:])
    mask: Tensor | Affine | None = None
    if steps.masked_by_output:
        mask = out
    elif steps.relu_first or (steps.relu and squeezed is None):
        mask = norm.affine
    elif steps.relu:
        assert excitation is not None and squeezed is not None
        s = excitation.weights(squeezed.z)
        mask = Affine(s * norm.scale, s * norm.bias)
    g_sum, gd_sum = passes.gradient_sums_pass(grad, y, norm.centre, mask)
    sums, excited = None, None
    if squeezed is not None:
        assert excitation is not None
        sums = squeezed.sums
        d_s = torch.addcmul(norm.scale * gd_sum, norm.bias, g_sum)
        excited = excitation.gradients(squeezed.z, d_s)
    tables = passes.algebra.gradients(
        g_sum,
        gd_sum,
        table,
        sums,
        None if excited is None else excited.s,
        None if excited is None else excited.z,
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
    return Backward(dy, d_shortcut, tables.weight, tables.bias, excited)
