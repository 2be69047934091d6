"""The key maps reach every tensor; that the scores are then the same is tests/networks' to show."""

import dataclasses

import pytest
import torch

from senet.networks import create_network, network_spec
from senet.networks.build import build_network
from senet.weights.keymaps.cifar import from_pytorchcv_preresnet, from_pytorchcv_shakeshake
from senet.weights.keymaps.resnet import from_pytorchcv
from tests.references import pytorchcv_model

PREACTIVATION = from_pytorchcv_preresnet
SHAKE = from_pytorchcv_shakeshake


@pytest.mark.parametrize(
    ("theirs", "name", "changes", "key_map"),
    [
        ("seresnet164bn_cifar10", "se_resnet164", {}, from_pytorchcv),
        ("preresnet110_cifar100", "preresnet110", {"num_classes": 100}, PREACTIVATION),
        ("sepreresnet164bn_cifar10", "se_preresnet164", {"norm": "stem"}, PREACTIVATION),
        ("wrn16_10_cifar10", "wrn16_8", {"outputs": (160, 320, 640)}, PREACTIVATION),
        (
            "shakeshakeresnet26_2x32d_cifar10",
            "shakeshake26_2x96d",
            {"outputs": (32, 64, 128), "activation": "post"},
            SHAKE,
        ),
    ],
)
def test_every_tensor_has_its_counterpart(theirs, name, changes, key_map):
    with torch.device("meta"):
        ours = build_network(dataclasses.replace(network_spec(name), **changes)).state_dict()
        state = pytorchcv_model(theirs).state_dict()
    renamed = {key_map(key): tuple(value.shape) for key, value in state.items()}
    assert len(renamed) == len(state)
    # Their SE has 1x1 convolutions in place of our matrices.
    assert {key: shape[:2] if ".se." in key else shape for key, shape in renamed.items()} == {
        key: tuple(value.shape) for key, value in ours.items()
    }


def test_weights_of_pytorchcvs_pre_activation_networks_with_se_do_not_fit_the_twin_by_accident():
    with torch.device("meta"):
        ours = create_network("se_preresnet110").state_dict()
        state = pytorchcv_model("sepreresnet110_cifar10").state_dict()
    differing = {
        from_pytorchcv_preresnet(key)
        for key, value in state.items()
        if ".se." not in key and ours[from_pytorchcv_preresnet(key)].shape != value.shape
    }
    assert differing == {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"}


@pytest.fixture(scope="module")
def our_keys():
    with torch.device("meta"):
        names = ("se_preresnet164", "se_shakeshake26_2x96d")
        return {key for name in names for key in create_network(name).state_dict()}


@pytest.mark.parametrize("key_map", [from_pytorchcv_preresnet, from_pytorchcv_shakeshake])
@pytest.mark.parametrize(
    "key",
    [
        "conv3.weight",
        "features.init_block.conv1.weight",
        "features.stage1.unit1.body.convs.weight",
        "features.stage1.unit1.branch3.conv1.conv.weight",
        "features.stage1.unit1.identity.weight",
        "head",
    ],
)
def test_a_key_that_is_not_theirs_does_not_become_one_of_ours(key_map, key, our_keys):
    assert key_map(key) is not None
    assert key_map(key) not in our_keys
