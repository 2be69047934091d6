"""Counts the operations that run, by the convention of `senet.blocks.cost`.

A second way to the same numbers: a block tells its cost from shapes, a trace sees the tensors go by.
Written out in torch's terms, what each kind of work consists of:

* **convolution**: ``conv2d`` and its relatives, also the 1x1 convolutions in which other packages write
  SE's layers.
* **fully connected**: ``linear`` and every other product of matrices, attention's included.
* **pooling**: windows (whole ones at the border, as if the map went on), adaptive windows, and the mean
  or the maximum over some dimensions.
* **scaling**: elementwise products and quotients, whether by a number, a factor for each channel or
  another map.
* **addition**: elementwise sums and differences of two tensors of the same size. A number or a bias for
  each channel is not a map.

Whatever happens inside one operator of torch, such as BatchNorm, a softmax or a SiLU, is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from senet.blocks.cost import Cost, values_read
from senet.kernels.backends import kernels

_aten = torch.ops.aten


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, counts what runs. Works on the meta device, where nothing is computed.

    Blocks run layer by layer meanwhile: inside a fused operator there is nothing to see.

    Attributes:
        cost: of all images that ran, without parameters and bytes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cost = Cost()
        self._layer_by_layer: list[AbstractContextManager[None]] = []

    def __enter__(self) -> Self:
        """Start counting."""
        self._layer_by_layer.append(kernels("reference"))
        self._layer_by_layer[-1].__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        """Stop counting."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._layer_by_layer.pop().__exit__(*error)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run ``func`` and count it."""
        kwargs = kwargs or {}
        rule = _RULES.get(func)
        if rule is None and isinstance(func, torch._ops.OpOverload) and func.namespace == "aten":
            # In inference mode an operator arrives whole that otherwise arrives in its parts.
            with self:
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        output = func(*args, **kwargs)
        if rule is not None:
            self.cost += rule(output, *args, **kwargs)
        return output


def _convolution(output: Tensor, x: Tensor, weight: Tensor, *settings: Any) -> Cost:
    _, _, _, _, is_transposed, *_ = settings
    places = x if is_transposed else output
    work = weight.numel() * len(output) * math.prod(places.shape[2:])
    return Cost(convolution=work, activations=output.numel())


def _product(output: Tensor, first: Tensor, second: Tensor, **_: Any) -> Cost:
    return Cost(fully_connected=first.numel() * second.shape[-1], activations=output.numel())


def _product_plus(output: Tensor, _bias: Tensor, first: Tensor, second: Tensor, **_: Any) -> Cost:
    return _product(output, first, second)


def _attention(
    outputs: Sequence[Tensor], query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> Cost:
    scores = query.numel() * key.shape[-2]
    weights = query.numel() // query.shape[-1] * key.shape[-2]
    return Cost(fully_connected=scores + weights * value.shape[-1], activations=weights + outputs[0].numel())


def _window(output: Tensor | Sequence[Tensor], x: Tensor, kernel: Sequence[int], *_: Any, **__: Any) -> Cost:
    first = output if isinstance(output, Tensor) else output[0]
    side = kernel[0] * kernel[-1]
    return Cost(pooling=side * first.numel())


def _adaptive(_output: Any, x: Tensor, parts: Sequence[int]) -> Cost:
    reads = (values_read(size, count) for size, count in zip(x.shape[-2:], parts, strict=True))
    return Cost(pooling=math.prod(x.shape[:-2]) * math.prod(reads))


def _reduction(_output: Any, x: Tensor, *_: Any, **__: Any) -> Cost:
    return Cost(pooling=x.numel())


def _elementwise_product(output: Tensor, *_: Any, **__: Any) -> Cost:
    return Cost(scaling=output.numel()) if _holds_maps(output) else Cost()


def _sum(output: Tensor, first: Any, second: Any, *, alpha: float = 1) -> Cost:
    sizes = [each.numel() for each in (first, second) if isinstance(each, Tensor) and each.dim() > 0]
    if not _holds_maps(output) or sizes != [output.numel()] * 2:
        return Cost()
    return Cost(addition=output.numel(), scaling=0 if alpha == 1 else output.numel())


def _holds_maps(tensor: Tensor) -> bool:
    """Tell maps, (N, C, ...) or (N, C), from indices and from coordinates along one side."""
    return tensor.is_floating_point() and tensor.dim() > 1


_RULES: dict[Any, Callable[..., Cost]] = {
    _aten.convolution.default: _convolution,
    _aten._convolution.default: _convolution,
    _aten.mm.default: _product,
    _aten.bmm.default: _product,
    _aten.addmm.default: _product_plus,
    _aten.baddbmm.default: _product_plus,
    _aten._scaled_dot_product_flash_attention_for_cpu.default: _attention,
    _aten._scaled_dot_product_flash_attention.default: _attention,
    _aten._scaled_dot_product_efficient_attention.default: _attention,
    _aten._scaled_dot_product_cudnn_attention.default: _attention,
    _aten.max_pool2d_with_indices.default: _window,
    _aten.avg_pool2d.default: _window,
    _aten._adaptive_avg_pool2d.default: _adaptive,
    _aten.adaptive_max_pool2d.default: _adaptive,
    _aten.mean.default: _reduction,
    _aten.mean.dim: _reduction,
    _aten.amax.default: _reduction,
    _aten.max.default: _reduction,
    _aten.max.dim: _reduction,
    _aten.mul.Tensor: _elementwise_product,
    _aten.mul_.Tensor: _elementwise_product,
    _aten.div.Tensor: _elementwise_product,
    _aten.div_.Tensor: _elementwise_product,
    _aten.add.Tensor: _sum,
    _aten.add_.Tensor: _sum,
    _aten.sub.Tensor: _sum,
    _aten.sub_.Tensor: _sum,
}
