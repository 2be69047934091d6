"""Names of the layers of MobileNet and ShuffleNet in other packages.

A key that is not theirs is returned as it is: the network does not know it either.
"""

from __future__ import annotations

import re

_TIMM_STEM = {"conv_stem": "conv1", "bn1": "bn1", "classifier": "fc"}
_TIMM_UNIT = {
    "conv_dw": "depthwise",
    "bn1": "bn1",
    "conv_pw": "pointwise",
    "bn2": "bn2",
    "se.conv_reduce": "se.fc1",
    "se.conv_expand": "se.fc2",
}
_PYTORCHCV_STEM = {"features.init_block.conv": "conv1", "features.init_block.bn": "bn1", "output": "fc"}
_PYTORCHCV_MOBILENET_UNIT = {
    "dw_conv.conv": "depthwise",
    "dw_conv.bn": "bn1",
    "pw_conv.conv": "pointwise",
    "pw_conv.bn": "bn2",
}
_PYTORCHCV_SHUFFLENET_UNIT = {
    "compress_conv1": "conv1",
    "compress_bn1": "bn1",
    "dw_conv2": "conv2",
    "dw_bn2": "bn2",
    "expand_conv3": "conv3",
    "expand_bn3": "bn3",
}


def from_timm(key: str) -> str | None:
    """Return our key for one of timm's ``mobilenetv1_100``, whose activation is that of ``mobilenet_relu6``.

    The names of SE are those that timm's depthwise separable units have.
    """
    layer, _, tensor = key.rpartition(".")
    unit = re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(.+)", layer)
    if unit is None:
        return f"{_TIMM_STEM[layer]}.{tensor}" if layer in _TIMM_STEM else key
    return f"stage{int(unit[1]) + 1}.{unit[2]}.{_TIMM_UNIT.get(unit[3], unit[3])}.{tensor}"


def from_pytorchcv(key: str) -> str | None:
    """Return our key for one of pytorchcv's ``mobilenet_w1`` or ``shufflenet_g3_w1``.

    Their stages are counted from 1; ShuffleNet's first is the article's and our stage 2.
    """
    layer, _, tensor = key.rpartition(".")
    unit = re.fullmatch(r"features\.stage(\d+)\.unit(\d+)\.(.+)", layer)
    if unit is None:
        return f"{_PYTORCHCV_STEM[layer]}.{tensor}" if layer in _PYTORCHCV_STEM else key
    stage, position, part = int(unit[1]), int(unit[2]) - 1, unit[3]
    if part in _PYTORCHCV_SHUFFLENET_UNIT:
        return f"stage{stage + 1}.{position}.{_PYTORCHCV_SHUFFLENET_UNIT[part]}.{tensor}"
    return f"stage{stage}.{position}.{_PYTORCHCV_MOBILENET_UNIT.get(part, part)}.{tensor}"
