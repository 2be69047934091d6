"""What holds for every network and its twin."""

import dataclasses

import pytest
import torch

from senet.blocks import SEConfig, SqueezeExcitation
from senet.blocks.se_config import RESIDUAL_PLACEMENTS
from senet.networks import (
    Bottleneck,
    ResNetSpec,
    VGGSpec,
    create_network,
    list_models,
    network_spec,
    plain_name,
)
from senet.networks.build import build_network
from tests.references import randomise, relative_difference

TWINS = list_models("se_*")
# Every other twin differs from one of these in its depths only.
FAMILIES = ["se_resnet18", "se_resnet50", "se_resnet50b", "se_resnext50_32x4d", "se_vgg11_bn"]
FAMILIES += ["se_googlenet", "se_resnet8"]

PLACEMENTS = ["standard", "pre", "post", "identity", "conv3x3"]
assert tuple(PLACEMENTS) == RESIDUAL_PLACEMENTS
SMALL = {
    "basic": ResNetSpec(
        name="small", depths=(2, 1), outputs=(16, 32), stem="3x3", stem_channels=16, pool=None
    ),
    "bottleneck": ResNetSpec(
        name="small",
        depths=(2, 1),
        outputs=(32, 64),
        bottleneck=Bottleneck(widths=(16, 32), stride_in="3x3"),
        stem_channels=16,
    ),
}


def small_spec(name):
    """Return the spec for few classes, and for VGG with narrow hidden layers: no SE sits there."""
    spec = dataclasses.replace(network_spec(name), num_classes=7)
    return dataclasses.replace(spec, hidden=32) if isinstance(spec, VGGSpec) else spec


def short_spec(name):
    """Return the same with at most two units per stage of a ResNet."""
    spec = small_spec(name)
    if isinstance(spec, ResNetSpec):
        return dataclasses.replace(spec, depths=(2, *(1 for _ in spec.depths[1:])))
    return spec


def side_of(spec):
    return 33 if spec.input_size == 224 else 16


def se_blocks(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, SqueezeExcitation)}


def batch(spec, images=4):
    # Images of different brightness, so that the squeezed values differ.
    side = side_of(spec)
    return torch.randn(images, spec.in_channels, side, side) + torch.randn(images, 1, 1, 1)


@pytest.mark.parametrize("name", TWINS)
def test_every_parameter_gets_a_gradient(name):
    torch.manual_seed(3)
    spec = small_spec(name)
    model = build_network(spec).to(memory_format=torch.channels_last)
    scores = model(batch(spec).to(memory_format=torch.channels_last))
    assert scores.shape == (4, 7)
    torch.nn.functional.cross_entropy(scores, torch.arange(4)).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []
    blocks = se_blocks(model)
    assert blocks
    assert all(name.split(".")[-1] == "se" for name in blocks)
    silent = [
        f"{name}.{inner}"
        for name, block in blocks.items()
        for inner, p in block.named_parameters()
        if not p.grad.any()
    ]
    assert silent == []


@pytest.mark.parametrize("name", TWINS)
def test_the_twin_has_the_plain_names_plus_se(name):
    with torch.device("meta"):
        twin, plain = create_network(name).state_dict(), create_network(plain_name(name)).state_dict()
    added = set(twin) - set(plain)
    assert set(plain) < set(twin)
    assert {key.split(".")[-3] for key in added} == {"se"}
    assert all(twin[key].shape == plain[key].shape for key in plain)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", FAMILIES)
def test_images_of_any_number_of_channels(name, channels):
    with torch.device("meta"):
        model = build_network(dataclasses.replace(short_spec(name), in_channels=channels, num_classes=5))
        side = side_of(model.spec)
        assert model(torch.empty(2, channels, side, side + 1)).shape == (2, 5)


@pytest.mark.parametrize(("name", "channels"), list(zip(FAMILIES, [3, 1, 4, 3, 1, 4, 1], strict=True)))
def test_both_memory_formats_give_the_same_scores(name, channels):
    spec = dataclasses.replace(short_spec(name), in_channels=channels)
    model = build_network(spec)
    randomise(model)
    model.double().eval()
    x = batch(spec, 2).double()
    y = model(x)
    assert y.isfinite().all()
    model.to(memory_format=torch.channels_last)
    assert relative_difference(model(x.to(memory_format=torch.channels_last)), y) < 1e-12


def identity_gated_twin_and_plain(spec):
    plain = build_network(dataclasses.replace(spec, se=None))
    twin = build_network(spec)
    randomise(plain)
    missing, unexpected = twin.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert missing
    assert all(".se." in key for key in missing)
    for block in se_blocks(twin).values():
        block.gate = torch.ones_like
    return twin, plain


def assert_same_bits(twin, plain, x):
    for mode in (True, False):
        torch.manual_seed(0)  # for dropout
        expected = plain.train(mode)(x)
        torch.manual_seed(0)
        assert torch.equal(twin.train(mode)(x), expected)
    for key, value in plain.state_dict().items():
        assert torch.equal(twin.state_dict()[key], value), key


@pytest.mark.parametrize("name", FAMILIES)
def test_the_twin_with_open_gates_is_the_plain_network_to_the_bit(name):
    spec = short_spec(name)
    twin, plain = identity_gated_twin_and_plain(spec)
    assert_same_bits(twin, plain, batch(spec))


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("unit", SMALL)
def test_every_placement_with_open_gates_is_the_plain_network_to_the_bit(unit, placement):
    spec = dataclasses.replace(SMALL[unit], se=SEConfig(placement=placement))
    twin, plain = identity_gated_twin_and_plain(spec)
    assert_same_bits(twin, plain, torch.randn(3, 3, 33, 37))


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("unit", SMALL)
def test_every_placement_trains_every_se_parameter(unit, placement):
    torch.manual_seed(0)
    model = build_network(dataclasses.replace(SMALL[unit], se=SEConfig(placement=placement)))
    model(torch.randn(8, 3, 33, 37)).pow(2).sum().backward()
    for block in se_blocks(model).values():
        assert all(p.grad.isfinite().all() and p.grad.any() for p in block.parameters())


@pytest.mark.parametrize(
    ("name", "sites"),
    [
        ("se_resnet18", [f"layer{s}.{u}" for s in (1, 2, 3, 4) for u in (0, 1)]),
        ("se_resnet8", ["layer1.0", "layer2.0", "layer3.0"]),
        ("se_vgg11_bn", ["stage1.0", "stage2.0", *(f"stage{s}.{u}" for s in (3, 4, 5) for u in (0, 1))]),
        ("se_googlenet", [f"inception{m}" for m in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]),
    ],
)
def test_where_se_sits(name, sites):
    with torch.device("meta"):
        model = create_network(name)
    assert list(se_blocks(model)) == [f"{site}.se" for site in sites]
    assert len({id(block.fc1.weight) for block in se_blocks(model).values()}) == len(sites)


@pytest.mark.parametrize(
    ("name", "stage", "site"),
    [
        ("resnet18", 2, "layer1"),
        ("resnet18", 5, "layer4"),
        ("resnet8", 4, "layer3"),
        ("vgg11_bn", 1, "stage1"),
        ("googlenet", 4, "inception4"),
    ],
)
def test_stages_are_numbered_as_in_the_paper(name, stage, site):
    with torch.device("meta"):
        model = create_network(name, se=SEConfig(stages=(stage,)))
    assert se_blocks(model)
    assert all(block.startswith(site) for block in se_blocks(model))


def test_a_spec_without_assembly_is_a_defect():
    with pytest.raises(TypeError, match="no assembly"):
        build_network(object())  # type: ignore[arg-type]
