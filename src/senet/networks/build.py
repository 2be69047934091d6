"""From a spec to a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from senet.blocks.initialise import initialise
from senet.networks.features import FeatureNetwork
from senet.networks.googlenet import googlenet_layers
from senet.networks.network import Network
from senet.networks.resnet import resnet_layers
from senet.networks.specs import GoogLeNetSpec, NetworkSpec, ResNetSpec, VGGSpec
from senet.networks.vgg import vgg_layers

_ASSEMBLIES: dict[type[NetworkSpec], Callable[[Any], dict[str, nn.Module]]] = {
    GoogLeNetSpec: googlenet_layers,
    ResNetSpec: resnet_layers,
    VGGSpec: vgg_layers,
}


def build_network(spec: NetworkSpec) -> Network:
    """Build the network a spec describes, with fresh weights.

    Raises:
        SenetError: the SE reduction is larger than the channels at a site.
    """
    network = Network(spec, _layers(spec))
    initialise(network)
    return network


def build_features(spec: NetworkSpec, out_indices: Sequence[int] | None = None) -> FeatureNetwork:
    """Build the same without its head: a network that puts out its maps at several resolutions.

    Raises:
        SenetError: as `build_network`, or there is no feature of such an index.
    """
    network = FeatureNetwork(spec, _layers(spec), out_indices)
    initialise(network)
    return network


def _layers(spec: NetworkSpec) -> dict[str, nn.Module]:
    """Return the layers of ``spec`` by name, in the order in which they run."""
    assembly = _ASSEMBLIES.get(type(spec))
    if assembly is None:
        raise TypeError(f"There is no assembly for a {type(spec).__name__}.")
    return assembly(spec)
