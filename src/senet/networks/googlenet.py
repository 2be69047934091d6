"""GoogLeNet from its spec. The keys are torchvision's, plus ``se``."""

from __future__ import annotations

from torch import nn

from senet.blocks.conv_unit import ConvUnit
from senet.blocks.inception import BATCH_NORM_EPS, InceptionModule
from senet.networks.network import at_site, head_layers
from senet.networks.specs import GoogLeNetSpec


def googlenet_layers(spec: GoogLeNetSpec) -> dict[str, nn.Module]:
    """Return the layers of ``spec`` in the order in which they run.

    Raises:
        SenetError: the SE reduction is larger than the channels at a site.
    """
    layers: dict[str, nn.Module] = {
        "conv1": ConvUnit(spec.in_channels, 64, 7, stride=2, eps=BATCH_NORM_EPS),
        "maxpool1": _max_pool(3),
        "conv2": ConvUnit(64, 64, 1, eps=BATCH_NORM_EPS),
        "conv3": ConvUnit(64, 192, 3, eps=BATCH_NORM_EPS),
        "maxpool2": _max_pool(3),
    }
    channels = 192
    previous_stage = spec.stages[0]
    for name, widths in spec.modules:
        stage = int(name[0])
        if stage != previous_stage:
            # The last pool is 2x2 in torchvision's form, 3x3 in the article.
            layers[f"maxpool{previous_stage}"] = _max_pool(2 if stage == spec.stages[-1] else 3)
            previous_stage = stage
        with at_site(spec, f"inception{name}"):
            module = InceptionModule(channels, widths, se=spec.se_in(stage))
        layers[f"inception{name}"] = module
        channels = module.out_channels
    return layers | head_layers(channels, spec.num_classes, spec.dropout)


def _max_pool(side: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(side, stride=2, ceil_mode=True)
