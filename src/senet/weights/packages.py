"""The one table that tells whose checkpoint it is by the names of its layers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

from senet.networks.inception_resnet_spec import InceptionResNetSpec
from senet.networks.inception_spec import BNInceptionSpec, GoogLeNetSpec, InceptionV3Spec
from senet.networks.mobile_spec import MobileNetSpec, ShuffleNetSpec
from senet.networks.preresnet_spec import PreResNetSpec
from senet.networks.shake_spec import ShakeSpec
from senet.networks.specs import NetworkSpec, ResNetSpec, VGGSpec
from senet.weights.checkpoint import Checkpoint
from senet.weights.keymaps import cifar, inception, mobile, resnet, vgg
from senet.weights.known import MOSKOMULE, PRETRAINEDMODELS, PYTORCHCV, SENET, TIMM, TORCHVISION
from senet.weights.naming import KeyMap, Naming

_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_PYTORCHCV_CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
_CAFFE: dict[str, Any] = {"channel_order": "BGR", "scale": "0..255", "std": (1.0, 1.0, 1.0)}


def _strides_in(place: Literal["1x1", "3x3"]) -> Callable[[NetworkSpec], bool]:
    """Return whether a ResNet strides in ``place``; ResNeXts stride in the 3x3 in all packages."""

    def holds(spec: NetworkSpec) -> bool:
        inside = spec.bottleneck if isinstance(spec, ResNetSpec) else None
        return inside is None or inside.groups > 1 or inside.stride_in == place

    return holds


def _has_relu6(spec: NetworkSpec) -> bool:
    return isinstance(spec, MobileNetSpec) and spec.activation == "relu6"


def _has_relu(spec: NetworkSpec) -> bool:
    return isinstance(spec, MobileNetSpec) and spec.activation == "relu"


def _always(key_map: KeyMap) -> Callable[[NetworkSpec], KeyMap]:
    """Return the choice of a key map that is the same for all networks of a family."""
    return lambda spec: key_map


_IN_3X3: dict[str, Any] = {"form": _strides_in("3x3"), "form_text": "with the stride in the 3x3 convolution"}
_IN_1X1: dict[str, Any] = {
    "form": _strides_in("1x1"),
    "form_text": "with the stride in the first 1x1 convolution",
}
_RELU_BEFORE_SE = (
    "timm's legacy_seresnet18 and 34 have a ReLU between the last BatchNorm and SE, unlike any senet "
    "network: give se_resnet18 or se_resnet34 the plain weights of torchvision or timm instead; their "
    "gates then start at identity"
)

NAMINGS: tuple[Naming, ...] = (
    Naming(
        packages=(TIMM,),
        specs=(ResNetSpec,),
        has=(r"^layer0\.conv1\.weight", r"^layer1\.0\.se_module\.fc1\.weight"),
        lacks=(r"^layer1\.0\.conv3\.",),
        key_map=_always(resnet.from_pretrainedmodels),
        refusal=_RELU_BEFORE_SE,
    ),
    Naming(
        packages=(PRETRAINEDMODELS, TIMM),
        specs=(ResNetSpec,),
        has=(r"^layer0\.conv1\.weight", r"^layer1\.0\.conv3\.weight"),
        key_map=_always(resnet.from_pretrainedmodels),
        options={"pool": "ceil"},
        **_IN_1X1,
    ),
    Naming(
        packages=(PRETRAINEDMODELS,),
        specs=(ResNetSpec,),
        has=(r"^conv1\.weight", r"^layer1\.0\.conv1\.weight", r"^last_linear\.weight"),
        key_map=_always(resnet.from_pretrainedmodels),
        options={"pool": "padded"},
        **_IN_3X3,
    ),
    Naming(
        packages=(PRETRAINEDMODELS,),
        specs=(ResNetSpec,),
        has=(r"^conv1\.weight", r"^layer1\.0\.conv3\.weight", r"^last_linear\.weight"),
        key_map=_always(resnet.from_pretrainedmodels),
        options={"pool": "ceil"},
        preprocess=_CAFFE | {"mean": (102.9801, 115.9465, 122.7717)},
        **_IN_1X1,
    ),
    Naming(
        packages=(MOSKOMULE,),
        specs=(ResNetSpec,),
        has=(r"^conv1\.weight", r"^layer1\.0\.se\.fc\.0\.weight"),
        key_map=_always(resnet.from_moskomule),
        options={"pool": "padded"},
        **_IN_3X3,
    ),
    Naming(
        packages=(TIMM,),
        specs=(ResNetSpec,),
        has=(r"^conv1\.weight", r"^layer1\.0\.se\.fc1\.weight 4$"),
        key_map=_always(resnet.from_timm),
        options={"pool": "padded"},
        **_IN_3X3,
    ),
    Naming(
        packages=(TIMM,),
        specs=(ResNetSpec,),
        has=(r"^conv1\.6\.weight", r"^layer1\.0\.conv3\.weight"),
        key_map=_always(resnet.from_timm_deep),
        options={"pool": "padded"},
        **_IN_3X3,
    ),
    Naming(
        packages=(TORCHVISION, TIMM),
        specs=(ResNetSpec,),
        has=(r"^conv1\.weight", r"^layer1\.0\.conv1\.weight"),
        lacks=(r"^last_linear\.", r"^layer1\.0\.se\."),
        key_map=_always(resnet.from_torchvision),
        options={"pool": "padded"},
        **_IN_3X3,
    ),
    Naming(
        packages=(PYTORCHCV,),
        specs=(ResNetSpec,),
        has=(r"^features\.init_block\.conv1?\.conv\.weight", r"^features\.stage1\.unit1\.body\.conv1\."),
        key_map=_always(resnet.from_pytorchcv),
        options={"pool": "padded"},
    ),
    Naming(
        packages=(PYTORCHCV,),
        specs=(ResNetSpec,),
        has=(r"^features\.init_block\.conv\.weight", r"^features\.stage1\.unit1\.body\.conv1\."),
        key_map=_always(resnet.from_pytorchcv),
        preprocess=_PYTORCHCV_CIFAR,
    ),
    Naming(
        packages=(TORCHVISION,),
        specs=(VGGSpec,),
        has=(r"^features\.0\.weight", r"^classifier\.0\.weight"),
        key_map=vgg.from_torchvision,
    ),
    Naming(
        packages=(PRETRAINEDMODELS,),
        specs=(VGGSpec,),
        has=(r"^_features\.0\.weight", r"^linear0\.weight"),
        key_map=vgg.from_pretrainedmodels,
    ),
    Naming(
        packages=(TIMM,),
        specs=(VGGSpec,),
        has=(r"^features\.0\.weight", r"^pre_logits\.fc1\.weight"),
        key_map=vgg.from_timm,
    ),
    Naming(
        packages=(PYTORCHCV,),
        specs=(VGGSpec,),
        has=(r"^features\.stage1\.unit1\.conv\.weight", r"^output\.fc1\.fc\.weight"),
        key_map=_always(vgg.from_pytorchcv),
    ),
    Naming(
        packages=(TORCHVISION,),
        specs=(GoogLeNetSpec,),
        has=(r"^inception3a\.branch1\.conv\.weight",),
        lacks=(r"^inception3a\.se\.",),
        key_map=_always(inception.from_torchvision),
        preprocess=_HALF,
    ),
    Naming(
        packages=(TORCHVISION, TIMM),
        specs=(InceptionV3Spec,),
        has=(r"^Mixed_5b\.branch1x1\.conv\.weight",),
        lacks=(r"^Mixed_5b\.se\.", r"^last_linear\."),
        key_map=_always(inception.from_torchvision),
        preprocess=_HALF | {"resize": 342},
    ),
    Naming(
        packages=(PRETRAINEDMODELS,),
        specs=(InceptionV3Spec,),
        has=(r"^Mixed_5b\.branch1x1\.conv\.weight", r"^last_linear\.weight"),
        key_map=_always(lambda key: inception.from_torchvision(re.sub(r"^last_linear\.", "fc.", key))),
        preprocess=_HALF | {"resize": 341},
    ),
    Naming(
        packages=(PYTORCHCV,),
        specs=(InceptionV3Spec,),
        has=(r"^features\.stage1\.unit1\.branches\.branch2\.conv_list\.conv1\.",),
        key_map=_always(inception.from_pytorchcv_inception_v3),
    ),
    Naming(
        packages=(PYTORCHCV,),
        specs=(BNInceptionSpec,),
        has=(r"^features\.init_block\.conv2\.conv1\.conv\.weight",),
        key_map=_always(inception.from_pytorchcv_bn_inception),
        biased=True,
    ),
    Naming(
        packages=(PRETRAINEDMODELS,),
        specs=(BNInceptionSpec,),
        has=(r"^conv1_7x7_s2\.weight",),
        key_map=_always(inception.from_pretrainedmodels_bn_inception),
        biased=True,
        preprocess=_CAFFE | {"mean": (104.0, 117.0, 128.0)},
    ),
    Naming(
        packages=(TIMM,),
        specs=(InceptionResNetSpec,),
        has=(r"^mixed_5b\.branch0\.conv\.weight", r"^classif\.weight"),
        key_map=_always(inception.from_timm),
        preprocess=_HALF,
    ),
    Naming(
        packages=(PRETRAINEDMODELS,),
        specs=(InceptionResNetSpec,),
        has=(r"^mixed_5b\.branch0\.conv\.weight", r"^last_linear\.weight"),
        key_map=_always(inception.from_pretrainedmodels_inception_resnet_v2),
        preprocess=_HALF | {"resize": 341},
        background=True,
    ),
    Naming(
        packages=(PYTORCHCV,),
        specs=(InceptionResNetSpec,),
        has=(r"^features\.init_block\.block\.branches\.",),
        key_map=_always(inception.from_pytorchcv_inception_resnet_v2),
    ),
    Naming(
        packages=(TIMM,),
        specs=(MobileNetSpec,),
        has=(r"^conv_stem\.weight", r"^blocks\.0\.0\.conv_dw\.weight"),
        key_map=_always(mobile.from_timm),
        form=_has_relu6,
        form_text="with ReLU6",
        preprocess=_HALF,
    ),
    Naming(
        packages=(PYTORCHCV,),
        specs=(MobileNetSpec,),
        has=(r"^features\.stage1\.unit1\.dw_conv\.conv\.weight",),
        key_map=_always(mobile.from_pytorchcv),
        form=_has_relu,
        form_text="with ReLU",
    ),
    Naming(
        packages=(PYTORCHCV,),
        specs=(PreResNetSpec,),
        has=(r"^features\.post_activ\.bn\.", r"^features\.stage1\.unit1\.body\."),
        key_map=_always(cifar.from_pytorchcv_preresnet),
        options={"norm": "end"},
        preprocess=_PYTORCHCV_CIFAR,
    ),
    Naming(
        packages=(PYTORCHCV,),
        specs=(PreResNetSpec,),
        has=(r"^features\.init_block\.bn\.", r"^features\.stage1\.unit1\.se\."),
        key_map=_always(cifar.from_pytorchcv_preresnet),
        options={"norm": "stem"},
        preprocess=_PYTORCHCV_CIFAR,
    ),
    Naming(
        packages=(PYTORCHCV,),
        specs=(ShakeSpec,),
        has=(r"^features\.stage1\.unit1\.branch1\.conv1\.conv\.weight",),
        key_map=_always(cifar.from_pytorchcv_shakeshake),
        options={"activation": "post"},
        preprocess=_PYTORCHCV_CIFAR,
    ),
    Naming(
        packages=(PYTORCHCV,),
        specs=(ShuffleNetSpec,),
        has=(r"^features\.stage1\.unit1\.compress_conv1\.weight",),
        key_map=_always(mobile.from_pytorchcv),
    ),
)

OWN = Naming(packages=(SENET,), specs=(NetworkSpec,), has=(), key_map=_always(lambda key: key))
"""Of state dicts that senet's networks give."""


def namings_of(checkpoint: Checkpoint) -> tuple[Naming, ...]:
    """Return the namings that a checkpoint's keys are of; none where they are of no other package."""
    if checkpoint.own:
        return ()
    lines = "\n".join(f"{key} {tensor.dim()}" for key, tensor in checkpoint.state.items())
    return tuple(naming for naming in NAMINGS if naming.recognises(lines))


def naming_for(namings: tuple[Naming, ...], spec: NetworkSpec) -> Naming:
    """Return the one of ``namings`` for a network, best one of networks that compute what it computes."""
    of_family = [naming for naming in namings if isinstance(spec, naming.specs)]
    return next((naming for naming in of_family if naming.form(spec)), (*of_family, OWN)[0])
