"""Sizes of the Inception networks, and where SE sits in them."""

import csv
import dataclasses
import inspect
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from senet.blocks import SEConfig
from senet.blocks.cost import cost_of
from senet.blocks.se_config import RESIDUAL_PLACEMENTS
from senet.errors import SenetError
from senet.networks import InceptionResNetSpec, create_network, default_se, network_spec
from senet.networks.build import build_network
from tests.networks.short import se_blocks
from tests.references import import_timm, import_torchvision

GOOGLENET_SITES = [f"inception{m}" for m in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]
BN_SITES = [f"inception{m}" for m in ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]
V3_SITES = [f"Mixed_{m}" for m in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")]
RESNET_SITES = [f"repeat.{i}" for i in range(10)] + [f"repeat_1.{i}" for i in range(20)]
RESNET_SITES += [*(f"repeat_2.{i}" for i in range(9)), "block8"]
ARTICLE_SITES = [f"{stage}.{i}" for stage, n in (("repeat", 5), ("repeat_1", 10)) for i in range(n)]
ARTICLE_SITES += [f"repeat_2.{i}" for i in range(5)]

# Rows of docs/paper/complexity.csv: our name, and the units with SE.
ROWS = {
    ("torchvision", "googlenet"): ("googlenet", None),
    ("derived (own build)", "SE-GoogLeNet (torchvision googlenet + 9 SE)"): ("se_googlenet", "standard"),
    ("caffe-prototxt", "BN-Inception"): ("bn_inception", None),
    ("caffe-prototxt", "SE-BN-Inception"): ("se_bn_inception", "standard"),
    ("timm", "inception_resnet_v2"): ("inception_resnet_v2", None),
    ("pytorchcv", "inceptionresnetv2"): ("inception_resnet_v2", None),
    ("pretrainedmodels", "inceptionresnetv2"): ("inception_resnet_v2", None),
    ("derived (own build)", "SE-Inception-ResNet-v2 (timm + SE on 40 residual branches)"): (
        "se_inception_resnet_v2",
        "standard",
    ),
    ("derived (own build)", "SE-Inception-ResNet-v2 (same + SE after Mixed_5b/6a/7a)"): (
        "se_inception_resnet_v2",
        "all",
    ),
    ("derived (own build)", "Inception-ResNet-v2 as in arXiv:1602.07261 figures (5/10/5)"): (
        "inception_resnet_v2_article",
        None,
    ),
    ("derived (own build)", "SE-Inception-ResNet-v2 5/10/5"): ("se_inception_resnet_v2_article", "standard"),
}
# The same network with a bias in each convolution, which ours leaves to the BatchNorm behind it.
WITH_BIASES = {
    ("pytorchcv", "bninception"): "bn_inception",
    ("pretrainedmodels", "bninception"): "bn_inception",
    ("derived (own build)", "SE-BN-Inception (pytorchcv bninception + 10 SE)"): "se_bn_inception",
}


@lru_cache
def published():
    with (Path(__file__).parents[2] / "docs/paper/complexity.csv").open(newline="") as file:
        return {(row["package"], row["model"]): row for row in csv.DictReader(file)}


@lru_cache
def on_meta(name, se=None):
    with torch.device("meta"):
        return create_network(name, se=se)


def short_on_meta(name, se):
    """Return the same with one or two residual units per stage where it has any."""
    spec = dataclasses.replace(network_spec(name), se=se)
    if isinstance(spec, InceptionResNetSpec):
        spec = dataclasses.replace(spec, depths=(1, 1, 2))
    with torch.device("meta"):
        return build_network(spec)


def test_all_published_sizes_are_compared():
    about = {key for key in published() if "inception" in key[1].lower() or "googlenet" in key[1].lower()}
    assert about == set(ROWS) | set(WITH_BIASES)


@pytest.mark.slow
@pytest.mark.parametrize("row", [*ROWS, *WITH_BIASES], ids=lambda row: row[1])
def test_published_sizes(row):
    expected = published()[row]
    name, units = ROWS.get(row) or (WITH_BIASES[row], None)
    model = on_meta(name, None if units is None else SEConfig(units=units))
    biases = 0
    if row in WITH_BIASES:
        biases = sum(layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d))
    side = int(expected["native_size"])
    cost, output = model.cost((3, side, side))
    assert output == (1000,)
    assert cost.parameters + biases == int(expected["params"])
    assert cost.multiply_adds == int(expected["macs_native"])
    statistics = sum(value.numel() for key, value in model.named_buffers() if "running" in key)
    assert statistics == int(expected["bn_running_stats"])
    if expected["macs_224"]:
        assert model.cost((3, 224, 224))[0].multiply_adds == int(expected["macs_224"])


def test_inception_v3_has_the_sizes_of_torchvisions():
    with torch.device("meta"):
        models = import_torchvision().models
        theirs = models.inception_v3(aux_logits=False, init_weights=False, transform_input=False).eval()
    with FlopCounterMode(display=False) as counter:
        theirs(torch.empty(1, 3, 299, 299, device="meta"))
    cost = on_meta("inception_v3").cost((3, 299, 299))[0]
    # pytorchcv states the same number.
    assert cost.parameters == sum(p.numel() for p in theirs.parameters()) == 23_834_568
    assert 2 * cost.multiply_adds == counter.get_total_flops()
    twin = on_meta("se_inception_v3").cost((3, 299, 299))[0]
    widths = [256, 288, 288, *[768] * 5, 1280, 2048, 2048]
    added = sum(2 * c * (c // 16) for c in widths)
    assert twin.multiply_adds - cost.multiply_adds == added
    assert twin.parameters - cost.parameters == added + sum(c + c // 16 for c in widths)


@pytest.mark.parametrize(
    ("name", "sites"),
    [
        ("se_googlenet", GOOGLENET_SITES),
        ("se_bn_inception", BN_SITES),
        ("se_inception_v3", V3_SITES),
        ("se_inception_resnet_v2", RESNET_SITES),
        ("se_inception_resnet_v2_article", ARTICLE_SITES),
    ],
)
def test_where_se_sits(name, sites):
    assert [block.removesuffix(".se") for block in se_blocks(on_meta(name))] == sites


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("inception_resnet_v2", ("mixed_5b", "mixed_6a", "mixed_7a")),
        ("inception_resnet_v2_article", ("mixed_6a", "mixed_7a")),
    ],
)
def test_all_units_are_the_modules_without_a_shortcut_too(name, modules):
    standard, everywhere = (
        set(se_blocks(short_on_meta(name, SEConfig(units=u)))) for u in ("standard", "all")
    )
    assert standard < everywhere
    assert everywhere - standard == {f"{module}.se" for module in modules}


def test_hidden_layers_are_those_of_the_released_file():
    blocks = se_blocks(on_meta("se_bn_inception")).values()
    assert [block.fc1.out_features for block in blocks] == [16, 20, 36, 36, 36, 38, 38, 66, 64, 64]
    assert default_se("bn_inception") == default_se("inception_resnet_v2") == SEConfig()


@pytest.mark.parametrize(
    ("name", "stage", "sites"),
    [
        ("googlenet", 3, {"inception3a", "inception3b"}),
        ("bn_inception", 4, {"inception4a", "inception4b", "inception4c", "inception4d", "inception4e"}),
        ("inception_v3", 4, {"Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"}),
        ("inception_v3", 5, {"Mixed_7a", "Mixed_7b", "Mixed_7c"}),
        ("inception_resnet_v2", 3, {"mixed_5b", "repeat"}),
        ("inception_resnet_v2", 4, {"mixed_6a", "repeat_1"}),
        ("inception_resnet_v2", 5, {"mixed_7a", "repeat_2", "block8"}),
        ("inception_resnet_v2_article", 3, {"repeat"}),
    ],
)
def test_stages(name, stage, sites):
    units = "all" if "resnet" in name else "standard"
    blocks = se_blocks(short_on_meta(name, SEConfig(stages=(stage,), units=units)))
    assert {block.split(".")[0] for block in blocks} == sites
    assert network_spec(name).stages == (3, 4, 5)


@pytest.mark.parametrize("placement", RESIDUAL_PLACEMENTS)
def test_channels_at_the_places_of_se(placement):
    model = short_on_meta("inception_resnet_v2", SEConfig(placement=placement, units="all"))
    channels = {name: block.channels for name, block in se_blocks(model).items()}
    units = (128, 384, 448) if placement == "conv3x3" else (320, 1088, 2080)
    assert channels == {
        "mixed_5b.se": 320,
        "repeat.0.se": units[0],
        "mixed_6a.se": 1088,
        "repeat_1.0.se": units[1],
        "mixed_7a.se": 2080,
        "repeat_2.0.se": units[2],
        "block8.se": units[2],
    }


# At 299 pixels 3c gets maps of 37 pixels, at 80 4e one of 5.
@pytest.mark.parametrize("side", [7, 8, 64, 72, 80, 299])
def test_bn_inception_takes_maps_of_odd_sides(side):
    model = on_meta("se_bn_inception")
    x = torch.empty(2, 3, side, side + 3, device="meta")
    for name, layer in model.named_children():
        told = cost_of(layer, tuple(x.shape[1:]))[1]
        x = layer(x)
        assert tuple(x.shape[1:]) == told, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("bn_inception", [112, 56, 28, 14, 7]),
        ("inception_v3", [147, 71, 35, 17, 8]),
        ("inception_resnet_v2", [147, 71, 35, 17, 8]),
        ("inception_resnet_v2_article", [147, 71, 35, 17, 8]),
    ],
)
def test_features(name, sides):
    with torch.device("meta"):
        model = create_network(name, features_only=True)
        side = model.spec.input_size
        assert [y.shape[2] for y in model(torch.empty(1, 3, side, side))] == sides
        if name in ("inception_v3", "inception_resnet_v2"):
            theirs = import_timm().create_model(name, features_only=True).feature_info
            assert [info.name for info in model.feature_info] == theirs.module_name()
            assert [info.channels for info in model.feature_info] == theirs.channels()


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        (
            "bn_inception",
            SEConfig(placement="pre"),
            "SE placement in bn_inception must be one of standard, not 'pre'",
        ),
        ("inception_v3", SEConfig(units="all"), "SE units in inception_v3 must be one of .*, not 'all'"),
        (
            "inception_resnet_v2",
            SEConfig(units="last"),
            "SE units in .* must be one of standard, all, not 'last'",
        ),
        (
            "inception_resnet_v2",
            SEConfig(placement="branches"),
            "SE placement in .* must be one of .*, not 'branches'",
        ),
        ("inception_resnet_v2", SEConfig(stages=(2,)), "SE stages of .* must be among 3, 4, 5, not 2"),
        ("inception_resnet_v2", SEConfig(reduction=321), "SE at repeat.0 of .* channels, 320, not 321"),
        (
            "inception_v3",
            SEConfig(reduction=257),
            "SE at Mixed_5b of inception_v3: .* channels, 256, not 257",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(name, config, words):
    with pytest.raises(SenetError, match=words):
        on_meta(name, config)


def test_dropout_is_the_references():
    models = import_torchvision().models
    for ours, theirs in (("googlenet", models.GoogLeNet), ("inception_v3", models.Inception3)):
        assert on_meta(ours).dropout.p == inspect.signature(theirs).parameters["dropout"].default
    assert not hasattr(on_meta("bn_inception"), "dropout")
    assert on_meta("inception_resnet_v2").dropout.p == on_meta("inception_resnet_v2_article").dropout.p == 0.2
