"""Names of the layers of the Inception networks in other packages.

A key of an auxiliary classifier becomes ``None``; one that is not theirs is returned as it is: the network
does not know it either. The BN-Inceptions of pytorchcv and pretrainedmodels have convolution biases, which
`senet.weights.fold.fold_biases` takes up.
"""

from __future__ import annotations

import re

_BN_INCEPTION_STEM = {
    "features.init_block.conv1": "conv1",
    "features.init_block.conv2.conv1": "conv2",
    "features.init_block.conv2.conv2": "conv3",
}
_BN_INCEPTION_MODULES = {
    "stage1.unit1": "3a",
    "stage1.unit2": "3b",
    "stage2.unit1": "3c",
    "stage2.unit2": "4a",
    "stage2.unit3": "4b",
    "stage2.unit4": "4c",
    "stage2.unit5": "4d",
    "stage3.unit1": "4e",
    "stage3.unit2": "5a",
    "stage3.unit3": "5b",
}
_V3_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
# Our module for pytorchcv's, and the names of its branches.
_V3_5 = {"1": "branch1x1", "2": "branch5x5", "3": "branch3x3dbl", "4": "branch_pool"}
_V3_6 = {"1": "branch1x1", "2": "branch7x7", "3": "branch7x7dbl", "4": "branch_pool"}
_V3_7 = {"1": "branch1x1", "2": "branch3x3", "3": "branch3x3dbl", "4": "branch_pool"}
_V3_MODULES = {
    "stage1.unit1": ("Mixed_5b", _V3_5),
    "stage1.unit2": ("Mixed_5c", _V3_5),
    "stage1.unit3": ("Mixed_5d", _V3_5),
    "stage2.unit1": ("Mixed_6a", {"1": "branch3x3", "2": "branch3x3dbl"}),
    "stage2.unit2": ("Mixed_6b", _V3_6),
    "stage2.unit3": ("Mixed_6c", _V3_6),
    "stage2.unit4": ("Mixed_6d", _V3_6),
    "stage2.unit5": ("Mixed_6e", _V3_6),
    "stage3.unit1": ("Mixed_7a", {"1": "branch3x3", "2": "branch7x7x3"}),
    "stage3.unit2": ("Mixed_7b", _V3_7),
    "stage3.unit3": ("Mixed_7c", _V3_7),
}
_V3_ENDS = {
    ("branch3x3", "1x3"): "2a",
    ("branch3x3", "3x1"): "2b",
    ("branch3x3dbl", "1x3"): "3a",
    ("branch3x3dbl", "3x1"): "3b",
}
_RESNET_STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a")
_CADENE_STEM = {"conv1_7x7_s2": "conv1", "conv2_3x3_reduce": "conv2", "conv2_3x3": "conv3"}
_CADENE_LAYERS = {
    "1x1": "branch1",
    "3x3_reduce": "branch2.0",
    "3x3": "branch2.1",
    "double_3x3_reduce": "branch3.0",
    "double_3x3_1": "branch3.1",
    "double_3x3_2": "branch3.2",
    "pool_proj": "branch4.1",
}


def from_torchvision(key: str) -> str | None:
    """Return our key for one of torchvision's ``googlenet`` or ``inception_v3``."""
    return None if key.startswith(("aux1.", "aux2.", "AuxLogits.")) else key


def from_timm(key: str) -> str | None:
    """Return our key for one of timm's ``inception_v3`` or ``inception_resnet_v2``."""
    return None if key.startswith("AuxLogits.") else re.sub(r"^classif\.", "fc.", key)


def from_pytorchcv_bn_inception(key: str) -> str | None:
    """Return our key for one of pytorchcv's ``bninception``."""
    stem = re.fullmatch(r"(features\.init_block\.[\w.]+)\.((?:conv|bn)\.\w+)", key)
    if stem and stem[1] in _BN_INCEPTION_STEM:
        return f"{_BN_INCEPTION_STEM[stem[1]]}.{stem[2]}"
    unit = re.fullmatch(
        r"features\.(stage\d\.unit\d)\.branches\.branch(\d)(?:\.conv(\d?))?\.((?:conv|bn)\.\w+)", key
    )
    if unit is None or unit[1] not in _BN_INCEPTION_MODULES:
        return re.sub(r"^output\.", "fc.", key)
    module, branch = _BN_INCEPTION_MODULES[unit[1]], int(unit[2])
    if module in ("3c", "4e"):
        branch += 1  # They have no 1x1 branch.
    # A 1x1 branch has no number, and behind the pool there is one convolution without a number.
    index = {None: "", "": ".1"}.get(unit[3], f".{int(unit[3] or 0) - 1}")
    return f"inception{module}.branch{branch}{index}.{unit[4]}"


def from_pytorchcv_inception_v3(key: str) -> str | None:
    """Return our key for one of pytorchcv's ``inceptionv3``."""
    stem = re.fullmatch(r"features\.init_block\.conv([1-5])\.(.+)", key)
    if stem:
        return f"{_V3_STEM[int(stem[1]) - 1]}.{stem[2]}"
    unit = re.fullmatch(
        r"features\.(stage\d\.unit\d)\.branches\.branch(\d)\.(?:conv_list\.)?conv(\d|1x3|3x1|)\."
        r"((?:conv|bn)\.\w+)",
        key,
    )
    module, branches = _V3_MODULES.get(unit[1], ("", {})) if unit else ("", {})
    if unit is None or unit[2] not in branches:
        return re.sub(r"^output\.fc\.", "fc.", key)
    name, part = branches[unit[2]], unit[3]
    if part and (module, name) != ("Mixed_6a", "branch3x3"):
        name += f"_{_V3_ENDS.get((name, part), part)}"
    return f"{module}.{name}.{unit[4]}"


def from_pytorchcv_inception_resnet_v2(key: str) -> str | None:
    """Return our key for one of pytorchcv's ``inceptionresnetv2``."""
    stem = re.fullmatch(r"features\.init_block\.conv([1-5])\.(.+)", key)
    if stem:
        return f"{_RESNET_STEM[int(stem[1]) - 1]}.{stem[2]}"
    unit = re.fullmatch(r"features\.(?:init_block\.block|stage([1-3])\.unit(\d+))\.(.+)", key)
    if unit is None:
        return re.sub(r"^output\.fc\.", "fc.", re.sub(r"^features\.final_conv\.", "conv2d_7b.", key))
    place = "mixed_5b" if unit[1] is None else _resnet_place(int(unit[1]), int(unit[2]))
    if unit[3] in ("conv.weight", "conv.bias"):
        return f"{place}.conv2d.{unit[3][5:]}"
    layer = re.fullmatch(r"branches\.branch(\d)\.conv(?:_list\.conv(\d))?\.((?:conv|bn)\.\w+)", unit[3])
    if layer is None:
        return key
    branch, number = int(layer[1]) - 1, layer[2]
    index = f".{int(number) - 1}" if number and (place, branch) != ("mixed_6a", 0) else ""
    if (place, branch) == ("mixed_5b", 3):
        index = ".1"  # Behind the pool.
    return f"{place}.branch{branch}{index}.{layer[3]}"


def _resnet_place(stage: int, number: int) -> str:
    """Return our name for one of pytorchcv's units."""
    if stage == 1:
        return f"repeat.{number - 1}"
    if number == 1:
        return "mixed_6a" if stage == 2 else "mixed_7a"
    return "block8" if (stage, number) == (3, 11) else f"repeat_{stage - 1}.{number - 2}"


def from_pretrainedmodels_bn_inception(key: str) -> str | None:
    """Return our key for one of pretrainedmodels' ``bninception``."""
    layer, _, tensor = key.rpartition(".")
    kind = "bn" if layer.endswith("_bn") else "conv"
    layer = layer.removesuffix("_bn")
    if layer in _CADENE_STEM:
        return f"{_CADENE_STEM[layer]}.{kind}.{tensor}"
    unit = re.fullmatch(r"inception_(\d\w)_(\w+)", layer)
    if unit and unit[2] in _CADENE_LAYERS:
        return f"inception{unit[1]}.{_CADENE_LAYERS[unit[2]]}.{kind}.{tensor}"
    return re.sub(r"^last_linear\.", "fc.", key)


def from_pretrainedmodels_inception_resnet_v2(key: str) -> str | None:
    """Return our key for one of pretrainedmodels' ``inceptionresnetv2``."""
    return re.sub(r"^last_linear\.", "fc.", key)
