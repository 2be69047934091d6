"""The fused tail as PyTorch operators: ``torch.ops.senet.tail`` and its gradient.

Everything that watches or transforms operators (torch.compile, FakeTensor, profilers, counters) sees one
operator where a tail runs. Its gradient is a second operator, whose own gradient is refused; in eager mode, a
gradient that is to be differentiated again is that of the layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from senet.errors import SenetError
from senet.kernels import fused
from senet.kernels.backends import passes_or_plain
from senet.kernels.excitation import Excitation
from senet.kernels.fused import BatchNorm
from senet.kernels.steps import Steps
from senet.kernels.tables import Squeezed, table_dtype

_PARAMETERS = (
    "Tensor? weight, Tensor? bias, Tensor? mean, Tensor? var, "
    "Tensor? w1, Tensor? b1, Tensor? w2, Tensor? b2, "
    "str steps, bool of_batch, float eps, str activation, str gate, str group, str backend"
)
_library = torch.library.Library("senet", "DEF")
_library.define(
    f"tail(Tensor y, Tensor? shortcut, {_PARAMETERS}) -> (Tensor out, Tensor norm, Tensor sums, Tensor z)"
)
_library.define(
    "tail_backward(Tensor grad, Tensor y, Tensor? out, Tensor norm, Tensor sums, Tensor z, "
    f"{_PARAMETERS}) -> "
    "(Tensor y, Tensor shortcut, Tensor weight, Tensor bias, Tensor w1, Tensor b1, Tensor w2, Tensor b2)"
)
_COUNT = 17
"""Arguments of ``tail``: y, shortcut and the parameters."""


class _Settings:
    """The parameters that both operators share, as what `fused` takes."""

    def __init__(self, *given: Any) -> None:
        weight, bias, mean, var, w1, b1, w2, b2, steps, of_batch, eps, activation, gate, group, backend = (
            given
        )
        self.steps = Steps.parse(steps)
        self.batch_norm = BatchNorm(weight, bias, mean, var, of_batch, eps, group)
        self.excitation = Excitation(w1, b1, w2, b2, activation, gate) if self.steps.se else None
        self.passes = passes_or_plain(backend)


def _tail(y: Tensor, shortcut: Tensor | None, *given: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    settings = _Settings(*given)
    with float_tables(y):
        out, norm, squeezed = fused.forward(
            settings.passes, y, shortcut, settings.batch_norm, settings.excitation, settings.steps
        )
        sums, z = squeezed or (out.new_empty(0), out.new_empty(0))
        return out, norm, sums, z


def _tail_backward(
    grad: Tensor, y: Tensor, out: Tensor | None, norm: Tensor, sums: Tensor, z: Tensor, *given: Any
) -> tuple[Tensor, ...]:
    settings = _Settings(*given)
    saved = (out, norm, Squeezed(sums, z) if settings.steps.se else None)
    with float_tables(y):
        result = fused.backward(
            settings.passes, grad, y, saved, settings.batch_norm, settings.excitation, settings.steps
        )
    tensors = [result.y, result.shortcut]
    gradients: list[Tensor | None] = [result.weight, result.bias]
    if result.excitation is None:
        gradients += [None] * 4
    else:
        gradients += [result.excitation.w1, result.excitation.b1, result.excitation.w2, result.excitation.b2]
    for gradient, parameter in zip(gradients, [*given[:2], *given[4:8]], strict=True):
        missing = parameter is None or gradient is None
        tensors.append(None if missing else gradient.to(parameter.dtype))  # type: ignore[union-attr]
    return tuple(y.new_empty(0) if each is None else each for each in tensors)


class _DisabledAutocast(AbstractContextManager[None]):
    def __init__(self, device: str) -> None:
        self.device = device

    def __enter__(self) -> None:
        self.was_on = torch.is_autocast_enabled(self.device)
        if self.was_on:
            torch.set_autocast_enabled(self.device, False)

    def __exit__(self, *_: object) -> None:
        if self.was_on:
            torch.set_autocast_enabled(self.device, True)


def float_tables(y: Tensor) -> AbstractContextManager[None]:
    """Keep autocast from taking the tables of a tail on ``y`` down to half precision."""
    return _DisabledAutocast(y.device.type)


class _Tail(torch.autograd.Function):
    """A tail with its gradient. ``watched`` says that somebody is to see both as operators."""

    @staticmethod
    def forward(ctx: Any, watched: bool, *arguments: Any) -> tuple[Tensor, ...]:
        if watched:
            with torch._C._AutoDispatchBelowAutograd():
                out, norm, sums, z = torch.ops.senet.tail.default(*arguments)
        else:
            out, norm, sums, z = _tail(*arguments)
        steps = Steps.parse(arguments[10])
        weight, bias, _, _, *layers = arguments[2:10]
        # The running statistics are not kept: the backward has them in ``norm``.
        parameters = (weight, bias, None, None, *layers)
        mask = out if steps.masked_by_output else None
        ctx.save_for_backward(arguments[0], mask, norm, sums, z, *parameters)
        ctx.settings, ctx.watched = arguments[10:], watched
        ctx.mark_non_differentiable(norm, sums, z)
        ctx.set_materialize_grads(False)
        return out, norm, sums, z

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        grad = grads[0]
        if grad is None:
            return (None,) * (1 + _COUNT)
        y, *saved = ctx.saved_tensors
        parameters = saved[4:]
        steps, group = Steps.parse(ctx.settings[0]), ctx.settings[5]
        functorch = torch._C._functorch
        batched = functorch.is_batchedtensor(grad) or functorch.is_legacy_batchedtensor(grad)
        results: Sequence[Tensor | None]
        if batched or (torch.is_grad_enabled() and not ctx.watched and not group):
            results = _plain_gradients(ctx, grad)
        else:
            # Only the operator refuses to be differentiated once more.
            watched = ctx.watched or torch.is_grad_enabled()
            backward = torch.ops.senet.tail_backward.default if watched else _tail_backward
            results = backward(grad, y, *saved, *ctx.settings)
        dy, shortcut, weight, bias, *layers = results
        # Without a ReLU behind it, the sum hands its gradient on as it is.
        d_shortcut = (shortcut if steps.masked_by_output else grad) if steps.add else None
        gradients = [weight, bias, None, None, *layers]
        for index, parameter in enumerate(parameters):
            if parameter is None:
                gradients[index] = None
        return (None, dy, d_shortcut, *gradients, *(None,) * len(ctx.settings))


def _plain_gradients(ctx: Any, grad: Tensor) -> list[Tensor | None]:
    """Return what ``tail_backward`` does, by operators that can be differentiated again and batched by vmap.

    Args:
        ctx: of `_Tail`.
        grad: of the output, in the shape of ``y``.

    Raises:
        SenetError: BatchNorm's statistics are those of several processes.
    """
    y, out, norm, _, _, *parameters = ctx.saved_tensors
    settings = _Settings(*parameters, *ctx.settings)
    if settings.batch_norm.group:
        raise SenetError(
            "The gradients of a fused SyncBatchNorm cannot be batched: set the environment variable "
            "SENET_KERNELS=reference, which can."
        )
    inputs = [y, *parameters[:2], *parameters[4:]]
    wanted = [each for each in inputs if each is not None and each.requires_grad]
    again = torch.is_grad_enabled()
    g = grad if out is None else torch.where(out <= 0, 0, grad)
    with torch.enable_grad(), float_tables(y):
        branch = fused.layers(y, norm, settings.batch_norm, settings.excitation, settings.steps)
        found = iter(torch.autograd.grad(branch, wanted, g.to(branch.dtype), create_graph=again))
    dy, *others = (next(found) if each is not None and each.requires_grad else None for each in inputs)
    return [dy, g, *others]


class _TailBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            results: tuple[Tensor, ...] = torch.ops.senet.tail_backward.default(*arguments)
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> None:
        raise SenetError(
            "senet's fused kernels cannot be differentiated twice: set the environment variable "
            "SENET_KERNELS=reference, which can."
        )


def _tail_with_gradient(*arguments: Any) -> Any:
    if torch.is_grad_enabled():
        return _Tail.apply(True, *arguments)
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.senet.tail.default(*arguments)


def _tail_backward_once(*arguments: Any) -> Any:
    if torch.is_grad_enabled():
        return _TailBackward.apply(*arguments)
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.senet.tail_backward.default(*arguments)


for _device in ("CPU", "CUDA"):
    _library.impl("tail", _tail, _device)
    _library.impl("tail_backward", _tail_backward, _device)
_library.impl("tail", _tail_with_gradient, "Autograd")
_library.impl("tail_backward", _tail_backward_once, "Autograd")


@torch.library.register_fake("senet::tail", lib=_library)
def _(y: Tensor, shortcut: Tensor | None, *given: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    steps, tables = Steps.parse(given[8]), table_dtype(y.dtype)
    count = 2 if steps.relu_first else 1
    sums, z = y.new_empty(0), y.new_empty(0)
    if steps.se:
        sums, z = (y.new_empty((*rows, *y.shape[:2]), dtype=tables) for rows in ((count,), ()))
    return torch.empty_like(y), y.new_empty((6, y.shape[1]), dtype=tables), sums, z


@torch.library.register_fake("senet::tail_backward", lib=_library)
def _(
    grad: Tensor, y: Tensor, out: Tensor | None, norm: Tensor, sums: Tensor, z: Tensor, *given: Any
) -> tuple[Tensor, ...]:
    shortcut = torch.empty_like(y) if Steps.parse(given[8]).masked_by_output else y.new_empty(0)
    parameters = [*given[:2], *given[4:8]]
    gradients = [y.new_empty(0) if each is None else each.new_empty(each.shape) for each in parameters]
    return torch.empty_like(y), shortcut, *gradients


@register_flop_formula(torch.ops.senet.tail)
def _flops(y: Any, _shortcut: Any, *given: Any, **_: Any) -> int:
    """Count SE's two layers, as `torch.utils.flop_counter` counts them where they run by themselves."""
    return 2 * _products(y[0], *given)


@register_flop_formula(torch.ops.senet.tail_backward)
def _backward_flops(_grad: Any, y: Any, *given: Any, **_: Any) -> int:
    """Count one product for the gradient of each layer's input and one for that of its weight."""
    return 4 * _products(y[0], *given[4:])


def _products(images: int, *given: Any) -> int:
    """Return the multiply-adds of SE's two layers, from the shapes of the parameters."""
    products: int = images * sum(math.prod(weight) for weight in (given[4], given[6]) if weight is not None)
    return products


def tail_in_eager_mode(*arguments: Any) -> tuple[Tensor, ...]:
    """Run a tail with its gradient as `tail_operator` does, past PyTorch's dispatcher, which takes its time.

    Nobody sees the operators: not torch.compile, no counter, no kind of tensor.
    """
    results: tuple[Tensor, ...] = _Tail.apply(False, *arguments)
    return results


tail_operator = torch.ops.senet.tail.default
"""Runs a tail: (y, shortcut, parameters) to (output, statistics, sums, squeeze); see `fused` for each."""
