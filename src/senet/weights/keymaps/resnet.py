"""Names of the layers of ResNet, ResNeXt and SENet-154 in other packages.

A key that is not theirs is returned as it is: the network does not know it either.
"""

from __future__ import annotations

import re

# The stem of three convolutions as timm's Sequential counts it; its last BatchNorm is called bn1.
_TIMM_STEM = {
    "conv1.0": "conv1",
    "conv1.1": "bn1",
    "conv1.3": "conv2",
    "conv1.4": "bn2",
    "conv1.6": "conv3",
    "bn1": "bn3",
}
_PYTORCHCV_LAYERS = {
    "features.init_block.conv": "conv1",
    "features.init_block.bn": "bn1",
    "features.init_block.conv.conv": "conv1",
    "features.init_block.conv.bn": "bn1",
    "output": "fc",
    "output.fc": "fc",
}
_PYTORCHCV_PARTS = {
    "identity_conv.conv": "downsample.0",
    "identity_conv.bn": "downsample.1",
    "se.conv1": "se.fc1",
    "se.conv2": "se.fc2",
}


def from_torchvision(key: str) -> str | None:
    """Return our key for one of torchvision's, or of timm's plain ResNets, whose names are ours."""
    return key


def from_timm(key: str) -> str | None:
    """Return our key for one of timm's ``ResNet`` class with SE and the stem of one convolution."""
    return key


def from_timm_deep(key: str) -> str | None:
    """Return our key for one of timm's ``ResNet`` class with the stem of three convolutions: ``senet154``."""
    layer, _, tensor = key.rpartition(".")
    return f"{_TIMM_STEM.get(layer, layer)}.{tensor}"


def from_pretrainedmodels(key: str) -> str | None:
    """Return our key for one of pretrainedmodels' or of timm's ``legacy_se*``."""
    key = key.removeprefix("layer0.").replace(".se_module.", ".se.")
    return re.sub(r"^last_linear\.", "fc.", key)


def from_moskomule(key: str) -> str | None:
    """Return our key for one of moskomule's senet.pytorch: torchvision's with SE as a Sequential."""
    return key.replace(".se.fc.0.", ".se.fc1.").replace(".se.fc.2.", ".se.fc2.")


def from_pytorchcv(key: str) -> str | None:
    """Return our key for one of pytorchcv's, ImageNet and CIFAR networks alike; it counts units from 1."""
    layer, _, tensor = key.rpartition(".")
    if layer in _PYTORCHCV_LAYERS:
        return f"{_PYTORCHCV_LAYERS[layer]}.{tensor}"
    stem = re.fullmatch(r"features\.init_block\.conv(\d)\.(conv|bn)", layer)
    if stem:
        return f"{stem[2]}{stem[1]}.{tensor}"
    unit = re.fullmatch(r"features\.stage(\d+)\.unit(\d+)\.(.+)", layer)
    if unit is None:
        return key
    part = re.sub(r"^body\.conv(\d)\.(conv|bn)$", r"\2\1", unit[3])
    return f"layer{unit[1]}.{int(unit[2]) - 1}.{_PYTORCHCV_PARTS.get(part, part)}.{tensor}"
