"""The key maps reach every tensor; that the scores are then the same is tests/networks/test_mobile.py's."""

import pytest
import torch

from senet.networks import create_network
from senet.weights.keymaps.mobile import from_pytorchcv, from_timm
from tests.references import import_timm, pytorchcv_model


@pytest.mark.parametrize(
    ("name", "theirs", "key_map"),
    [
        ("mobilenet_relu6", lambda: import_timm().create_model("mobilenetv1_100"), from_timm),
        ("mobilenet", lambda: pytorchcv_model("mobilenet_w1"), from_pytorchcv),
        ("shufflenet_g3", lambda: pytorchcv_model("shufflenet_g3_w1"), from_pytorchcv),
    ],
)
def test_every_tensor_has_its_counterpart(name, theirs, key_map):
    with torch.device("meta"):
        ours, theirs = create_network(name).state_dict(), theirs().state_dict()
    assert {key_map(key): value.shape for key, value in theirs.items()} == {
        key: value.shape for key, value in ours.items()
    }


def test_the_se_of_timms_depthwise_separable_units():
    assert from_timm("blocks.3.5.se.conv_reduce.weight") == "stage4.5.se.fc1.weight"
    assert from_timm("blocks.0.0.se.conv_expand.bias") == "stage1.0.se.fc2.bias"


@pytest.mark.parametrize("key_map", [from_timm, from_pytorchcv])
@pytest.mark.parametrize(
    "key",
    ["head.weight", "blocks.0.0.conv_dw2.weight", "features.stage1.unit1.dw_conv3.weight", "classifiers"],
)
def test_a_key_that_is_not_theirs_does_not_become_one_of_ours(key_map, key):
    with torch.device("meta"):
        ours = {
            *create_network("se_mobilenet").state_dict(),
            *create_network("se_shufflenet_g3").state_dict(),
        }
    assert key_map(key) is not None
    assert key_map(key) not in ours
