"""The one table of released checkpoints: where they are, what belongs to them, how well they do.

Every published file is one of ImageNet-1k with its 1000 classes in the order of WordNet ids. Errors are those
that the publishers state, on ImageNet's validation images. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from senet.checks import require_type
from senet.errors import SenetError, nearest
from senet.networks.preprocess import WORDNET_ORDER, Preprocess
from senet.networks.zoo import network_spec, plain_name
from senet.weights.known import KNOWN, MOSKOMULE, PRETRAINEDMODELS, TIMM, TORCHVISION
from senet.weights.released_timm import timm_releases

PACKAGE_TAGS = ("cadene", "timm", "torchvision", "moskomule")
"""Alone, each means the first checkpoint of its package in this table that is of the network asked for."""

_HALF = (0.5, 0.5, 0.5)
_IMAGENET = Preprocess(labels=WORDNET_ORDER)
_CROP_OF_232 = Preprocess(resize=232, labels=WORDNET_ORDER)

# File, and top-1 and top-5 error in percent; torchvision's newer recipe first, which is its default.
_TORCHVISION = {
    "resnet18.IMAGENET1K_V1": ("resnet18-f37072fd.pth", 30.242, 10.922, _IMAGENET),
    "resnet34.IMAGENET1K_V1": ("resnet34-b627a593.pth", 26.686, 8.58, _IMAGENET),
    "resnet50.IMAGENET1K_V2": ("resnet50-11ad3fa6.pth", 19.142, 4.566, _CROP_OF_232),
    "resnet50.IMAGENET1K_V1": ("resnet50-0676ba61.pth", 23.87, 7.138, _IMAGENET),
    "resnet101.IMAGENET1K_V2": ("resnet101-cd907fc2.pth", 18.114, 4.22, _CROP_OF_232),
    "resnet101.IMAGENET1K_V1": ("resnet101-63fe2227.pth", 22.626, 6.454, _IMAGENET),
    "resnet152.IMAGENET1K_V2": ("resnet152-f82ba261.pth", 17.716, 3.998, _CROP_OF_232),
    "resnet152.IMAGENET1K_V1": ("resnet152-394f9c45.pth", 21.688, 5.954, _IMAGENET),
    "resnext50_32x4d.IMAGENET1K_V2": ("resnext50_32x4d-1a0047aa.pth", 18.802, 4.66, _CROP_OF_232),
    "resnext50_32x4d.IMAGENET1K_V1": ("resnext50_32x4d-7cdf4587.pth", 22.382, 6.302, _IMAGENET),
    "resnext101_64x4d.IMAGENET1K_V1": ("resnext101_64x4d-173b62eb.pth", 16.754, 3.546, _CROP_OF_232),
    "vgg11_bn.IMAGENET1K_V1": ("vgg11_bn-6002323d.pth", 29.63, 10.19, _IMAGENET),
    "vgg13_bn.IMAGENET1K_V1": ("vgg13_bn-abd245e5.pth", 28.414, 9.626, _IMAGENET),
    "vgg16_bn.IMAGENET1K_V1": ("vgg16_bn-6c64b313.pth", 26.64, 8.484, _IMAGENET),
    "vgg19_bn.IMAGENET1K_V1": ("vgg19_bn-c79401a0.pth", 25.782, 8.158, _IMAGENET),
    # torchvision's networks bring images to these statistics themselves when they have these weights.
    "googlenet.IMAGENET1K_V1": (
        "googlenet-1378be20.pth",
        30.222,
        10.47,
        Preprocess(mean=_HALF, std=_HALF, labels=WORDNET_ORDER),
    ),
    "inception_v3.IMAGENET1K_V1": (
        "inception_v3_google-0cc3c7bd.pth",
        22.706,
        6.55,
        Preprocess(crop=299, resize=342, mean=_HALF, std=_HALF, labels=WORDNET_ORDER),
    ),
}
_CADENE = {
    "se_resnet50": ("se_resnet50-ce0d4300.pth", 22.364, 6.248, _IMAGENET),
    "se_resnet101": ("se_resnet101-7e38fcc6.pth", 21.604, 5.742, _IMAGENET),
    "se_resnet152": ("se_resnet152-d17c99b7.pth", 21.342, 5.626, _IMAGENET),
    "se_resnext50_32x4d": ("se_resnext50_32x4d-a260b3a4.pth", 20.924, 5.566, _IMAGENET),
    "se_resnext101_32x4d": ("se_resnext101_32x4d-3b2fe3d8.pth", 19.764, 4.972, _IMAGENET),
    "senet154": ("senet154-c7b49a05.pth", 18.696, 4.502, _IMAGENET),
    "cafferesnet101": (
        "cafferesnet101-9d633cc0.pth",
        None,
        None,
        Preprocess(
            channel_order="BGR",
            scale="0..255",
            mean=(102.9801, 115.9465, 122.7717),
            std=(1, 1, 1),
            labels=WORDNET_ORDER,
        ),
    ),
    "bninception": (
        "bn_inception-52deb4733.pth",
        None,
        None,
        Preprocess(
            channel_order="BGR", scale="0..255", mean=(104, 117, 128), std=(1, 1, 1), labels=WORDNET_ORDER
        ),
    ),
    "inceptionresnetv2": (
        "inceptionresnetv2-520b38e4.pth",
        None,
        None,
        Preprocess(crop=299, resize=341, mean=_HALF, std=_HALF, labels=WORDNET_ORDER),
    ),
}
# Not on the Hub: timm's legacy networks, at github.com.
_TIMM_LEGACY = {
    "legacy_seresnet50.in1k": ("v0.1-cadene/se_resnet50-ce0d4300.pth", 22.35, 6.268),
    "legacy_seresnet101.in1k": ("v0.1-cadene/se_resnet101-7e38fcc6.pth", 21.63, 5.736),
    "legacy_seresnet152.in1k": ("v0.1-cadene/se_resnet152-d17c99b7.pth", 21.338, 5.63),
    "legacy_seresnext50_32x4d.in1k": ("v0.1-weights/legacy_se_resnext50_32x4d-f3651bad.pth", 20.92, 5.572),
    "legacy_seresnext101_32x4d.in1k": ("v0.1-weights/legacy_se_resnext101_32x4d-37725eac.pth", 19.726, 4.968),
    "legacy_senet154.in1k": ("v0.1-weights/legacy_senet154-e9eb9fe6.pth", 18.68, 4.498),
}
_TORCHVISION_SITE = "https://download.pytorch.org/models/"
_CADENE_SITE = "http://data.lip6.fr/cadene/pretrainedmodels/"
_TIMM_SITE = "https://github.com/rwightman/pytorch-image-models/releases/download/"
_MOSKOMULE_FILE = (
    "https://github.com/moskomule/senet.pytorch/releases/download/archive/seresnet50-60a8950a85b2b.pkl"
)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A published checkpoint.

    Attributes:
        tag: ``package/name``, what `senet.create_model` takes as ``weights``.
        package: that published it.
        network: ours that it is of.
        preprocess: that it was tested with.
        url: of the file, or ``None`` for a repository of the Hugging Face Hub.
        repository: of the Hub.
        hashed: whether the file's name tells the start of its SHA-256.
        top1_error: in percent, where its publisher states it.
        top5_error: in percent, likewise.
    """

    tag: str
    package: str
    network: str
    preprocess: Preprocess
    url: str | None = None
    repository: str = ""
    hashed: bool = True
    top1_error: float | None = None
    top5_error: float | None = None

    @property
    def file_name(self) -> str | None:
        """The name of the published file."""
        return None if self.url is None else PurePosixPath(self.url).name


def _releases() -> Iterator[Release]:
    for name, (file, top1, top5, preprocess) in _CADENE.items():
        yield Release(
            tag=f"cadene/{name}",
            package=PRETRAINEDMODELS,
            network=_network(PRETRAINEDMODELS, name),
            preprocess=preprocess,
            url=_CADENE_SITE + file,
            top1_error=top1,
            top5_error=top5,
        )
    for name, (file, top1, top5, preprocess) in _TORCHVISION.items():
        yield Release(
            tag=f"torchvision/{name}",
            package=TORCHVISION,
            network=_network(TORCHVISION, name),
            preprocess=preprocess,
            url=_TORCHVISION_SITE + file,
            top1_error=top1,
            top5_error=top5,
        )
    for name, preprocess in timm_releases().items():
        yield Release(
            tag=f"timm/{name}",
            package=TIMM,
            network=_network(TIMM, name),
            preprocess=preprocess,
            repository=f"timm/{name}",
        )
    for name, (file, top1, top5) in _TIMM_LEGACY.items():
        yield Release(
            tag=f"timm/{name}",
            package=TIMM,
            network=_network(TIMM, name),
            preprocess=_IMAGENET,
            url=_TIMM_SITE + file,
            top1_error=top1,
            top5_error=top5,
        )
    # Its README states 77.06 % top-1 accuracy; whether its name tells its hash is not known.
    yield Release(
        tag="moskomule/se_resnet50",
        package=MOSKOMULE,
        network=_network(MOSKOMULE, "se_resnet50"),
        preprocess=_IMAGENET,
        url=_MOSKOMULE_FILE,
        hashed=False,
        top1_error=22.94,
    )


def _network(package: str, name: str) -> str:
    network = KNOWN[package][name.split(".", maxsplit=1)[0]]
    assert network is not None, f"{package} has no weights of {name} for senet"
    return network


RELEASES = tuple(_releases())


def list_weights(name: str = "*") -> list[str]:
    """Return the released checkpoints of the networks that match a shell pattern such as ``"se_resnet*"``.

    Each is a value for ``weights`` of `senet.create_model`. Those of a plain network fit its twin too.
    """
    require_type("name", name, str, "a pattern of names such as 'se_resnet*'")
    return [release.tag for release in RELEASES if fnmatchcase(release.network, name)]


def release_of_file(file_name: str) -> Release | None:
    """Return the release that published a file of this name, if one did."""
    return next((release for release in RELEASES if release.file_name == file_name), None)


def release_of_tag(tag: str, name: str) -> Release | None:
    """Return what ``tag`` means for the network ``name``; ``None`` if the table has no such tag.

    A package's name alone means its first checkpoint of the network, and where it has none of the SE
    network, that of the plain one.

    Raises:
        SenetError: the tag belongs to another network, or the package has nothing for this one.
    """
    if tag in PACKAGE_TAGS:
        ours = [release for release in RELEASES if release.tag.startswith(f"{tag}/")]
        for network in (network_spec(name).se_name if plain_name(name) != name else name, plain_name(name)):
            for release in ours:
                if release.network == network:
                    return release
        hint = nearest(name, dict.fromkeys(release.network for release in ours))
        raise SenetError(
            f"{tag} has no released weights of {name}; senet.list_weights() lists what there is.{hint}"
        )
    found = next((release for release in RELEASES if release.tag == tag), None)
    if found is not None and plain_name(found.network) != plain_name(name):
        raise SenetError(f"{tag} has weights of {found.network}, not of {name}: create {found.network!r}.")
    return found
