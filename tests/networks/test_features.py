"""Which features there are; `test_contract.py` checks their values on every network."""

import pytest
import torch

from senet.errors import SenetError
from senet.networks import create_network
from tests.references import import_timm


def features(name, **choices):
    with torch.device("meta"):
        return create_network(name, features_only=True, **choices)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("se_resnet50", "legacy_seresnet50"),
        ("resnet18", "resnet18"),
        ("senet154", "legacy_senet154"),
        ("vgg16_bn", "vgg16_bn"),
        ("resnext50_32x4d", "resnext50_32x4d"),
    ],
)
def test_channels_and_strides_are_timms(name, theirs):
    with torch.device("meta"):
        expected = import_timm().create_model(theirs, features_only=True).feature_info
    ours = features(name).feature_info
    assert [each.channels for each in ours] == expected.channels()
    assert [each.stride for each in ours] == expected.reduction()


def test_indices_choose_and_layers_behind_the_last_are_left_out():
    model = features("resnet18", out_indices=(1, -2))
    assert [(each.name, each.channels, each.stride) for each in model.feature_info] == [
        ("layer1", 64, 4),
        ("layer3", 256, 16),
    ]
    assert "layer4" not in dict(model.named_children())
    maps = model(torch.empty(1, 3, 64, 96, device="meta"))
    assert [tuple(each.shape) for each in maps] == [(1, 64, 16, 24), (1, 256, 4, 6)]


@pytest.mark.parametrize("indices", [(), (5,), (-6,), (0, 9)])
def test_indices_that_do_not_exist_are_refused(indices):
    with pytest.raises(
        SenetError,
        match="out_indices must be among the features of resnet18, 0: stride 2, 1: stride 4, "
        "2: stride 8, 3: stride 16, 4: stride 32",
    ):
        features("resnet18", out_indices=indices)


def test_choices_without_effect_are_refused():
    with pytest.raises(SenetError, match="num_classes 5 has no effect with features_only"):
        features("resnet18", num_classes=5)
    with pytest.raises(
        SenetError, match=r"out_indices \[1\] has .*without features_only=True: add .*leave out_indices out\."
    ):
        create_network("resnet18", out_indices=(1,))


def test_images_it_cannot_take_are_refused():
    with pytest.raises(SenetError, match="too small for resnet50"):
        features("resnet50")(torch.empty(1, 3, 2, 2, device="meta"))
