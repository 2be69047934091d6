"""VGG with BatchNorm from its spec."""

from __future__ import annotations

from torch import nn

from senet.blocks.conv_unit import ConvUnit
from senet.blocks.se_config import SEConfig
from senet.networks.network import at_site
from senet.networks.specs import VGGSpec

_POOLED_SIDE = 7


def vgg_layers(spec: VGGSpec) -> dict[str, nn.Module]:
    """Return the layers of ``spec`` in the order in which they run.

    The maps are averaged to 7x7 before the classifier, which changes nothing at 224 pixels and
    makes every other size work.

    Raises:
        SenetError: the SE reduction is larger than the channels at a site.
    """
    layers: dict[str, nn.Module] = {}
    channels = spec.in_channels
    for stage, depth, width in zip(spec.stages, spec.depths, spec.widths, strict=True):
        units: list[nn.Module] = []
        for position in range(depth):
            with at_site(spec, f"stage{stage}.{position}"):
                units.append(ConvUnit(channels, width, 3, bias=True, se=_se(spec, stage, position, depth)))
            channels = width
        layers[f"stage{stage}"] = nn.Sequential(*units)
        layers[f"pool{stage}"] = nn.MaxPool2d(2, stride=2)
    layers["avgpool"] = nn.AdaptiveAvgPool2d(_POOLED_SIDE)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = _classifier(channels * _POOLED_SIDE**2, spec)
    return layers


def _se(spec: VGGSpec, stage: int, position: int, depth: int) -> SEConfig | None:
    se = spec.se_in(stage)
    is_left_out = se is not None and se.units == "last" and position < depth - 1
    return None if is_left_out else se


def _classifier(features: int, spec: VGGSpec) -> nn.Sequential:
    classifier = nn.Sequential(
        nn.Linear(features, spec.hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(spec.dropout),
        nn.Linear(spec.hidden, spec.hidden),
        nn.ReLU(inplace=True),
    )
    if spec.num_classes > 0:
        classifier.extend([nn.Dropout(spec.dropout), nn.Linear(spec.hidden, spec.num_classes)])
    for layer in classifier:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
    return classifier
