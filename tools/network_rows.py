"""Which of senet's networks a row of ``docs/paper/*.csv`` means, and why some numbers differ.

`tools.make_networks_page` writes the comparison; `tests/networks/published.py` tests by the same rows.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

from senet.networks.specs import NetworkSpec
from senet.networks.zoo import network_spec

PAPER = Path(__file__).resolve().parents[1] / "docs" / "paper"
TABLES = ("2", "3", "8", "10", "13", "15", "16")

Key = tuple[str, ...]


def _spec(name: str, se: dict[str, Any] | None = None, **changes: Any) -> NetworkSpec:
    """Return a registered network with some fields changed, those of its SE or its own."""
    spec = network_spec(name)
    if se is not None:
        changes["se"] = replace(spec.default_se, **se)
    return replace(spec, **changes)


def _timm() -> dict[str, NetworkSpec]:
    names = {f"resnet{n}": f"resnet{n}b" for n in (50, 101, 152)}
    names |= {f"seresnet{n}": f"se_resnet{n}b" for n in (50, 101, 152)}
    names |= {f"legacy_seresnet{n}": f"se_resnet{n}" for n in (18, 34, 50, 101, 152)}
    for n in (50, 101):
        names[f"resnext{n}_32x4d"] = f"resnext{n}_32x4d"
        names[f"seresnext{n}_32x4d"] = names[f"legacy_seresnext{n}_32x4d"] = f"se_resnext{n}_32x4d"
    names |= dict.fromkeys(("senet154", "legacy_senet154", "legacy_senet154 (320 crop)"), "senet154")
    names |= {"mobilenetv1_100": "mobilenet_relu6", "vgg16": "vgg16_bn"}
    names |= {name: name for name in ("resnext101_64x4d", "vgg16_bn", "inception_resnet_v2")}
    return {theirs: _spec(ours) for theirs, ours in names.items()}


def _torchvision() -> dict[str, NetworkSpec]:
    names = {f"resnet{n}": f"resnet{n}b" for n in (50, 101, 152)}
    names |= {name: name for name in ("resnext50_32x4d", "resnext101_64x4d", "vgg16_bn", "googlenet")}
    return {theirs: _spec(ours) for theirs, ours in {**names, "vgg16": "vgg16_bn"}.items()}


def _pytorchcv() -> dict[str, NetworkSpec]:
    names = {
        f"{se}resnet{n}{b}": f"{se and 'se_'}resnet{n}{b}"
        for se in ("", "se")
        for n in (50, 101, 152)
        for b in ("", "b")
    }
    for kind in ("50_32x4d", "101_32x4d", "101_64x4d"):
        names |= {f"resnext{kind}": f"resnext{kind}", f"seresnext{kind}": f"se_resnext{kind}"}
    names |= {
        "senet154": "senet154",
        "bninception": "bn_inception",
        "inceptionresnetv2": "inception_resnet_v2",
    }
    names |= {"mobilenet_w1": "mobilenet", "mobilenetb_w1": "mobilenet", "shufflenet_g3_w1": "shufflenet_g3"}
    names |= dict.fromkeys(("vgg16", "bn_vgg16", "bn_vgg16b"), "vgg16_bn")
    specs = {theirs: _spec(ours) for theirs, ours in names.items()}
    for n in (10, 100):
        specs |= {
            f"{theirs}_cifar{n}": replace(spec, num_classes=n) for theirs, spec in _pytorchcv_cifar().items()
        }
    return specs


def _pytorchcv_cifar() -> dict[str, NetworkSpec]:
    """Return those for 32x32 pixels; SE behind a pre-activation has its BatchNorm behind the stem there."""
    return {
        "resnet110": _spec("resnet110"),
        "seresnet110": _spec("se_resnet110"),
        "resnet164bn": _spec("resnet164"),
        "seresnet164bn": _spec("se_resnet164"),
        "preresnet110": _spec("preresnet110"),
        "sepreresnet110": _spec("se_preresnet110", norm="stem"),
        "preresnet164bn": _spec("preresnet164"),
        "sepreresnet164bn": _spec("se_preresnet164", norm="stem"),
        "wrn16_10": _spec("wrn16_8", outputs=(160, 320, 640)),
        "shakeshakeresnet26_2x32d": _spec("shakeshake26_2x96d", outputs=(32, 64, 128)),
    }


def _pretrainedmodels() -> dict[str, NetworkSpec]:
    names = [f"se_resnet{n}" for n in (50, 101, 152)] + [f"se_resnext{n}_32x4d" for n in (50, 101)]
    names += ["senet154", "resnext101_32x4d", "resnext101_64x4d"]
    others = {"bninception": "bn_inception", "inceptionresnetv2": "inception_resnet_v2"}
    others["cafferesnet101"] = "resnet101"
    return {theirs: _spec(ours) for theirs, ours in {**{name: name for name in names}, **others}.items()}


def _released() -> dict[str, NetworkSpec]:
    names = {f"ResNet-{n}": f"resnet{n}" for n in (50, 101, 152)}
    names |= {f"ResNeXt-{n}": f"resnext{n}_32x4d" for n in (50, 101)}
    names |= {"BN-Inception": "bn_inception"}
    names |= {f"SE-{theirs}": f"se_{ours}" for theirs, ours in names.items()}
    names |= {"SENet-154": "senet154", "SENet-154 without SE": "resnext154_64x4d"}
    return {theirs: _spec(ours) for theirs, ours in names.items()}


def _derived() -> dict[str, NetworkSpec]:
    """Return what was added up from articles by another program."""
    specs = {f"ResNet-{n} v1": _spec(f"resnet{n}") for n in (50, 101, 152)}
    for r in (2, 4, 8, 16, 32):
        specs[f"SE-ResNet-50 r={r} no FC bias"] = _section_6(reduction=r)
        specs[f"SE-ResNet-50 r={r} FC bias"] = _spec("resnet50", {"reduction": r})
    for stage in (2, 3, 4):
        specs[f"SE-ResNet-50 SE_Stage_{stage} only"] = _section_6(stages=(stage,))
    return specs | {
        "SE-ResNet-50 without SE in stage 5": _section_6(stages=(2, 3, 4)),
        "SE-ResNet-50 SE_3x3": _section_6(placement="conv3x3"),
        "SE-ResNet-50 SE-PRE": _section_6(placement="pre"),
        "SE-ResNet-50 SE-POST": _section_6(placement="post"),
        "SE-ResNet-50 SE-Identity": _section_6(placement="identity"),
        "SE-ResNet-50 NoSqueeze": _section_6(squeeze="none"),
        "SE-VGG-16 (BN) after each of 13 conv+BN+ReLU": _spec("se_vgg16_bn"),
        "SE-VGG-16 (BN) after the last conv of each of 5 stages": _spec("vgg16_bn", {"units": "last"}),
        "SE-BN-Inception (pytorchcv bninception + 10 SE)": _spec("se_bn_inception"),
        "SE-GoogLeNet (torchvision googlenet + 9 SE)": _spec("se_googlenet"),
        "SE-Inception-ResNet-v2 (timm + SE on 40 residual branches)": _spec("se_inception_resnet_v2"),
        "SE-Inception-ResNet-v2 (same + SE after Mixed_5b/6a/7a)": _spec(
            "inception_resnet_v2", {"units": "all"}
        ),
        "Inception-ResNet-v2 as in arXiv:1602.07261 figures (5/10/5)": _spec("inception_resnet_v2_article"),
        "SE-Inception-ResNet-v2 5/10/5": _spec("se_inception_resnet_v2_article"),
        "SE-MobileNet (SE after each of 13 pointwise convs)": _spec("se_mobilenet"),
        "SE-MobileNet (SE after each of 13 depthwise convs)": _spec(
            "mobilenet", {"placement": "conv3x3", "min_hidden": 1}
        ),
        "SE-ShuffleNet 1x g=3 (SE on every residual branch before add/concat)": _spec("se_shufflenet_g3"),
        "SE-ShuffleNet 1x g=3 (SE on stride-1 units only)": _spec("shufflenet_g3", {"units": "stride1"}),
        "SE-ShuffleNet 1x g=3 (SE after add/concat)": _spec("shufflenet_g3", {"placement": "post"}),
        "WRN-16-8 CIFAR-10": _spec("wrn16_8"),
        "SE-WRN-16-8 CIFAR-10": _spec("se_wrn16_8"),
        "WRN-16-8 CIFAR-100": _spec("wrn16_8", num_classes=100),
        "SE-WRN-16-8 CIFAR-100": _spec("se_wrn16_8", num_classes=100),
        "Shake-Shake 26 2x96d CIFAR-10": _spec("shakeshake26_2x96d"),
        "SE Shake-Shake 26 2x96d (one SE on the summed branches)": _spec("se_shakeshake26_2x96d"),
        "SE Shake-Shake 26 2x96d (one SE per branch)": _spec("shakeshake26_2x96d", {"placement": "branches"}),
        "Shake-Even 29 2x4x64d CIFAR-100": _spec("shakeeven29_2x4x64d"),
        "SE Shake-Even 29 2x4x64d (one SE on the summed branches)": _spec("se_shakeeven29_2x4x64d"),
        "SE Shake-Even 29 2x4x64d (one SE per branch)": _spec(
            "shakeeven29_2x4x64d", {"placement": "branches"}
        ),
    }


def _section_6(**se: Any) -> NetworkSpec:
    """Return the paper's SE-ResNet-50 without the biases of SE's layers, as Sections 6 and 7.1 have it."""
    return _spec("resnet50", {"bias": False, **se})


PACKAGES: dict[Key, NetworkSpec] = {
    (package, model): spec
    for package, specs in {
        "timm": _timm(),
        "torchvision": _torchvision(),
        "pytorchcv": _pytorchcv(),
        "pretrainedmodels": _pretrainedmodels(),
        "caffe-prototxt": _released(),
        "derived (own build)": _derived(),
    }.items()
    for model, spec in specs.items()
}
"""By package and model of ``complexity.csv``."""

_PAPER_NAMES = {
    "ResNet-50": "resnet50",
    "ResNet-101": "resnet101",
    "ResNet-152": "resnet152",
    "ResNeXt-50 32x4d": "resnext50_32x4d",
    "ResNeXt-101 32x4d": "resnext101_32x4d",
    "ResNeXt-101 64x4d": "resnext101_64x4d",
    "VGG-16 (BN)": "vgg16_bn",
    "BN-Inception": "bn_inception",
    "Inception-v3": "inception_v3",
    "Inception-ResNet-v2": "inception_resnet_v2",
    "MobileNet 1.0-224": "mobilenet",
    "ShuffleNet 1x (g=3)": "shufflenet_g3",
    "SENet-154": "resnext154_64x4d",
}
_ABLATIONS: dict[str, dict[str, Any] | None] = {
    "original": None,
    "ResNet-50 (no SE)": None,
    **{f"r={r}": {"reduction": r} for r in (2, 4, 8, 16, 32)},
    **{f"SE_Stage_{stage}": {"stages": (stage,)} for stage in (2, 3, 4)},
    "SE_All": {},
    "SE": {},
    "SE_3x3": {"placement": "conv3x3"},
    "NoSqueeze": {"squeeze": "none"},
}


def paper_network(row: dict[str, str]) -> NetworkSpec | None:
    """Return the network a row of ``results.csv`` means, or ``None`` where senet has none."""
    if row["variant"].startswith("ablation: "):
        se = _ABLATIONS[row["variant"].removeprefix("ablation: ")]
        return _spec("resnet50") if se is None else _section_6(**se)
    name = _PAPER_NAMES.get(row["model"])
    if name is None:
        return None
    spec = network_spec(name)
    return replace(spec, se=spec.default_se) if row["variant"] == "SE" else spec


def read_rows(file: str) -> list[dict[str, str]]:
    """Return the rows of a file of ``docs/paper``."""
    with (PAPER / file).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


_NO_BATCH_NORM = "it has no BatchNorm"
_BIASES = "its convolutions have biases in spite of the BatchNorm"
_TWO_NETWORKS = (
    "the released network of this name has 13.16 G, the one drawn in its article, "
    "`inception_resnet_v2_article`, 9.26 G; which one the paper trained is not known"
)

EXPLANATIONS: dict[Key, str] = {
    ("2", "ResNeXt-101 32x4d", "reimplementation", "gflops"): (
        "0.011 G short under B; the pools' 0.002 G would bring it within the last digit"
    ),
    ("2", "Inception-ResNet-v2", "reimplementation", "gflops"): _TWO_NETWORKS,
    ("2", "Inception-ResNet-v2", "SE", "gflops"): _TWO_NETWORKS,
    ("3", "ShuffleNet 1x (g=3)", "reimplementation", "gflops"): (
        "1.2 M short under B; what SE adds, 2 M as printed, is 2.2 M here"
    ),
    ("timm", "vgg16"): _NO_BATCH_NORM,
    ("torchvision", "vgg16"): _NO_BATCH_NORM,
    ("pytorchcv", "vgg16"): _NO_BATCH_NORM,
    ("pytorchcv", "bn_vgg16"): "its convolutions have no biases, which torchvision keeps",
    ("pytorchcv", "mobilenetb_w1"): "it has no BatchNorm behind the 3x3 convolutions of its units",
    ("pytorchcv", "bninception"): _BIASES,
    ("pretrainedmodels", "bninception"): _BIASES,
    ("derived (own build)", "SE-BN-Inception (pytorchcv bninception + 10 SE)"): _BIASES,
}
"""Why a number differs: by table, model, variant and column of the paper, or by package and model."""
