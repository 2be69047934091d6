"""What packages call the networks whose weights senet can take, and the ones that only look like them.

Names matter where tensors do not tell two networks apart: pytorchcv's seresnet50 and seresnet50b differ in
the place of the stride alone. Imports no torch.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TIMM, TORCHVISION, PYTORCHCV = "timm", "torchvision", "pytorchcv"
PRETRAINEDMODELS, MOSKOMULE, SENET = "pretrainedmodels", "moskomule", "senet"

_RESNETS = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50b",
    "resnet101": "resnet101b",
    "resnet152": "resnet152b",
}
_RESNEXTS = {name: name for name in ("resnext50_32x4d", "resnext101_32x4d", "resnext101_64x4d")}
_VGGS = {name: name for name in ("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")}
_PYTORCHCV_RESNETS = {
    **{f"resnet{layers}": f"resnet{layers}" for layers in (18, 34)},
    **{f"resnet{layers}{form}": f"resnet{layers}{form}" for layers in (50, 101, 152) for form in ("", "b")},
    **_RESNEXTS,
    **{
        f"{reference}_cifar{classes}": network
        for classes in (10, 100)
        for reference, network in (
            ("resnet20", "resnet20"),
            ("resnet56", "resnet56"),
            ("resnet110", "resnet110"),
            ("resnet164bn", "resnet164"),
            ("preresnet110", "preresnet110"),
            ("preresnet164bn", "preresnet164"),
        )
    },
}

KNOWN: dict[str, dict[str, str]] = {
    TORCHVISION: {
        **_RESNETS,
        "resnext50_32x4d": "resnext50_32x4d",
        "resnext101_64x4d": "resnext101_64x4d",
        **_VGGS,
        "googlenet": "googlenet",
        "inception_v3": "inception_v3",
    },
    TIMM: {
        **_RESNETS,
        **{f"se{name}": f"se_{network}" for name, network in _RESNETS.items()},
        **_RESNEXTS,
        **{f"se{name}": f"se_{name}" for name in _RESNEXTS},
        "senet154": "senet154",
        "legacy_seresnet50": "se_resnet50",
        "legacy_seresnet101": "se_resnet101",
        "legacy_seresnet152": "se_resnet152",
        "legacy_seresnext50_32x4d": "se_resnext50_32x4d",
        "legacy_seresnext101_32x4d": "se_resnext101_32x4d",
        "legacy_senet154": "senet154",
        **_VGGS,
        "inception_v3": "inception_v3",
        "inception_resnet_v2": "inception_resnet_v2",
        "mobilenetv1_100": "mobilenet_relu6",
    },
    PRETRAINEDMODELS: {
        "se_resnet50": "se_resnet50",
        "se_resnet101": "se_resnet101",
        "se_resnet152": "se_resnet152",
        "se_resnext50_32x4d": "se_resnext50_32x4d",
        "se_resnext101_32x4d": "se_resnext101_32x4d",
        "senet154": "senet154",
        "cafferesnet101": "resnet101",
        **_RESNETS,
        **_VGGS,
        "inceptionv3": "inception_v3",
        "bninception": "bn_inception",
        "bn_inception": "bn_inception",
        "inceptionresnetv2": "inception_resnet_v2",
    },
    PYTORCHCV: {
        **_PYTORCHCV_RESNETS,
        **{f"se{name}": f"se_{network}" for name, network in _PYTORCHCV_RESNETS.items()},
        "senet154": "senet154",
        **{f"bn_vgg{layers}b": f"vgg{layers}_bn" for layers in (11, 13, 16, 19)},
        "bninception": "bn_inception",
        "inceptionv3": "inception_v3",
        "inceptionresnetv2": "inception_resnet_v2",
        "mobilenet_w1": "mobilenet",
        "shufflenet_g3_w1": "shufflenet_g3",
    },
    MOSKOMULE: {
        **{f"se_{name}": f"se_{network}" for name, network in _RESNETS.items()},
        **{f"se_resnet{layers}": f"se_resnet{layers}" for layers in (20, 32, 56)},
        "seresnet50": "se_resnet50b",
    },
}
"""Package, its name for a network, ours."""


class LookAlike(NamedTuple):
    """A package's network with the tensors of one of ours that computes something else.

    Attributes:
        network: ours.
        does: what it does otherwise, as the end of a sentence.
    """

    network: str
    does: str


_BLURS = "blurs before downsampling"
_SHAKES = "scales its branches (ShakeDrop)"

LOOK_ALIKES: dict[str, dict[str, LookAlike]] = {
    TIMM: {
        "resnetaa50": LookAlike("resnet50b", _BLURS),
        "resnetblur18": LookAlike("resnet18", _BLURS),
        "resnetblur50": LookAlike("resnet50b", _BLURS),
    },
    PYTORCHCV: {
        f"shakedropresnet20_{images}": LookAlike("resnet20", _SHAKES)
        for images in ("cifar10", "cifar100", "svhn")
    },
}
"""Package, its name for a network that none of ours computes."""

TWO_FORMS = {
    **{f"resnet{layers}": f"resnet{layers}b" for layers in (50, 101, 152)},
    "mobilenet": "mobilenet_relu6",
}
"""Networks of ours with the same tensors that compute something else: the stride, the activation."""

# Published files end in a hash; pytorchcv puts the error in front of it.
_PUBLISHED = re.compile(r"(?P<name>\w+?)(-\d{4})?-[0-9a-f]{8,}")


def reference_in(file_name: str, package: str) -> str | None:
    """Return the package's network that a published file says it is of, such as ``seresnet50b``.

    ``None`` where the file does not look published, or its name is not known: users name files as they like.
    """
    published = _PUBLISHED.fullmatch(file_name.rsplit(".", maxsplit=1)[0])
    if published is None:
        return None
    name = published["name"]
    # timm writes the recipe behind the network's name: resnet50_a1_0-14fe96d1.pth.
    known = (*KNOWN.get(package, ()), *LOOK_ALIKES.get(package, ()))
    return next((each for each in known if name == each or name.startswith(f"{each}_")), None)
