"""Key maps of the Inception networks: every tensor of another package finds its place, and no other."""

import dataclasses

import pytest
import torch
from torch import nn

from senet.networks import create_network, network_spec
from senet.networks.build import build_network
from senet.weights.fold import fold_biases
from senet.weights.keymaps import inception as keymaps
from tests.references import (
    import_timm,
    import_torchvision,
    pytorchcv_model,
    randomise,
    relative_difference,
)


def torchvision(name):
    def build():
        return getattr(import_torchvision().models, name)(init_weights=False, transform_input=False)

    return build


def timm(name, **options):
    return lambda: import_timm().create_model(name, **options)


def pytorchcv(name):
    def build():
        model = pytorchcv_model(name)
        model.features.final_pool = nn.AdaptiveAvgPool2d(1)  # Theirs has a fixed size.
        return model

    return build


# Our network, theirs, and how keys are renamed.
MAPS = [
    ("googlenet", torchvision("googlenet"), keymaps.from_torchvision),
    ("inception_v3", torchvision("inception_v3"), keymaps.from_torchvision),
    ("inception_v3", timm("inception_v3", aux_logits=True), keymaps.from_timm),
    ("inception_resnet_v2", timm("inception_resnet_v2"), keymaps.from_timm),
    ("bn_inception", pytorchcv("bninception"), keymaps.from_pytorchcv_bn_inception),
    ("inception_v3", pytorchcv("inceptionv3"), keymaps.from_pytorchcv_inception_v3),
    ("inception_resnet_v2", pytorchcv("inceptionresnetv2"), keymaps.from_pytorchcv_inception_resnet_v2),
]


def convolution_biases(model):
    """Return the names that biases of all convolutions have."""
    return {f"{name}.bias" for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "build", "keymap"), MAPS)
def test_every_tensor_of_the_whole_network_finds_its_place(name, build, keymap):
    with torch.device("meta"):
        theirs, ours = build(), create_network(name)
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    dropped = {key for key in shapes if keymap(key) is None}
    assert {key.split(".")[0] for key in dropped} <= {"aux1", "aux2", "AuxLogits"}
    found = {keymap(key): shape for key, shape in shapes.items() if key not in dropped}
    assert len(found) == len(shapes) - len(dropped)
    expected = {key: value.shape for key, value in ours.state_dict().items()}
    extra = found.keys() - expected.keys()
    assert extra == (convolution_biases(ours) if name == "bn_inception" else set())
    assert {key: shape for key, shape in found.items() if key not in extra} == expected


@pytest.mark.slow
# What the tests of the networks do not compare already.
@pytest.mark.parametrize(
    ("name", "build", "keymap", "depths"),
    [
        ("inception_v3", timm("inception_v3"), keymaps.from_timm, None),
        (*MAPS[4], None),
        (*MAPS[5], None),
        (*MAPS[6], (2, 2, 2)),
    ],
)
def test_scores_are_the_other_packages(name, build, keymap, depths):
    spec = network_spec(name)
    with torch.device("meta"):
        theirs = build()
        if depths is not None:
            spec = dataclasses.replace(spec, depths=depths)
            shorten(theirs)
        ours = build_network(spec).eval()
    theirs.to_empty(device="cpu").double().eval()
    randomise(theirs)
    state = {keymap(key): value for key, value in theirs.state_dict().items()}
    ours.load_state_dict(fold_biases(state, ours), assign=True)
    x = torch.randn(2, 3, *((64, 32) if name == "bn_inception" else (75, 107)), dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(x)
        assert expected.std() > 1e-3
        assert relative_difference(ours(x), expected) < 1e-10


def shorten(theirs):
    """Keep two residual units in each of pytorchcv's stages; the last unit is the one without a ReLU."""
    for stage, kept in (("stage1", (1, 2)), ("stage2", (1, 2, 3)), ("stage3", (1, 2, 11))):
        units = theirs.features.get_submodule(stage)
        for name in list(units._modules):
            if name not in {f"unit{number}" for number in kept}:
                delattr(units, name)


CADENE_BN_INCEPTION = {
    "conv1_7x7_s2.weight": "conv1.conv.weight",
    "conv1_7x7_s2_bn.running_mean": "conv1.bn.running_mean",
    "conv2_3x3_reduce.bias": "conv2.conv.bias",
    "conv2_3x3_bn.weight": "conv3.bn.weight",
    "inception_3a_1x1.weight": "inception3a.branch1.conv.weight",
    "inception_3c_3x3_reduce_bn.bias": "inception3c.branch2.0.bn.bias",
    "inception_4a_3x3.weight": "inception4a.branch2.1.conv.weight",
    "inception_4b_double_3x3_reduce.weight": "inception4b.branch3.0.conv.weight",
    "inception_4e_double_3x3_1_bn.running_var": "inception4e.branch3.1.bn.running_var",
    "inception_5a_double_3x3_2.bias": "inception5a.branch3.2.conv.bias",
    "inception_5b_pool_proj_bn.num_batches_tracked": "inception5b.branch4.1.bn.num_batches_tracked",
    "last_linear.weight": "fc.weight",
}


def cadene_layers():
    """Return the names that pretrainedmodels' BN-Inception has, without its BatchNorms."""
    yield from ("conv1_7x7_s2", "conv2_3x3_reduce", "conv2_3x3")
    for module in ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        inner = ["3x3_reduce", "3x3", "double_3x3_reduce", "double_3x3_1", "double_3x3_2"]
        for layer in inner if module in ("3c", "4e") else ["1x1", *inner, "pool_proj"]:
            yield f"inception_{module}_{layer}"


def test_pretrainedmodels_bn_inception():
    for key, ours in CADENE_BN_INCEPTION.items():
        assert keymaps.from_pretrainedmodels_bn_inception(key) == ours
    tensors = {"": ("weight", "bias"), "_bn": nn.BatchNorm2d(1).state_dict()}
    ends = [f"{end}.{tensor}" for end in tensors for tensor in tensors[end]]
    keys = [f"{layer}{end}" for layer in cadene_layers() for end in ends] + ["last_linear.weight"]
    mapped = [keymaps.from_pretrainedmodels_bn_inception(key) for key in keys]
    with torch.device("meta"):
        ours = create_network("bn_inception")
    assert len(set(mapped)) == len(mapped)
    assert {*mapped, "fc.bias"} == set(ours.state_dict()) | convolution_biases(ours)


def test_pretrainedmodels_inception_resnet_has_timms_names_but_for_the_classifier():
    rename = keymaps.from_pretrainedmodels_inception_resnet_v2
    assert rename("last_linear.bias") == "fc.bias"
    assert rename("repeat_1.19.branch1.2.bn.weight") == "repeat_1.19.branch1.2.bn.weight"


@pytest.mark.parametrize(
    "keymap",
    [getattr(keymaps, name) for name in dir(keymaps) if name.startswith("from_")],
    ids=lambda keymap: keymap.__name__,
)
@pytest.mark.parametrize(
    "key",
    [
        "nothing.weight",
        "features.stage4.unit1.conv.weight",
        "features.stage3.unit7.branches.branch1.conv1.conv.weights.of",
        "features.init_block.conv6.conv.weight",
        "inception_3a_5x5.weight",
    ],
)
def test_a_key_of_something_else_stays_as_it_is(keymap, key):
    assert keymap(key) == key
