"""MobileNet and ShuffleNet from their specs."""

from __future__ import annotations

from torch import nn

from senet.blocks.depthwise import DepthwiseSeparableUnit, Rectifier, rectifier
from senet.blocks.se_config import SEConfig
from senet.blocks.shuffle import ShuffleUnit
from senet.networks.mobile_spec import MobileNetSpec, ShuffleNetSpec
from senet.networks.network import at_site, head_layers


def mobilenet_layers(spec: MobileNetSpec) -> dict[str, nn.Module]:
    """Return the layers of ``spec`` in the order in which they run.

    Raises:
        SenetError: the SE reduction is larger than the channels at a site.
    """
    layers = _stem(spec.in_channels, spec.stem_channels, spec.activation)
    channels = spec.stem_channels
    for stage, depth, width in zip(spec.stages, spec.depths, spec.widths, strict=True):
        units: list[nn.Module] = []
        for position in range(depth):
            with at_site(spec, f"stage{stage}.{position}"):
                unit = DepthwiseSeparableUnit(
                    channels,
                    width,
                    stride=2 if stage > 1 and position == 0 else 1,
                    activation=spec.activation,
                    se=spec.se_in(stage),
                )
            units.append(unit)
            channels = width
        layers[f"stage{stage}"] = nn.Sequential(*units)
    return layers | head_layers(channels, spec.num_classes)


def shufflenet_layers(spec: ShuffleNetSpec) -> dict[str, nn.Module]:
    """Return the layers of ``spec`` in the order in which they run.

    Raises:
        SenetError: the SE reduction is larger than the channels at a site.
    """
    layers = _stem(spec.in_channels, spec.stem_channels)
    layers["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
    channels = spec.stem_channels
    for stage, depth, width in zip(spec.stages, spec.depths, spec.widths, strict=True):
        units: list[nn.Module] = []
        for position in range(depth):
            with at_site(spec, f"stage{stage}.{position}"):
                unit = ShuffleUnit(
                    channels,
                    width,
                    groups=spec.groups,
                    stride=2 if position == 0 else 1,
                    first_is_grouped=position > 0 or stage > spec.stages[0],
                    se=_shuffle_se(spec, stage, position),
                )
            units.append(unit)
            channels = width
        layers[f"stage{stage}"] = nn.Sequential(*units)
    return layers | head_layers(channels, spec.num_classes)


def _stem(in_channels: int, channels: int, activation: Rectifier = "relu") -> dict[str, nn.Module]:
    return {
        "conv1": nn.Conv2d(in_channels, channels, 3, 2, 1, bias=False),
        "bn1": nn.BatchNorm2d(channels),
        "relu": rectifier(activation),
    }


def _shuffle_se(spec: ShuffleNetSpec, stage: int, position: int) -> SEConfig | None:
    se = spec.se_in(stage)
    is_left_out = se is not None and se.units == "stride1" and position == 0
    return None if is_left_out else se
