"""ResNet, ResNeXt and the CIFAR ResNets from their specs. The keys are torchvision's, plus ``se``."""

from __future__ import annotations

from torch import nn

from senet.blocks.residual import BasicUnit, BottleneckUnit
from senet.networks.network import at_site, head_layers
from senet.networks.specs import ResNetSpec


def resnet_layers(spec: ResNetSpec) -> dict[str, nn.Module]:
    """Return the layers of ``spec`` in the order in which they run.

    Raises:
        SenetError: the SE reduction is larger than the channels at a site.
    """
    layers = _stem(spec)
    channels = spec.stem_channels
    for index in range(len(spec.depths)):
        layers[f"layer{index + 1}"] = _stage(spec, index, channels)
        channels = spec.outputs[index]
    return layers | head_layers(channels, spec.num_classes, spec.dropout)


def _stem(spec: ResNetSpec) -> dict[str, nn.Module]:
    """Return the convolutions before the stages, each with BatchNorm and ReLU, and the pool."""
    half = spec.stem_channels // 2
    # Kernel, stride and channels of each.
    convolutions = {
        "7x7": [(7, 2, spec.stem_channels)],
        "3x3": [(3, 1, spec.stem_channels)],
        "3x3x3": [(3, 2, half), (3, 1, half), (3, 1, spec.stem_channels)],
    }[spec.stem]
    layers: dict[str, nn.Module] = {}
    channels = spec.in_channels
    for number, (kernel, stride, out_channels) in enumerate(convolutions, start=1):
        layers[f"conv{number}"] = nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, bias=False)
        layers[f"bn{number}"] = nn.BatchNorm2d(out_channels)
        layers["relu" if len(convolutions) == 1 else f"relu{number}"] = nn.ReLU(inplace=True)
        channels = out_channels
    if spec.pool == "ceil":
        layers["maxpool"] = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    elif spec.pool == "padded":
        layers["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return layers


def _stage(spec: ResNetSpec, index: int, channels: int) -> nn.Sequential:
    """Return the units of one stage; the first one strides, except in the first stage."""
    units: list[nn.Module] = []
    for position in range(spec.depths[index]):
        stride = 2 if index > 0 and position == 0 else 1
        with at_site(spec, f"layer{index + 1}.{position}"):
            units.append(_unit(spec, index, channels, stride))
        channels = spec.outputs[index]
    return nn.Sequential(*units)


def _unit(spec: ResNetSpec, index: int, in_channels: int, stride: int) -> nn.Module:
    se = spec.se_in(spec.stages[index])
    inside = spec.bottleneck
    if inside is None:
        return BasicUnit(in_channels, spec.outputs[index], stride=stride, se=se)
    return BottleneckUnit(
        in_channels,
        inside.widths[index],
        spec.outputs[index],
        stride=stride,
        groups=inside.groups,
        stride_in=inside.stride_in,
        first_width=inside.widths[index] // 2 if inside.halved else None,
        projection=inside.projection,
        se=se,
    )
