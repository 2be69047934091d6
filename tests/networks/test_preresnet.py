"""Pre-activation ResNets and Wide ResNets against pytorchcv's with the same random weights."""

import dataclasses

import pytest
import torch
from torch import nn

from senet.blocks import SEConfig
from senet.errors import SenetError
from senet.networks import PreActivationBottleneck, PreResNetSpec, create_network, network_spec
from senet.networks.build import build_network
from senet.weights.keymaps.cifar import from_pytorchcv_preresnet
from senet.weights.keymaps.resnet import from_pytorchcv
from tests.networks.short import images, se_blocks
from tests.references import converted, import_torchvision, pytorchcv_model, randomise, relative_difference

STEM = {"norm": "stem"}
ALIVE = 5.0
"""A bias of SE's hidden layer with which its units live. Of one or two behind a convolution without
BatchNorm all may start dead, and then nothing shows what becomes of their gradients."""


def pair(name, theirs, key_map, **changes):
    """Return our network and theirs with the same weights in float64; its pool is fixed to 8x8 maps."""
    theirs.features.final_pool = nn.AdaptiveAvgPool2d(1)
    randomise(theirs)
    for module_name, module in theirs.named_modules():
        if module_name.endswith(".se.conv1"):
            nn.init.constant_(module.bias, ALIVE)
    ours = build_network(dataclasses.replace(network_spec(name), **changes))
    ours.load_state_dict(converted(theirs.state_dict(), ours, key_map))
    return ours.double(), theirs.double()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "theirs", "key_map", "changes"),
    [
        ("resnet164", "resnet164bn_cifar10", from_pytorchcv, {}),
        ("se_resnet164", "seresnet164bn_cifar10", from_pytorchcv, {}),
        ("preresnet110", "preresnet110_cifar10", from_pytorchcv_preresnet, {}),
        ("preresnet164", "preresnet164bn_cifar10", from_pytorchcv_preresnet, {}),
        ("se_preresnet110", "sepreresnet110_cifar10", from_pytorchcv_preresnet, STEM),
        ("se_preresnet164", "sepreresnet164bn_cifar10", from_pytorchcv_preresnet, STEM),
        ("wrn16_8", "wrn16_10_cifar10", from_pytorchcv_preresnet, {"outputs": (160, 320, 640)}),
    ],
)
def test_scores_are_pytorchcvs(name, theirs, key_map, changes):
    ours, theirs = pair(name, pytorchcv_model(theirs), key_map, **changes)
    x = torch.randn(2, 3, 16, 13, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.eval()(x)
        assert expected.std() > 1e-3
        assert relative_difference(ours.eval()(x), expected) < 1e-10


def short_preresnet(se, bottleneck, depth):
    """Return pytorchcv's network with so many units per stage."""
    import_torchvision()
    from pytorchcv.models.preresnet_cifar import CIFARPreResNet
    from pytorchcv.models.sepreresnet_cifar import CIFARSEPreResNet

    widths = (64, 128, 256) if bottleneck else (16, 32, 64)
    return (CIFARSEPreResNet if se else CIFARPreResNet)([[width] * depth for width in widths], 16, bottleneck)


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("se", [False, True])
def test_gradients_and_statistics_of_training_are_pytorchcvs(se, bottleneck):
    name = f"{'se_' if se else ''}preresnet{164 if bottleneck else 110}"
    changes = {"depths": (2, 2, 2), **(STEM if se else {})}
    models = pair(name, short_preresnet(se, bottleneck, 2), from_pytorchcv_preresnet, **changes)
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    for model in models:
        nn.functional.cross_entropy(model.train()(x), torch.arange(4)).backward()
    ours, theirs = models
    gradients = {key: p.grad for key, p in theirs.named_parameters()}
    for key, gradient in converted(gradients, ours, from_pytorchcv_preresnet).items():
        assert relative_difference(ours.get_parameter(key).grad, gradient) < 1e-6, key
    for key, value in converted(theirs.state_dict(), ours, from_pytorchcv_preresnet).items():
        assert torch.allclose(ours.state_dict()[key], value), key


def test_the_norm_of_the_twin_stands_behind_the_last_unit():
    for name in ("preresnet110", "se_preresnet110"):
        with torch.device("meta"):
            layers = list(create_network(name).named_children())
        names = ["conv1", "layer1", "layer2", "layer3", "norm", "relu", "avgpool", "flatten", "fc"]
        assert [layer for layer, _ in layers] == names


def test_the_convolution_that_strides_can_be_the_articles():
    spec = network_spec("preresnet164")
    for place, strides in {"3x3": (1, 2), "1x1": (2, 1)}.items():
        inside = PreActivationBottleneck(widths=(16, 32, 64), stride_in=place)
        with torch.device("meta"):
            model = build_network(dataclasses.replace(spec, bottleneck=inside))
        for stage in (model.layer2, model.layer3):
            assert (stage[0].conv1.stride[0], stage[0].conv2.stride[0]) == strides
        assert spec.bottleneck.stride_in == "3x3"


@pytest.mark.parametrize("name", ["preresnet110", "preresnet164", "wrn16_8"])
def test_stages_are_numbered_as_in_the_paper(name):
    for stage in (2, 3, 4):
        with torch.device("meta"):
            model = create_network(name, se=SEConfig(stages=(stage,)))
        blocks = se_blocks(model)
        assert len(blocks) == network_spec(name).depths[stage - 2]
        assert {block.split(".")[0] for block in blocks} == {f"layer{stage - 1}"}


@pytest.mark.parametrize("bottleneck", [None, PreActivationBottleneck(widths=(16, 32))])
@pytest.mark.parametrize("placement", ["standard", "pre", "post", "identity", "conv3x3"])
def test_every_se_parameter_trains_at_every_place(placement, bottleneck):
    torch.manual_seed(0)
    spec = PreResNetSpec(
        name="small",
        input_size=32,
        num_classes=7,
        depths=(2, 1),
        outputs=(32, 64),
        bottleneck=bottleneck,
        se=SEConfig(min_hidden=8, placement=placement),
    )
    model = build_network(spec)
    model(images(spec, 8)).square().sum().backward()
    blocks = se_blocks(model)
    assert len(blocks) == 3
    for block in blocks.values():
        assert all(p.grad.isfinite().all() and p.grad.any() for p in block.parameters())


@pytest.mark.parametrize("name", ["se_preresnet110", "se_preresnet164", "se_wrn16_8"])
def test_every_se_parameter_of_the_whole_network_trains(name):
    torch.manual_seed(0)
    model = create_network(name)
    for block in se_blocks(model).values():
        nn.init.constant_(block.fc1.bias, ALIVE)
    nn.functional.cross_entropy(model(images(model.spec)), torch.arange(4)).backward()
    silent = [key for key, p in model.named_parameters() if not (p.grad.isfinite().all() and p.grad.any())]
    assert silent == []


@pytest.mark.parametrize(
    ("name", "choices", "words"),
    [
        (
            "preresnet110",
            {"se": SEConfig(stages=(5,))},
            "SE stages of preresnet110 must be among 2, 3, 4, not 5",
        ),
        (
            "preresnet110",
            {"se": SEConfig(reduction=32)},
            r"at layer1\.0 of preresnet110: reduction .*of channels, 16, not 32\.",
        ),
        (
            "preresnet164",
            {"se": SEConfig(reduction=32, placement="conv3x3", stages=(2,))},
            r"at layer1\.0 of preresnet164: reduction .*of channels, 16, not 32\.",
        ),
        (
            "wrn16_8",
            {"se": SEConfig(placement="branches")},
            "SE placement in wrn16_8 must be one of .*, not 'branches'",
        ),
        ("wrn16_8", {"se": SEConfig(units="last")}, "SE units in wrn16_8 must be one of .*, not 'last'"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(name, choices, words):
    with torch.device("meta"), pytest.raises(SenetError, match=words):
        create_network(name, **choices)
