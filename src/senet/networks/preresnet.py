"""Pre-activation ResNets and Wide ResNets from their specs."""

from __future__ import annotations

from torch import nn

from senet.blocks.preactivation import PreActivationBasicUnit, PreActivationBottleneckUnit
from senet.networks.network import at_site, head_layers
from senet.networks.preresnet_spec import PreResNetSpec


def preresnet_layers(spec: PreResNetSpec) -> dict[str, nn.Module]:
    """Return the layers of ``spec`` in the order in which they run.

    Raises:
        SenetError: the SE reduction is larger than the channels at a site.
    """
    channels = spec.stem_channels
    layers: dict[str, nn.Module] = {"conv1": nn.Conv2d(spec.in_channels, channels, 3, 1, 1, bias=False)}
    if spec.norm == "stem":
        layers |= _norm(channels)
    for index in range(len(spec.depths)):
        layers[f"layer{index + 1}"] = _stage(spec, index, channels)
        channels = spec.outputs[index]
    if spec.norm == "end":
        layers |= _norm(channels)
    return layers | head_layers(channels, spec.num_classes)


def _norm(channels: int) -> dict[str, nn.Module]:
    return {"norm": nn.BatchNorm2d(channels), "relu": nn.ReLU(inplace=True)}


def _stage(spec: PreResNetSpec, index: int, channels: int) -> nn.Sequential:
    """Return the units of one stage; the first one strides, except in the first stage."""
    units: list[nn.Module] = []
    for position in range(spec.depths[index]):
        stride = 2 if index > 0 and position == 0 else 1
        with at_site(spec, f"layer{index + 1}.{position}"):
            units.append(_unit(spec, index, channels, stride))
        channels = spec.outputs[index]
    return nn.Sequential(*units)


def _unit(spec: PreResNetSpec, index: int, in_channels: int, stride: int) -> nn.Module:
    se = spec.se_in(spec.stages[index])
    inside = spec.bottleneck
    if inside is None:
        return PreActivationBasicUnit(in_channels, spec.outputs[index], stride=stride, se=se)
    return PreActivationBottleneckUnit(
        in_channels,
        inside.widths[index],
        spec.outputs[index],
        stride=stride,
        stride_in=inside.stride_in,
        se=se,
    )
