"""From a spec to a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from senet.blocks.initialise import UnseenDrawsSkipped, initialise
from senet.errors import SenetError
from senet.networks.features import FeatureNetwork
from senet.networks.inception import inception_layers
from senet.networks.inception_resnet_spec import InceptionResNetSpec
from senet.networks.inception_spec import BNInceptionSpec, GoogLeNetSpec, InceptionV3Spec
from senet.networks.mobile import mobilenet_layers, shufflenet_layers
from senet.networks.mobile_spec import MobileNetSpec, ShuffleNetSpec
from senet.networks.network import Network
from senet.networks.preresnet import preresnet_layers
from senet.networks.preresnet_spec import PreResNetSpec
from senet.networks.resnet import resnet_layers
from senet.networks.shake import shake_layers
from senet.networks.shake_spec import ShakeSpec
from senet.networks.specs import NetworkSpec, ResNetSpec, VGGSpec
from senet.networks.vgg import vgg_layers

_ASSEMBLIES: dict[type[NetworkSpec], Callable[[Any], dict[str, nn.Module]]] = {
    BNInceptionSpec: inception_layers,
    GoogLeNetSpec: inception_layers,
    InceptionResNetSpec: inception_layers,
    InceptionV3Spec: inception_layers,
    MobileNetSpec: mobilenet_layers,
    PreResNetSpec: preresnet_layers,
    ResNetSpec: resnet_layers,
    ShakeSpec: shake_layers,
    ShuffleNetSpec: shufflenet_layers,
    VGGSpec: vgg_layers,
}


def build_network(spec: NetworkSpec) -> Network:
    """Build the network a spec describes, with fresh weights.

    Raises:
        SenetError: the SE reduction is larger than the channels at a site.
    """
    return Network(spec, _layers(spec))


def build_features(spec: NetworkSpec, out_indices: Sequence[int] | None = None) -> FeatureNetwork:
    """Build the same without its head: a network that puts out its maps at several resolutions.

    Raises:
        SenetError: as `build_network`, or there is no feature of such an index.
    """
    return FeatureNetwork(spec, _layers(spec), out_indices)


def _layers(spec: NetworkSpec) -> dict[str, nn.Module]:
    """Return the layers of ``spec`` by name, in the order in which they run, with their first values."""
    assembly = _ASSEMBLIES.get(type(spec))
    if assembly is None:
        raise TypeError(f"There is no assembly for a {type(spec).__name__}.")
    try:
        with UnseenDrawsSkipped():
            layers = assembly(spec)
            for layer in layers.values():
                initialise(layer)
    except RuntimeError as error:
        if "allocate" not in str(error) and "overflow" not in str(error):
            raise
        raise SenetError(
            f"{spec.name} with {spec.num_classes:,} classes and {spec.in_channels:,} input channels is "
            "larger than this machine's memory: choose smaller numbers."
        ) from error
    return layers
