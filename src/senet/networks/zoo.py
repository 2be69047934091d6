"""The one table from name to spec. Imports torch only when a network is built.

Forms chosen where the field has several:

* ``resnet50``, ``101``, ``152`` are the paper's: stride 2 in the first 1x1 convolution, max pool
  without padding (released prototxt files). ``resnet50b``, ``101b``, ``152b`` stride in the 3x3 and
  pad the pool: torchvision's and timm's ResNets, whose weights load directly.
* ``resnet18`` and ``resnet34``, which the authors released no files of, take torchvision's form.
* ``resnext*`` stride in the 3x3 and pool without padding, as released.
* ``senet154`` is the released file's; ``resnext154_64x4d`` is the same without SE.
* ``vgg*_bn`` keep the convolutions' biases beside the BatchNorm, as torchvision does.
* ``googlenet`` is torchvision's: BatchNorm, 3x3 in place of 5x5, no auxiliary classifiers.
* ``bn_inception`` is that of the released SE-BN-Inception, without convolution biases; ``inception_v3`` is
  torchvision's without the auxiliary classifier.
* ``inception_resnet_v2`` is TF-slim's, of which weights were released; ``inception_resnet_v2_article`` is
  the one in the article's figures. Neither has the GFLOPs that the paper prints.
* ``mobilenet`` has the article's ReLU; ``mobilenet_relu6`` has the ReLU that ends at 6, with which timm's
  weights were trained.
* ``resnet8`` to ``resnet110`` are the 6n+2 CIFAR networks with post-activation units and projection
  shortcuts. Their stages have 16, 32 and 64 channels, so the paper's reduction of 16 leaves hidden
  layers of 1, 2 and 4 units. Their default SE therefore has ``min_hidden=1``, which keeps the paper's
  widths; elsewhere a hidden layer has at least 4. ``resnet164`` is the same with bottlenecks (9n+2).
* ``preresnet110``, ``preresnet164`` and ``wrn16_8`` have pre-activation units: the ResNet-110, ResNet-164
  and WRN-16-8 of the paper's Tables 4 and 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from senet.blocks.se_config import SEConfig
from senet.checks import require_type, true_or_false
from senet.errors import SenetError, nearest
from senet.networks.inception_resnet_spec import inception_resnet_networks
from senet.networks.inception_spec import inception_networks
from senet.networks.mobile_spec import mobile_networks
from senet.networks.preresnet_spec import preresnet_networks
from senet.networks.shake_spec import shake_networks
from senet.networks.specs import Bottleneck, NetworkSpec, ResNetSpec, VGGSpec

if TYPE_CHECKING:
    from senet.networks.network import Network

_BASIC_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_RESNET_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_VGG_DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_BOTTLENECK_OUTPUTS = (256, 512, 1024, 2048)
_RESNET_WIDTHS = (64, 128, 256, 512)
_RESNEXT_WIDTHS = (128, 256, 512, 1024)
_WIDE_WIDTHS = (256, 512, 1024, 2048)


def _imagenet_networks() -> Iterator[NetworkSpec]:
    for layers, depths in _BASIC_DEPTHS.items():
        yield ResNetSpec(name=f"resnet{layers}", depths=depths, outputs=_RESNET_WIDTHS)
    for layers, depths in _RESNET_DEPTHS.items():
        yield ResNetSpec(
            name=f"resnet{layers}",
            depths=depths,
            outputs=_BOTTLENECK_OUTPUTS,
            bottleneck=Bottleneck(widths=_RESNET_WIDTHS, stride_in="1x1"),
            pool="ceil",
        )
        yield ResNetSpec(
            name=f"resnet{layers}b",
            depths=depths,
            outputs=_BOTTLENECK_OUTPUTS,
            bottleneck=Bottleneck(widths=_RESNET_WIDTHS, stride_in="3x3"),
            pool="padded",
        )
    for layers in (50, 101):
        yield ResNetSpec(
            name=f"resnext{layers}_32x4d",
            depths=_RESNET_DEPTHS[layers],
            outputs=_BOTTLENECK_OUTPUTS,
            bottleneck=Bottleneck(widths=_RESNEXT_WIDTHS, groups=32, stride_in="3x3"),
            pool="ceil",
        )
    yield ResNetSpec(
        name="resnext101_64x4d",
        depths=_RESNET_DEPTHS[101],
        outputs=_BOTTLENECK_OUTPUTS,
        bottleneck=Bottleneck(widths=_WIDE_WIDTHS, groups=64, stride_in="3x3"),
        pool="ceil",
    )
    yield ResNetSpec(
        name="resnext154_64x4d",
        se_name="senet154",
        depths=_RESNET_DEPTHS[152],
        outputs=_BOTTLENECK_OUTPUTS,
        bottleneck=Bottleneck(widths=_WIDE_WIDTHS, groups=64, stride_in="3x3", halved=True, projection="3x3"),
        stem="3x3x3",
        stem_channels=128,
        pool="ceil",
        dropout=0.2,
    )
    for layers, convolutions in _VGG_DEPTHS.items():
        yield VGGSpec(name=f"vgg{layers}_bn", depths=convolutions)


def _cifar_networks() -> Iterator[NetworkSpec]:
    for layers in (8, 20, 32, 56, 110):
        yield ResNetSpec(
            name=f"resnet{layers}",
            input_size=32,
            num_classes=10,
            depths=((layers - 2) // 6,) * 3,
            outputs=(16, 32, 64),
            stem="3x3",
            stem_channels=16,
            pool=None,
            default_se=SEConfig(min_hidden=1),
        )
    yield ResNetSpec(
        name="resnet164",
        input_size=32,
        num_classes=10,
        depths=(18, 18, 18),
        outputs=(64, 128, 256),
        bottleneck=Bottleneck(widths=(16, 32, 64), stride_in="3x3"),
        stem="3x3",
        stem_channels=16,
        pool=None,
        default_se=SEConfig(min_hidden=1),
    )


_SPECS = (
    *_imagenet_networks(),
    *inception_networks(),
    *inception_resnet_networks(),
    *_cifar_networks(),
    *preresnet_networks(),
    *shake_networks(),
    *mobile_networks(),
)
_PLAIN = {spec.name: spec for spec in _SPECS}
_TWINS = {
    name: replace(spec, se=spec.default_se) for spec in _SPECS for name in (spec.se_name, f"se_{spec.name}")
}


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that match a shell pattern such as ``"se_resnet*"``, twins behind their networks."""
    require_type("pattern", pattern, str, "a pattern of names such as 'se_resnet*'")
    names = [name for spec in _SPECS for name in (spec.name, spec.se_name)]
    return [name for name in names if fnmatchcase(name, pattern)]


def network_spec(name: str) -> NetworkSpec:
    """Return the spec of a plain network or of its twin with the default SE.

    Raises:
        SenetError: there is no such network.
    """
    spec = _PLAIN.get(name) or _TWINS.get(name)
    if spec is None and ":" in name:
        raise SenetError(
            f"{name!r} is a network of another package: build it there, or train it by name; "
            "what 'senet insert' wrote is loaded after senet.squeeze_excite, as the command prints."
        )
    if spec is None:
        raise SenetError(
            f"There is no network called {name!r}.{nearest(name, list_models())} `senet.list_models()` "
            "lists them all."
        )
    return spec


def plain_name(name: str) -> str:
    """Return the name of the network without SE: ``"resnet50"`` for itself and for ``"se_resnet50"``.

    Raises:
        SenetError: there is no such network.
    """
    return network_spec(name).name


def twin_name(name: str) -> str:
    """Return the name of the network with SE: ``"se_resnet50"`` for itself and for ``"resnet50"``.

    Raises:
        SenetError: there is no such network.
    """
    return network_spec(name).se_name


def default_se(name: str) -> SEConfig:
    """Return the SE that the twin of ``name`` has; apply changes to it with `dataclasses.replace`.

    Raises:
        SenetError: there is no such network.
    """
    return network_spec(name).default_se


def input_size(name: str) -> int:
    """Return the side in pixels of the images the network was designed for: 224 or 32.

    Raises:
        SenetError: there is no such network.
    """
    return network_spec(name).input_size


def create_network(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    se: SEConfig | Mapping[str, Any] | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
) -> Network:
    """Build a network by name, with fresh weights.

    Build it under ``torch.device("meta")`` to have the shapes without the memory.

    Args:
        name: one of `list_models`: ``"resnet50"``, or ``"se_resnet50"`` for its twin with the
            default SE of its family.
        num_classes: outputs; by default those of the data set the network was designed for,
            1000 or 10. With 0 the network has no classifier and puts out its pooled features.
        in_channels: of the images.
        se: the SE of the twin, in place of the default; with a plain name too.
        features_only: build a `FeatureNetwork`, whose output is the list of its maps at several
            resolutions and whose ``feature_info`` tells their channels and strides.
        out_indices: which of these maps, counted from the finest; by default all.

    Raises:
        SenetError: no such network, a number that is not allowed, an SE this network cannot have, or
            choices that exclude each other.
    """
    from senet.networks.build import build_features, build_network

    require_type("name", name, str, "one of senet.list_models()")
    true_or_false("features_only", features_only)
    spec = network_spec(name)
    se = None if se is None else SEConfig.of(se, spec.se or SEConfig())
    if features_only and num_classes is not None:
        raise SenetError(
            f"num_classes {num_classes} has no effect with features_only: leave one of them out."
        )
    if out_indices is not None:
        require_type("out_indices", out_indices, Sequence, "a list of whole numbers")
    if out_indices is not None and not features_only:
        raise SenetError(
            f"out_indices {list(out_indices)} has no effect without features_only=True: add "
            "it, or leave "
            "out_indices out."
        )
    spec = replace(
        spec,
        num_classes=spec.num_classes if num_classes is None else num_classes,
        in_channels=in_channels,
        se=spec.se if se is None else se,
    )
    return build_features(spec, out_indices) if features_only else build_network(spec)
