"""What holds for every network and its twin."""

import dataclasses

import pytest
import torch

from senet.blocks import SEConfig
from senet.networks import (
    create_network,
    list_models,
    network_spec,
    plain_name,
)
from senet.networks.build import build_network
from tests.networks.short import distinct, images, se_blocks, shortened
from tests.references import randomise, relative_difference

TWINS = [name for name in list_models() if name != plain_name(name)]
FAMILIES = distinct(TWINS)
CHANNELS = [(name, (1, 3, 4)[i % 3]) for i, name in enumerate(FAMILIES)]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_twin_has_the_plain_names_plus_se(name):
    with torch.device("meta"):
        twin, plain = (
            build_network(shortened(network_spec(each))).state_dict() for each in (name, plain_name(name))
        )
    added = set(twin) - set(plain)
    assert set(plain) < set(twin)
    assert {key.split(".")[-3] for key in added} <= {"se", "se1", "se2"}
    assert all(twin[key].shape == plain[key].shape for key in plain)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "channels"), CHANNELS)
def test_both_memory_formats_give_the_same_scores(name, channels):
    spec = dataclasses.replace(shortened(network_spec(name)), in_channels=channels)
    model = build_network(spec)
    randomise(model)
    model.double().eval()
    x = images(spec, 2).double()
    y = model(x)
    assert y.isfinite().all()
    model.to(memory_format=torch.channels_last)
    assert relative_difference(model(x.to(memory_format=torch.channels_last)), y) < 1e-12


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
