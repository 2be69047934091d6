"""ResNets against torchvision's, timm's and pytorchcv's with the same random weights."""

import dataclasses
import re

import pytest
import torch

from senet.networks import network_spec
from senet.networks.build import build_network
from tests.references import (
    converted,
    import_timm,
    import_torchvision,
    pytorchcv_model,
    randomise,
    relative_difference,
)


def same_name(name):
    return name


def from_timm(name):
    name = name.removeprefix("layer0.").replace("se_module", "se")
    return re.sub("^last_linear", "fc", name)


def from_pytorchcv(name):
    name = re.sub(r"^features\.init_block\.(conv|bn)", r"\g<1>1", name)
    name = re.sub(r"^features\.stage(\d)\.unit(\d+)\.", lambda m: f"layer{m[1]}.{int(m[2]) - 1}.", name)
    name = re.sub(r"body\.conv(\d)\.(conv|bn)", r"\2\1", name)
    name = name.replace("identity_conv.conv", "downsample.0").replace("identity_conv.bn", "downsample.1")
    return re.sub("^output", "fc", re.sub(r"se\.conv(\d)", r"se.fc\1", name))


def assert_same_scores(ours, theirs, rename, side):
    randomise(theirs)
    ours.load_state_dict(converted(theirs.state_dict(), ours, rename))
    ours.double().eval()
    theirs.double().eval()
    x = torch.randn(2, 3, side, side - 3, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(x)
        assert expected.std() > 1e-3
        assert relative_difference(ours(x), expected) < 1e-10


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("resnet18", "resnet18"),
        ("resnet50b", "resnet50"),
    ],
)
def test_torchvision_weights_load_directly_and_score_the_same(name, theirs):
    assert_same_scores(
        build_network(network_spec(name)), getattr(import_torchvision().models, theirs)(), same_name, 43
    )


def test_resnext_with_a_padded_pool_is_torchvisions():
    spec = dataclasses.replace(network_spec("resnext50_32x4d"), pool="padded")
    assert_same_scores(build_network(spec), import_torchvision().models.resnext50_32x4d(), same_name, 43)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("se_resnet50", "legacy_seresnet50"), ("se_resnext50_32x4d", "legacy_seresnext50_32x4d")],
)
def test_the_released_form_with_se_is_timms(name, theirs):
    assert_same_scores(build_network(network_spec(name)), import_timm().create_model(theirs), from_timm, 43)


@pytest.mark.parametrize("name", ["resnet20"])
@pytest.mark.parametrize("se", ["", "se"])
def test_the_cifar_form_is_pytorchcvs(name, se):
    ours = build_network(network_spec(f"se_{name}" if se else name))
    theirs = pytorchcv_model(f"{se}{name}_cifar10")
    # Its pool is fixed to 8x8 maps.
    theirs.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    assert_same_scores(ours, theirs, from_pytorchcv, 32)


# How timm builds the released networks from one class.
TIMM_SENETS = {
    "se_resnet50": ("SEResNetBottleneck", {"groups": 1, "inplanes": 64, "input_3x3": False}),
    "se_resnext50_32x4d": ("SEResNeXtBottleneck", {"groups": 32, "inplanes": 64, "input_3x3": False}),
    "senet154": (
        "SEBottleneck",
        {
            "groups": 64,
            "inplanes": 128,
            "input_3x3": True,
            "downsample_kernel_size": 3,
            "downsample_padding": 1,
        },
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM_SENETS)
def test_gradients_and_statistics_of_training_are_timms(name):
    import_timm()
    from timm.models import senet as timm_senet

    depths = (1, 2, 1, 1)
    block, settings = TIMM_SENETS[name]
    settings = {"downsample_kernel_size": 1, "downsample_padding": 0, **settings}
    theirs = timm_senet.SENet(getattr(timm_senet, block), depths, reduction=16, drop_rate=0.0, **settings)
    theirs.double().train()
    spec = dataclasses.replace(network_spec(name), depths=depths, dropout=0.0)
    ours = build_network(spec).double().train()
    randomise(theirs)
    ours.load_state_dict(converted(theirs.state_dict(), ours, from_timm))
    x = torch.randn(4, 3, 48, 48, dtype=torch.float64)
    for model in (ours, theirs):
        torch.nn.functional.cross_entropy(model(x), torch.arange(4)).backward()
    gradients = {key: p.grad for key, p in theirs.named_parameters()}
    for key, gradient in converted(gradients, ours, from_timm).items():
        assert relative_difference(ours.get_parameter(key).grad, gradient) < 1e-6, key
    for key, value in converted(theirs.state_dict(), ours, from_timm).items():
        assert torch.allclose(ours.state_dict()[key], value), key
