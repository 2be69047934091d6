"""How the layers of every network start."""

from __future__ import annotations

from torch import nn


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
