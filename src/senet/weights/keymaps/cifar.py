"""Names of the layers of the pre-activation and the Shake-Shake networks in other packages.

The post-activation CIFAR ResNets have the names of the larger ones: `senet.weights.keymaps.resnet`.
A key that is not theirs is returned as it is: the network does not know it either.
"""

from __future__ import annotations

import re

_PREACTIVATION_LAYERS = {
    "features.init_block": "conv1",
    "features.init_block.conv": "conv1",
    "features.init_block.bn": "norm",
    "features.post_activ.bn": "norm",
    "output": "fc",
}
_PREACTIVATION_PARTS = {"identity_conv": "downsample", "se.conv1": "se.fc1", "se.conv2": "se.fc2"}
_SHAKE_LAYERS = {"features.init_block.conv": "conv1", "features.init_block.bn": "bn1", "output": "fc"}


def from_pytorchcv_preresnet(key: str) -> str | None:
    """Return our key for one of pytorchcv's ``preresnet*``, ``sepreresnet*`` and ``wrn*`` for CIFAR.

    Its SE networks have the one BatchNorm outside their units behind the stem instead of the last unit, and
    fit `PreResNetSpec` with ``norm="stem"`` only.
    """
    layer, _, tensor = key.rpartition(".")
    if layer in _PREACTIVATION_LAYERS:
        return f"{_PREACTIVATION_LAYERS[layer]}.{tensor}"
    unit = _unit(layer)
    if unit is None:
        return key
    part = re.sub(r"^body\.conv(\d)\.(conv|bn)$", r"\2\1", unit[1])
    return f"{unit[0]}.{_PREACTIVATION_PARTS.get(part, part)}.{tensor}"


def from_pytorchcv_shakeshake(key: str) -> str | None:
    """Return our key for one of pytorchcv's ``shakeshakeresnet*`` for CIFAR.

    They compute what `ShakeSpec` does with ``activation="post"``.
    """
    layer, _, tensor = key.rpartition(".")
    if layer in _SHAKE_LAYERS:
        return f"{_SHAKE_LAYERS[layer]}.{tensor}"
    unit = _unit(layer)
    if unit is None:
        return key
    part = re.sub(r"^(branch\d)\.conv(\d)\.(conv|bn)$", r"\1.\3\2", unit[1])
    return f"{unit[0]}.{part.replace('identity_branch.', 'downsample.')}.{tensor}"


def _unit(layer: str) -> tuple[str, str] | None:
    """Return our name of the unit a layer is in, and the layer's name there; pytorchcv counts from 1."""
    match = re.fullmatch(r"features\.stage(\d+)\.unit(\d+)\.(.+)", layer)
    return None if match is None else (f"layer{match[1]}.{int(match[2]) - 1}", match[3])
