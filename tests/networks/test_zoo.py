import dataclasses

import pytest
import torch

from senet.blocks import SEConfig
from senet.blocks.cost import parameter_count
from senet.errors import SenetError
from senet.insight.cost import cost
from senet.networks import (
    create_network,
    default_se,
    input_size,
    list_models,
    network_spec,
    plain_name,
    twin_name,
)
from tests.networks.published import ABLATIONS, DERIVED, PUBLISHED, REDUCTIONS_WITH_BIAS, ROWS, sizes
from tests.references import import_torchvision, pytorchcv_model

# Designed for 299 pixels.
ROOMY = ("inception_v3", "inception_resnet_v2")


def size(name, **choices):
    """Return the parameters and multiply-adds at the native size."""
    with torch.device("meta"):
        model = create_network(name, **choices)
    side = input_size(name)
    cost, output = model.cost((choices.get("in_channels", 3), side, side))
    assert cost.parameters == parameter_count(model)
    assert output == (model.spec.num_classes,)
    return cost.parameters, cost.multiply_adds


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    assert {size(name)} == PUBLISHED[name]


# Those that no row counts: the same network of another package, on the spot.
COUNTED_HERE = {
    "resnet18": ("torchvision", "resnet18"),
    "resnet34": ("torchvision", "resnet34"),
    "vgg11_bn": ("torchvision", "vgg11_bn"),
    "vgg13_bn": ("torchvision", "vgg13_bn"),
    "vgg19_bn": ("torchvision", "vgg19_bn"),
    "inception_v3": ("torchvision", "inception_v3"),
    "resnet20": ("pytorchcv", "resnet20_cifar10"),
    "resnet56": ("pytorchcv", "resnet56_cifar10"),
}
# Depth is the only difference, so each unit adds the same.
BY_DEPTH = {"resnet8": 8, "resnet32": 32}


@pytest.mark.parametrize("name", COUNTED_HERE)
def test_sizes_of_another_package(name):
    package, its_name = COUNTED_HERE[name]
    options = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
    with torch.device("meta"):
        if package == "torchvision":
            theirs = getattr(import_torchvision().models, its_name)(**options)
        else:
            theirs = pytorchcv_model(its_name)
    counted = cost(theirs, input_size(name))
    assert size(name) == (counted.parameters, counted.multiply_adds)


@pytest.mark.parametrize(("name", "layers"), BY_DEPTH.items())
def test_sizes_grow_evenly_with_depth(name, layers):
    for at_20, at_56, ours in zip(size("resnet20"), size("resnet56"), size(name), strict=True):
        assert (ours - at_20) * 36 == (at_56 - at_20) * (layers - 20)


def test_every_plain_network_is_counted_by_somebody_else():
    plain = {name for name in list_models() if name == plain_name(name)}
    assert plain <= set(PUBLISHED) | set(COUNTED_HERE) | set(BY_DEPTH)
    assert {"senet154", "se_resnet50", "se_vgg16_bn", "se_bn_inception", "se_wrn16_8"} <= set(PUBLISHED)


@pytest.mark.parametrize(("choices", "row"), ABLATIONS, ids=str)
def test_sizes_of_the_ablations(choices, row):
    assert size("resnet50", se=SEConfig(bias=False, **choices)) == sizes(ROWS[DERIVED, row])


@pytest.mark.parametrize("reduction", REDUCTIONS_WITH_BIAS)
def test_sizes_with_biases(reduction):
    expected = sizes(ROWS[DERIVED, REDUCTIONS_WITH_BIAS[reduction]])
    assert size("resnet50", se=SEConfig(reduction=reduction)) == expected


def test_cifar_networks_for_100_classes():
    assert size("resnet110", num_classes=100) == sizes(ROWS["pytorchcv", "resnet110_cifar100"])
    assert size("se_resnet110", num_classes=100) == sizes(ROWS["pytorchcv", "seresnet110_cifar100"])


def test_every_network_has_a_twin():
    names = list_models()
    assert len(names) == len(set(names)) == 70
    for name in names:
        assert plain_name(name) in names
        assert twin_name(name) in names
    assert list_models("*resnet8") == ["resnet8", "se_resnet8"]
    assert list_models("se_vgg1[13]*") == ["se_vgg11_bn", "se_vgg13_bn"]
    assert list_models("nothing*") == []


def test_twin_and_plain_differ_in_one_field():
    for name in list_models("se_*"):
        twin, plain = network_spec(name), network_spec(plain_name(name))
        assert plain.se is None
        assert twin == dataclasses.replace(plain, se=default_se(name))
        assert default_se(plain_name(name)) == default_se(name)
        assert input_size(name) == plain.input_size
        assert plain.input_size == (
            32 if plain.num_classes in (10, 100) else 299 if plain.name.startswith(ROOMY) else 224
        )


def test_se_overrides_the_default_under_either_name():
    config = SEConfig(reduction=4)
    expected = size("se_resnet8", se=config)
    assert size("resnet8", se=config) == expected
    assert expected != size("se_resnet8") != size("resnet8")


def test_only_the_cifar_networks_allow_a_single_hidden_unit():
    assert default_se("resnet20") == SEConfig(min_hidden=1)
    assert default_se("resnet50") == default_se("googlenet") == default_se("vgg16_bn") == SEConfig()


@pytest.mark.parametrize(
    ("name", "choices", "words"),
    [
        ("resnet51", {}, "no network called 'resnet51'. Did you mean .*'resnet50'"),
        ("se_resnet51", {}, "no network called 'se_resnet51'. Did you mean .*'se_resnet50'"),
        ("se_se_resnet50", {}, "no network called 'se_se_resnet50'"),
        ("", {}, "no network called ''"),
        ("resnet8", {"num_classes": -1}, "num_classes must be a whole number of at least 1, not -1"),
        ("resnet8", {"in_channels": 0}, "in_channels must be a whole number of at least 1, not 0"),
        ("resnet8", {"in_channels": 3.0}, "not 3.0"),
        ("resnet8", {"se": SEConfig(stages=(5,))}, "SE stages of resnet8 must be among 2, 3, 4, not 5"),
        ("resnet50", {"se": SEConfig(stages=(1,))}, "SE stages of .* must be among 2, 3, 4, 5, not 1"),
        ("vgg16_bn", {"se": SEConfig(stages=(1, 6))}, "SE stages of .* must be among 1, 2, 3, 4, 5, not 6"),
        ("googlenet", {"se": SEConfig(stages=(2,))}, "SE stages of .* must be among 3, 4, 5, not 2"),
        (
            "vgg16_bn",
            {"se": SEConfig(placement="pre")},
            "SE placement in vgg16_bn must be one of standard, not 'pre'",
        ),
        (
            "googlenet",
            {"se": SEConfig(placement="post")},
            "SE placement in googlenet must be one of .*, not 'post'",
        ),
        (
            "resnet8",
            {"se": SEConfig(reduction=32)},
            "SE at layer1.0 of resnet8: reduction must be at most the number of channels, 16, not 32",
        ),
        (
            "resnet50",
            {"se": SEConfig(reduction=300)},
            r"at layer1\.0 of resnet50: reduction .*of channels, 256, not 300\.",
        ),
        (
            "resnet50",
            {"se": SEConfig(reduction=300, placement="conv3x3", stages=(4, 5))},
            r"at layer3\.0 of resnet50: reduction .*of channels, 256, not",
        ),
        (
            "vgg16_bn",
            {"se": SEConfig(reduction=65)},
            r"at stage1\.0 of vgg16_bn: reduction .*of channels, 64, not",
        ),
        (
            "googlenet",
            {"se": SEConfig(reduction=257)},
            "at inception3a of googlenet: reduction .*of channels, 256, not",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(name, choices, words):
    with torch.device("meta"), pytest.raises(SenetError, match=words):
        create_network(name, **choices)
