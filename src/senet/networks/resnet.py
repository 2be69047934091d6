"""ResNet, ResNeXt and the CIFAR ResNets from their specs. The keys are torchvision's, plus ``se``."""

from __future__ import annotations

from torch import nn

from senet.blocks.residual import BasicUnit, BottleneckUnit
from senet.networks.network import at_site
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
    layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, spec.num_classes)
    return layers


def _stem(spec: ResNetSpec) -> dict[str, nn.Module]:
    kernel, stride = (7, 2) if spec.stem == "7x7" else (3, 1)
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(spec.in_channels, spec.stem_channels, kernel, stride, kernel // 2, bias=False),
        "bn1": nn.BatchNorm2d(spec.stem_channels),
        "relu": nn.ReLU(inplace=True),
    }
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
        se=se,
    )
