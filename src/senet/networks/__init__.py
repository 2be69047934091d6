"""A frozen spec for each network, its assembly, and the table of names."""

from senet.networks.inception_resnet_spec import InceptionResNetSpec
from senet.networks.inception_spec import BNInceptionSpec, GoogLeNetSpec, InceptionV3Spec
from senet.networks.mobile_spec import MobileNetSpec, ShuffleNetSpec
from senet.networks.preresnet_spec import PreActivationBottleneck, PreResNetSpec
from senet.networks.shake_spec import ShakeBottleneck, ShakeSpec
from senet.networks.specs import Bottleneck, NetworkSpec, ResNetSpec, VGGSpec
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
    "BNInceptionSpec",
    "Bottleneck",
    "GoogLeNetSpec",
    "InceptionResNetSpec",
    "InceptionV3Spec",
    "MobileNetSpec",
    "NetworkSpec",
    "PreActivationBottleneck",
    "PreResNetSpec",
    "ResNetSpec",
    "ShakeBottleneck",
    "ShakeSpec",
    "ShuffleNetSpec",
    "VGGSpec",
    "create_network",
    "default_se",
    "input_size",
    "list_models",
    "network_spec",
    "plain_name",
    "twin_name",
]
