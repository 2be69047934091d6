"""The excitation and its gradient on (N, C) tables (Eq. 3), written once for all kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from senet.kernels.reference import double_sigmoid

_aten = torch.ops.aten

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "hard_swish": functional.hardswish,
}
GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "hard_sigmoid": functional.hardsigmoid,
    "double_sigmoid": double_sigmoid,
}
# From the gradient of the result and the argument to the gradient of the argument.
_GRADIENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda g, x: _aten.threshold_backward(g, x, 0),
    "silu": _aten.silu_backward,
    "gelu": _aten.gelu_backward,
    "hard_swish": _aten.hardswish_backward,
    "sigmoid": lambda g, x: _aten.sigmoid_backward(g, torch.sigmoid(x)),
    "tanh": lambda g, x: _aten.tanh_backward(g, torch.tanh(x)),
    "hard_sigmoid": _aten.hardsigmoid_backward,
    "double_sigmoid": lambda g, x: 2 * _aten.sigmoid_backward(g, torch.sigmoid(x)),
}


class Excitation(NamedTuple):
    """The two fully connected layers of an SE block and what stands between and behind them.

    Shapes: ``w1`` (K, C), ``b1`` (K,), ``w2`` (C, K), ``b2`` (C,) for K hidden units; a bias may be missing.
    """

    w1: Tensor
    b1: Tensor | None
    w2: Tensor
    b2: Tensor | None
    activation: str
    gate: str

    def like(self, table: Tensor) -> Excitation:
        """Return the layers in the type of ``table``, each parameter contiguous."""
        w1, b1, w2, b2 = (as_table(each, table) for each in self[:4])
        assert w1 is not None and w2 is not None
        return Excitation(w1, b1, w2, b2, self.activation, self.gate)

    def weights(self, z: Tensor) -> Tensor:
        """Return the channel weights ``gate(W2 activation(W1 z))``, (N, C), for ``z`` (N, C)."""
        hidden = functional.linear(z, _like(self.w1, z), _like(self.b1, z))
        excited = functional.linear(
            ACTIVATIONS[self.activation](hidden), _like(self.w2, z), _like(self.b2, z)
        )
        return GATES[self.gate](excited)

    def gradients(self, z: Tensor, d_s: Tensor) -> ExcitationGradients:
        """Return the channel weights once more and the gradients of everything they came from.

        Args:
            z: the squeezed maps, (N, C).
            d_s: the gradient of the channel weights, (N, C).
        """
        w1, w2 = _like(self.w1, z), _like(self.w2, z)
        hidden = functional.linear(z, w1, _like(self.b1, z))
        active = ACTIVATIONS[self.activation](hidden)
        excited = functional.linear(active, w2, _like(self.b2, z))
        s = GATES[self.gate](excited)
        d_excited = _GRADIENTS[self.gate](d_s, excited)
        d_hidden = _GRADIENTS[self.activation](d_excited @ w2, hidden)
        return ExcitationGradients(
            s=s,
            z=d_hidden @ w1,
            w1=d_hidden.t() @ z,
            b1=None if self.b1 is None else d_hidden.sum(0),
            w2=d_excited.t() @ active,
            b2=None if self.b2 is None else d_excited.sum(0),
        )


class ExcitationGradients(NamedTuple):
    """The channel weights ``s``, (N, C), and the gradients of ``z`` and the parameters, each in its shape."""

    s: Tensor
    z: Tensor
    w1: Tensor
    b1: Tensor | None
    w2: Tensor
    b2: Tensor | None


def as_table(parameter: Tensor | None, table: Tensor) -> Tensor | None:
    """Return ``parameter`` in the type of ``table`` and contiguous: itself where it is both already."""
    if parameter is None or (parameter.dtype == table.dtype and parameter.is_contiguous()):
        return parameter
    return parameter.to(table.dtype).contiguous()


def _like(parameter: Tensor | None, table: Tensor) -> Tensor:
    # The annotation leaves out None, which functional.linear takes but does not declare in every version.
    return parameter if parameter is None else parameter.to(table.dtype)  # type: ignore[return-value]
