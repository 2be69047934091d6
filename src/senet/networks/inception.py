"""The Inception networks from the tables in their specs.

The keys of GoogLeNet and Inception-v3 are torchvision's and those of Inception-ResNet-v2 timm's (but for
the classifier, ``fc``), each with ``se`` added.
"""

from __future__ import annotations

from torch import nn

from senet.blocks.inception import InceptionModule, InceptionResidualUnit, build_layer
from senet.blocks.inception_table import Concat, Conv, HalvingPool, Layer, Pool, Residual
from senet.networks.inception_spec import InceptionSpec
from senet.networks.network import at_site, head_layers


def inception_layers(spec: InceptionSpec) -> dict[str, nn.Module]:
    """Return the layers of ``spec`` in the order in which they run.

    Raises:
        SenetError: the SE reduction is larger than the channels at a site.
    """
    layers: dict[str, nn.Module] = {}
    channels = spec.in_channels
    for name, entry in spec.layers:
        if isinstance(entry, tuple):
            units = [_layer(spec, f"{name}.{i}", unit, channels)[0] for i, unit in enumerate(entry)]
            layers[name] = nn.Sequential(*units)
        else:
            layers[name], channels = _layer(spec, name, entry, channels)
    return layers | head_layers(channels, spec.num_classes, spec.dropout)


def _layer(
    spec: InceptionSpec, name: str, entry: Layer | Concat | Residual, channels: int
) -> tuple[nn.Module, int]:
    """Return the layer that ``entry`` describes and the channels it puts out."""
    if isinstance(entry, Conv | Pool | HalvingPool):
        return build_layer(entry, channels, spec.eps)
    se = spec.se_of(entry)
    with at_site(spec, name):
        if isinstance(entry, Concat):
            module = InceptionModule(channels, entry.branches, eps=spec.eps, se=se)
            return module, module.out_channels
        unit = InceptionResidualUnit(
            channels, entry.branches, eps=spec.eps, factor=entry.factor, relu=entry.relu, se=se
        )
        return unit, channels
