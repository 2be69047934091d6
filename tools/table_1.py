"""Table 1 of the paper, stage by stage, beside what senet builds."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from senet.blocks.cost import cost_of
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.networks.network import Network
from senet.networks.zoo import create_network

_STEM = {"conv1": "112×112: 7×7, 64, stride 2", "maxpool": "56×56: 3×3 max pool, stride 2"}
_HEAD = {"fc": "1×1: global average pool, 1000-d fc"}

TABLE_1 = {
    "resnet50": {
        **_STEM,
        "layer1": "56×56: 1×1, 64; 3×3, 64; 1×1, 256; ×3",
        "layer2": "28×28: 1×1, 128; 3×3, 128; 1×1, 512; ×4",
        "layer3": "14×14: 1×1, 256; 3×3, 256; 1×1, 1024; ×6",
        "layer4": "7×7: 1×1, 512; 3×3, 512; 1×1, 2048; ×3",
        **_HEAD,
    },
    "se_resnet50": {
        **_STEM,
        "layer1": "56×56: 1×1, 64; 3×3, 64; 1×1, 256; fc [16, 256]; ×3",
        "layer2": "28×28: 1×1, 128; 3×3, 128; 1×1, 512; fc [32, 512]; ×4",
        "layer3": "14×14: 1×1, 256; 3×3, 256; 1×1, 1024; fc [64, 1024]; ×6",
        "layer4": "7×7: 1×1, 512; 3×3, 512; 1×1, 2048; fc [128, 2048]; ×3",
        **_HEAD,
    },
    "se_resnext50_32x4d": {
        **_STEM,
        "layer1": "56×56: 1×1, 128; 3×3, 128, C=32; 1×1, 256; fc [16, 256]; ×3",
        "layer2": "28×28: 1×1, 256; 3×3, 256, C=32; 1×1, 512; fc [32, 512]; ×4",
        "layer3": "14×14: 1×1, 512; 3×3, 512, C=32; 1×1, 1024; fc [64, 1024]; ×6",
        "layer4": "7×7: 1×1, 1024; 3×3, 1024, C=32; 1×1, 2048; fc [128, 2048]; ×3",
        **_HEAD,
    },
}
"""What the table prints, by network and by the layer that ends the stage."""

_PAPER_STAGES = dict(
    zip(
        ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "fc"),
        ("conv1", "pool", "conv2_x", "conv3_x", "conv4_x", "conv5_x", "head"),
        strict=True,
    )
)


def table_1_rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield network, stage, the printed row, ours, and whether both are the same."""
    for name, stages in TABLE_1.items():
        with torch.device("meta"):
            ours = described(create_network(name))
        for layer, printed in stages.items():
            agrees = "yes" if ours[layer] == printed else "**no**"
            yield f"`{name}`", _PAPER_STAGES[layer], printed, ours[layer], agrees


def described(network: Network) -> dict[str, str]:
    """Describe each stage of a ResNet as Table 1 does: output size, layers, channels, number of units."""
    side = network.spec.input_size
    shape: tuple[int, ...] = (network.spec.in_channels, side, side)
    stages, pooled = {}, ""
    for name, layer in network.named_children():
        shape = cost_of(layer, shape)[1]
        size = "×".join(map(str, shape[1:])) or "1×1"
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            pooled = "global average pool" if shape[1:] == (1, 1) else str(layer)
        elif isinstance(layer, nn.Linear):
            stages[name] = f"{size}: {pooled}, {layer.out_features}-d fc"
        elif isinstance(layer, nn.MaxPool2d):
            stages[name] = f"{size}: {layer.kernel_size}×{layer.kernel_size} max pool, stride {layer.stride}"
        elif isinstance(layer, nn.Conv2d):
            stages[name] = f"{size}: {_convolution(layer)}, stride {layer.stride[0]}"
        elif isinstance(layer, nn.Sequential):
            units = {_unit(unit) for unit in layer}
            stages[name] = f"{size}: {' or '.join(sorted(units))}; ×{len(layer)}"
    return stages


def _unit(unit: nn.Module) -> str:
    layers = [_convolution(layer) for layer in unit.children() if isinstance(layer, nn.Conv2d)]
    layers += [
        f"fc [{layer.fc1.out_features}, {layer.fc2.out_features}]"
        for layer in unit.children()
        if isinstance(layer, SqueezeExcitation)
    ]
    return "; ".join(layers)


def _convolution(layer: nn.Conv2d) -> str:
    height, width = layer.kernel_size
    groups = f", C={layer.groups}" if layer.groups > 1 else ""
    return f"{height}×{width}, {layer.out_channels}{groups}"
