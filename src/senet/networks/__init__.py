"""A frozen spec for each network, its assembly, and the table of names."""

from senet.networks.specs import Bottleneck, GoogLeNetSpec, NetworkSpec, ResNetSpec, VGGSpec
from senet.networks.zoo import (
    create_network,
    default_se,
    input_size,
    list_models,
    network_spec,
    plain_name,
    twin_name,
)

__all__ = [
    "Bottleneck",
    "GoogLeNetSpec",
    "NetworkSpec",
    "ResNetSpec",
    "VGGSpec",
    "create_network",
    "default_se",
    "input_size",
    "list_models",
    "network_spec",
    "plain_name",
    "twin_name",
]
