"""From a spec to a network."""

from __future__ import annotations

from senet.blocks.initialise import initialise
from senet.networks.googlenet import googlenet_layers
from senet.networks.network import Network
from senet.networks.resnet import resnet_layers
from senet.networks.specs import GoogLeNetSpec, NetworkSpec, ResNetSpec, VGGSpec
from senet.networks.vgg import vgg_layers


def build_network(spec: NetworkSpec) -> Network:
    """Build the network a spec describes, with fresh weights.

    Raises:
        SenetError: the SE reduction is larger than the channels at a site.
    """
    if isinstance(spec, ResNetSpec):
        layers = resnet_layers(spec)
    elif isinstance(spec, VGGSpec):
        layers = vgg_layers(spec)
    elif isinstance(spec, GoogLeNetSpec):
        layers = googlenet_layers(spec)
    else:
        raise TypeError(f"There is no assembly for a {type(spec).__name__}.")
    network = Network(spec, layers)
    initialise(network)
    return network
