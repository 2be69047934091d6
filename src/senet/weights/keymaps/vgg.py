"""Names of the layers of VGG with BatchNorm in other packages.

torchvision and timm count all layers of the features in one sequence, so what a number means depends on
the depths of the network. A key that is not theirs is returned as it is.
"""

from __future__ import annotations

from collections.abc import Callable

from senet.networks.specs import VGGSpec

_TIMM_HEAD = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}
_PRETRAINEDMODELS_HEAD = {
    "linear0": "classifier.0",
    "linear1": "classifier.3",
    "last_linear": "classifier.6",
}
_PYTORCHCV_HEAD = {
    "output.fc1.fc": "classifier.0",
    "output.fc2.fc": "classifier.3",
    "output.fc3": "classifier.6",
}


def from_torchvision(spec: VGGSpec) -> Callable[[str], str | None]:
    """Return the function from torchvision's keys to ours for a network of the depths of ``spec``."""
    return _renaming(_numbered("features", spec))


def from_timm(spec: VGGSpec) -> Callable[[str], str | None]:
    """Return the function from timm's keys, whose hidden layers are convolutions, to ours."""
    return _renaming(_numbered("features", spec) | _TIMM_HEAD)


def from_pretrainedmodels(spec: VGGSpec) -> Callable[[str], str | None]:
    """Return the function from the keys that pretrainedmodels gives torchvision's networks to ours."""
    return _renaming(_numbered("_features", spec) | _PRETRAINEDMODELS_HEAD)


def from_pytorchcv(key: str) -> str | None:
    """Return our key for one of pytorchcv's ``bn_vgg*b``, whose convolutions have a bias as ours."""
    layer, _, tensor = key.rpartition(".")
    if layer in _PYTORCHCV_HEAD:
        return f"{_PYTORCHCV_HEAD[layer]}.{tensor}"
    parts = layer.split(".")
    if len(parts) != 4 or not parts[2].removeprefix("unit").isdigit():
        return key
    return f"{parts[1]}.{int(parts[2].removeprefix('unit')) - 1}.{parts[3]}.{tensor}"


def _renaming(names: dict[str, str]) -> Callable[[str], str | None]:
    def renamed(key: str) -> str | None:
        layer, _, tensor = key.rpartition(".")
        return f"{names.get(layer, layer)}.{tensor}"

    return renamed


def _numbered(features: str, spec: VGGSpec) -> dict[str, str]:
    """Return our name for each convolution and BatchNorm in the sequence called ``features``."""
    names = {}
    number = 0
    for stage, depth in zip(spec.stages, spec.depths, strict=True):
        for position in range(depth):
            names[f"{features}.{number}"] = f"stage{stage}.{position}.conv"
            names[f"{features}.{number + 1}"] = f"stage{stage}.{position}.bn"
            number += 3  # convolution, BatchNorm, ReLU
        number += 1  # max pool
    return names
