"""The Inception networks and their twins against other packages' networks with pytorchcv's SE hooked in."""

import csv
import dataclasses
import importlib
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
from senet.weights.fold import fold_biases
from senet.weights.keymaps import inception as keymaps
from tests.networks.short import se_blocks
from tests.references import (
    import_timm,
    import_torchvision,
    pytorchcv_model,
    randomise,
    relative_difference,
)

GOOGLENET_SITES = [f"inception{m}" for m in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]
BN_SITES = [f"inception{m}" for m in ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]
BN_UNITS = [f"features.stage{s}.unit{u}" for s, n in ((1, 2), (2, 5), (3, 3)) for u in range(1, n + 1)]
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


def hook_se(theirs, sites, channels):
    """Let pytorchcv's SE weigh what modules of ``theirs`` put out, and return the blocks by our names."""
    make = importlib.import_module("pytorchcv.models.common.att").SEBlock
    blocks = nn.ModuleDict()
    for ours, their in sites.items():
        block = make(channels[ours], use_conv=False)
        theirs.get_submodule(their).register_forward_hook(lambda _, __, y, block=block: block(y))
        blocks[ours.replace(".", "/")] = block  # A name in a ModuleDict has no dots.
    return blocks


def filled(model, seed=0):
    """Give a network that was built without memory random weights in float64."""
    model.to_empty(device="cpu").double()
    for name, buffer in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.zero_()
    randomise(model, seed)


def torchvision_googlenet():
    options = {"aux_logits": False, "init_weights": False, "transform_input": False, "dropout": 0.0}
    return import_torchvision().models.googlenet(**options), {site: site for site in GOOGLENET_SITES}


def torchvision_v3():
    options = {"aux_logits": False, "init_weights": False, "transform_input": False, "dropout": 0.0}
    return import_torchvision().models.inception_v3(**options), {site: site for site in V3_SITES}


def pytorchcv_bn_inception():
    model = pytorchcv_model("bninception")
    model.features.final_pool = nn.AdaptiveAvgPool2d(1)  # Theirs is fixed to maps of 7x7 pixels.
    return model, dict(zip(BN_SITES, BN_UNITS, strict=True))


def timm_inception_resnet():
    """Return timm's with 2, 1 and 2 units; theirs has no dropout by default."""
    model = import_timm().create_model("inception_resnet_v2")
    model.repeat, model.repeat_1, model.repeat_2 = model.repeat[:2], model.repeat_1[:1], model.repeat_2[:1]
    units = ("repeat.0", "repeat.1", "repeat_1.0", "repeat_2.0", "block8")
    modules = ("mixed_5b", "mixed_6a", "mixed_7a")
    return model, {unit: f"{unit}.conv2d" for unit in units} | {module: module for module in modules}


def article_from_parts():
    """Return timm's stem of Inception-v4 and pytorchcv's units, 1 per stage, with the article's widths."""
    import_torchvision()
    units = importlib.import_module("pytorchcv.models.inceptionresnetv1")
    norm = importlib.import_module("pytorchcv.models.common.norm").lambda_batchnorm2d(eps=1e-3)
    model = nn.Sequential(
        *import_timm().create_model("inception_v4").features[:6],
        units.InceptionAUnit(384, [32, 32, 32, 32, 48, 64], norm),
        units.ReductionAUnit(384, [384, 256, 256, 384], norm),
        units.InceptionBUnit(1152, [192, 128, 160, 192], norm),
        units.ReductionBUnit(1152, [256, 384, 256, 288, 256, 288, 320], norm),
        units.InceptionCUnit(2144, [192, 192, 224, 256], norm),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2144, 1000),
    )
    return model, {"repeat.0": "6.conv", "repeat_1.0": "8.conv", "repeat_2.0": "10.conv"}


def short(name, *depths):
    return dataclasses.replace(network_spec(name), depths=depths)


# A reference, our name for each of its keys (None: both list them in the same order), our spec and its SE.
CASES = {
    "googlenet": (torchvision_googlenet, keymaps.from_torchvision, network_spec("googlenet"), "standard"),
    "inception_v3": (torchvision_v3, keymaps.from_torchvision, network_spec("inception_v3"), "standard"),
    "bn_inception": (
        pytorchcv_bn_inception,
        keymaps.from_pytorchcv_bn_inception,
        network_spec("bn_inception"),
        "standard",
    ),
    "inception_resnet_v2": (
        timm_inception_resnet,
        keymaps.from_timm,
        short("inception_resnet_v2", 2, 1, 2),
        "all",
    ),
    "inception_resnet_v2_article": (
        article_from_parts,
        None,
        short("inception_resnet_v2_article", 1, 1, 1),
        "standard",
    ),
}


def pair(case):
    """Return our twin, the reference with its SE blocks, and what names its tensors as ours."""
    reference, keymap, spec, units = CASES[case]
    with torch.device("meta"):
        theirs, sites = reference()
        ours = build_network(dataclasses.replace(spec, dropout=0.0, se=SEConfig(units=units)))
        channels = {name.removesuffix(".se"): block.channels for name, block in se_blocks(ours).items()}
        blocks = hook_se(theirs, sites, channels)
    filled(theirs)
    filled(blocks, 1)
    plain = [key for key in ours.state_dict() if ".se." not in key]
    theirs_keys = list(theirs.state_dict())
    keys = {key: keymap(key) for key in theirs_keys} if keymap else dict(zip(theirs_keys, plain, strict=True))

    def named(tensors_of):
        found = {keys[key]: value for key, value in tensors_of(theirs)}
        for key, value in tensors_of(blocks):
            site, _, rest = key.partition(".")
            found[f"{site.replace('/', '.')}.se.{rest}"] = value
        return found

    return ours, theirs, named


def state_of(model):
    return model.state_dict().items()


@pytest.mark.parametrize("case", CASES)
def test_scores_gradients_and_statistics_of_the_twin_are_the_references(case):
    torch.manual_seed(0)
    ours, theirs, named = pair(case)
    state = {key: value.clone() for key, value in named(state_of).items()}
    ours.to_empty(device="cpu").double().load_state_dict(fold_biases(state, ours))
    # The last maps have 2x2 or 2x1 pixels.
    sides = (64, 32) if ours.spec.input_size == 224 else (107, 75)
    x = torch.randn(2, 3, *sides, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.eval()(x)
        assert expected.std() > 1e-3
        assert relative_difference(ours.eval()(x), expected) < 1e-10
    for model in (theirs, ours):
        torch.nn.functional.cross_entropy(model.train()(x), torch.arange(2)).backward()
    gradients = {key: value.grad for key, value in named(nn.Module.named_parameters).items()}
    for key, parameter in ours.named_parameters():
        assert relative_difference(parameter.grad, gradients[key]) < 1e-6, key
        assert parameter.grad.any(), key
    state = fold_biases(named(state_of), ours)
    for key, value in state_of(ours):
        assert torch.allclose(value, state[key], rtol=1e-9), key


def test_inception_v3_has_the_sizes_of_torchvisions():
    with torch.device("meta"):
        theirs = torchvision_v3()[0].eval()
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
    standard, everywhere = (set(se_blocks(short_on_meta(name, SEConfig(units=u)))) for u in ("standard", "all"))
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
        ("bn_inception", SEConfig(placement="pre"), "bn_inception has no place 'pre' .* from standard"),
        ("inception_v3", SEConfig(units="all"), "inception_v3 cannot give SE to the units 'all'"),
        ("inception_resnet_v2", SEConfig(units="last"), "the units 'last': choose from standard, all"),
        ("inception_resnet_v2", SEConfig(placement="branches"), "no place 'branches'"),
        ("inception_resnet_v2", SEConfig(stages=(2,)), "no stage 2 .* choose from 3, 4, 5"),
        ("inception_resnet_v2", SEConfig(reduction=321), "SE at repeat.0 of .* 321 .* 320 channels"),
        ("inception_v3", SEConfig(reduction=257), "SE at Mixed_5b of inception_v3: .* 257 .* 256 channels"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(name, config, words):
    with pytest.raises(SenetError, match=words):
        on_meta(name, config)


def test_dropout_is_the_references():
    models = import_torchvision().models
    with torch.device("meta"):
        for ours, theirs in (("googlenet", models.googlenet), ("inception_v3", models.inception_v3)):
            assert on_meta(ours).dropout.p == theirs(init_weights=False).dropout.p
    assert not hasattr(on_meta("bn_inception"), "dropout")
    assert on_meta("inception_resnet_v2").dropout.p == on_meta("inception_resnet_v2_article").dropout.p == 0.2
