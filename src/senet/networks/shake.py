"""Shake-Shake and Shake-Even networks from their specs."""

from __future__ import annotations

from torch import nn

from senet.blocks.shake import ShakeUnit
from senet.networks.network import at_site, head_layers
from senet.networks.shake_spec import ShakeSpec


def shake_layers(spec: ShakeSpec) -> dict[str, nn.Module]:
    """Return the layers of ``spec`` in the order in which they run.

    Raises:
        SenetError: the SE reduction is larger than the channels at a site.
    """
    channels = spec.stem_channels
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(spec.in_channels, channels, 3, 1, 1, bias=False),
        "bn1": nn.BatchNorm2d(channels),
    }
    if spec.activation == "post":
        layers["relu"] = nn.ReLU(inplace=True)
    for index in range(len(spec.depths)):
        layers[f"layer{index + 1}"] = _stage(spec, index, channels)
        channels = spec.outputs[index]
    if spec.activation == "pre":
        layers["relu"] = nn.ReLU()
    return layers | head_layers(channels, spec.num_classes)


def _stage(spec: ShakeSpec, index: int, channels: int) -> nn.Sequential:
    """Return the units of one stage; the first one strides, except in the first stage."""
    inside = spec.bottleneck
    units: list[nn.Module] = []
    for position in range(spec.depths[index]):
        with at_site(spec, f"layer{index + 1}.{position}"):
            unit = ShakeUnit(
                channels,
                spec.outputs[index],
                stride=2 if index > 0 and position == 0 else 1,
                width=None if inside is None else inside.widths[index],
                groups=1 if inside is None else inside.groups,
                activation=spec.activation,
                shortcut=spec.shortcut,
                backward=spec.backward,
                se=spec.se_in(spec.stages[index]),
            )
        units.append(unit)
        channels = spec.outputs[index]
    return nn.Sequential(*units)
