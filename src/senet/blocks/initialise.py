"""How the layers of every network start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_UNIFORM_DRAWS = frozenset({nn.init.kaiming_uniform_, nn.init.uniform_, Tensor.uniform_})
_DRAWS = _UNIFORM_DRAWS | {nn.init.normal_, Tensor.normal_}


def initialise(module: nn.Module) -> None:
    """Initialise the convolutions and normalisations inside ``module``.

    Convolutions: He et al. (2015) normal, fan-out, biases zero. BatchNorm: weight 1, bias 0, the last
    one of a residual branch as well. Fully connected layers keep what their owner gave them.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


class UnseenDrawsSkipped(TorchFunctionMode):
    """While it is entered, no random value is drawn that nobody would see. For building a network.

    Those are the values torch gives the weight of a new convolution, uniform ones, since `initialise`
    draws it anew; and on the meta device, which has no values, all of them. torch would think about
    each for a millisecond there.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run ``func``, unless it draws values that nobody would see."""
        kwargs = kwargs or {}
        if func in _DRAWS:
            tensor = args[0] if args else kwargs["tensor"]
            is_new_convolution = func in _UNIFORM_DRAWS and tensor.dim() == 4
            if tensor.is_meta or is_new_convolution:
                return tensor
        return func(*args, **kwargs)
