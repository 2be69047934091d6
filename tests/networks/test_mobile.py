"""MobileNet and ShuffleNet against timm's and pytorchcv's, and against the sizes of docs/paper."""

import csv
import dataclasses
import importlib
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from senet.blocks import SEConfig
from senet.errors import SenetError
from senet.networks import create_network, network_spec
from senet.networks.build import build_network
from senet.weights.keymaps.mobile import from_pytorchcv, from_timm
from tests.networks.short import images, se_blocks, shortened
from tests.references import converted, import_timm, pytorchcv_model, randomise, relative_difference

COMPLEXITY = Path(__file__).parents[2] / "docs" / "paper" / "complexity.csv"
# The rows of complexity.csv and what builds their networks here.
ROWS = {
    "mobilenetv1_100": ("mobilenet_relu6", None),
    "mobilenet_w1": ("mobilenet", None),
    "shufflenet_g3_w1": ("shufflenet_g3", None),
    "SE-MobileNet (SE after each of 13 pointwise convs)": ("se_mobilenet", None),
    "SE-MobileNet (SE after each of 13 depthwise convs)": (
        "mobilenet",
        SEConfig(placement="conv3x3", min_hidden=1),
    ),
    "SE-ShuffleNet 1x g=3 (SE on every residual branch before add/concat)": ("se_shufflenet_g3", None),
    "SE-ShuffleNet 1x g=3 (SE on stride-1 units only)": ("shufflenet_g3", SEConfig(units="stride1")),
    "SE-ShuffleNet 1x g=3 (SE after add/concat)": ("shufflenet_g3", SEConfig(placement="post")),
}
PLACEMENTS = {
    "mobilenet": ["standard", "conv3x3"],
    "shufflenet_g3": ["standard", "pre", "post", "identity", "conv3x3"],
}
CASES = [(name, placement) for name, placements in PLACEMENTS.items() for placement in placements]
SHUFFLE_DEPTHS = {2: 4, 3: 8, 4: 4}


@pytest.mark.parametrize("row", ROWS)
def test_sizes_are_those_of_the_table(row):
    with COMPLEXITY.open() as file:
        (expected,) = [each for each in csv.DictReader(file) if each["model"] == row]
    name, se = ROWS[row]
    with torch.device("meta"):
        model = create_network(name, se=se)
    cost, output = model.cost((3, 224, 224))
    statistics = sum(each.numel() for key, each in model.named_buffers() if "running" in key)
    assert output == (1000,)
    assert (cost.parameters, cost.multiply_adds) == (int(expected["params"]), int(expected["macs_224"]))
    assert statistics == int(expected["bn_running_stats"])


def test_the_least_hidden_width_widens_one_block_of_the_depthwise_reading():
    # 4 hidden units in place of 32 / 16 = 2: two rows and two columns of 32 weights, two biases.
    with torch.device("meta"):
        model = create_network("mobilenet", se=SEConfig(placement="conv3x3"))
    assert model.cost((3, 224, 224))[0].parameters == 4_586_046 + 4 * 32 + 2 == 4_586_176


def test_the_gates_multiply_what_the_printed_mflops_need():
    # Table 3 prints 569 and 572 for MobileNet; SE alone is 0.5 M.
    with torch.device("meta"):
        cost = create_network("se_mobilenet").cost((3, 224, 224))[0]
        assert round((cost.multiply_adds + cost.scaling) / 1e6) == 572
        plain, se = (create_network(n).cost((3, 224, 224))[0] for n in ("shufflenet_g3", "se_shufflenet_g3"))
    assert round((se.multiply_adds + se.scaling - plain.multiply_adds) / 1e6) == 142 - 140


def units_of(reference):
    return [unit for name, stage in reference.features.named_children() if "stage" in name for unit in stage]


def weighed(reference, units, layer_name, channels, where="behind"):
    """Return pytorchcv's network with pytorchcv's SE block at a layer, or at the end, of the units."""
    block = importlib.import_module("pytorchcv.models.common.att").SEBlock
    for unit in units:
        layer = unit.get_submodule(layer_name)
        layer.se = block(channels(unit))
        if where == "before":
            layer.register_forward_pre_hook(lambda _, x, se=layer.se: (se(x[0]),))
        else:
            hooked = unit if where == "end" else layer
            hooked.register_forward_hook(lambda _, __, y, se=layer.se: se(y))
    return reference


def mobilenet(layer_name):
    reference = pytorchcv_model("mobilenet_w1")
    return weighed(
        reference, units_of(reference), layer_name, lambda u: u.get_submodule(layer_name).conv.out_channels
    )


def shufflenet(layer_name, channels, where="behind", chosen=lambda unit: True):
    reference = pytorchcv_model("shufflenet_g3_w1")
    return weighed(reference, filter(chosen, units_of(reference)), layer_name, channels, where)


def branch(unit):
    return unit.expand_conv3.out_channels


def put_out(unit):
    return branch(unit) + (unit.compress_conv1.in_channels if unit.downsample else 0)


REFERENCES = {
    "mobilenet": lambda: pytorchcv_model("mobilenet_w1"),
    "se_mobilenet": lambda: mobilenet("pw_conv"),
    "mobilenet conv3x3": lambda: mobilenet("dw_conv"),
    "mobilenet_relu6": lambda: import_timm().create_model("mobilenetv1_100"),
    "shufflenet_g3": lambda: pytorchcv_model("shufflenet_g3_w1"),
    "se_shufflenet_g3": lambda: shufflenet("expand_bn3", branch),
    "shufflenet_g3 stride1": lambda: shufflenet("expand_bn3", branch, chosen=lambda u: not u.downsample),
    "shufflenet_g3 pre": lambda: shufflenet(
        "compress_conv1", lambda u: u.compress_conv1.in_channels, "before"
    ),
    "shufflenet_g3 post": lambda: shufflenet("expand_bn3", put_out, "end"),
    "shufflenet_g3 conv3x3": lambda: shufflenet("dw_bn2", lambda u: u.dw_bn2.num_features),
}


def spec_of(case):
    name, _, option = case.partition(" ")
    if not option:
        return network_spec(name)
    chosen = {"units": option} if option == "stride1" else {"placement": option}
    return dataclasses.replace(network_spec(name), se=SEConfig(min_hidden=1, **chosen))


def rename(key):
    """Return our key for pytorchcv's, also for that of an SE block that `weighed` put in."""
    layer, is_se, tensor = key.partition(".se.conv")
    if not is_se:
        return from_pytorchcv(key)
    stage, position, _ = from_pytorchcv(f"{layer}.weight").split(".", 2)
    return f"{stage}.{position}.se.fc{tensor}"


def pair(spec, theirs, key_map=rename):
    """Return our network and theirs with the same random weights in float64."""
    if key_map is rename:
        # The pool of pytorchcv's is fixed to 7x7 maps.
        theirs.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    ours = build_network(spec)
    randomise(theirs)
    ours.load_state_dict(converted(theirs.state_dict(), ours, key_map))
    return ours.double(), theirs.double()


@pytest.mark.slow
@pytest.mark.parametrize("case", REFERENCES)
def test_scores_and_gradients_are_the_references(case):
    key_map = from_timm if case == "mobilenet_relu6" else rename
    ours, theirs = pair(spec_of(case), REFERENCES[case](), key_map)
    x = 4 * torch.randn(3, 3, 43, 38, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.eval()(x)
        assert expected.std() > 1e-3
        assert relative_difference(ours.eval()(x), expected) < 1e-10
    for model in (ours, theirs):
        model.train()(x).square().sum().backward()
    largest = max(parameter.grad.abs().max() for parameter in theirs.parameters())
    for name, parameter in theirs.named_parameters():
        gradient = ours.get_parameter(key_map(name)).grad
        expected = parameter.grad.reshape(gradient.shape)
        # A bias whose convolution has a BatchNorm behind it changes nothing: its gradient is rounding.
        scale = max(expected.abs().max(), 1e-6 * largest)
        assert (gradient - expected).abs().max() < 1e-6 * scale, name
    for name, value in theirs.named_buffers():
        assert torch.allclose(ours.get_buffer(key_map(name)).double(), value.double(), rtol=1e-9), name


def test_the_two_activations_score_differently():
    relu, relu6 = (build_network(network_spec(name)).eval() for name in ("mobilenet", "mobilenet_relu6"))
    randomise(relu)
    relu6.load_state_dict(relu.state_dict())
    x = 20 * torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert relative_difference(relu6(x), relu(x)) > 1e-3


@pytest.mark.parametrize(("groups", "widths"), [(1, (144, 288, 576)), (8, (384, 768, 1536))])
def test_other_groups_are_pytorchcvs(groups, widths):
    spec = dataclasses.replace(network_spec("shufflenet_g3"), groups=groups, widths=widths)
    ours, theirs = pair(spec, pytorchcv_model(f"shufflenet_g{groups}_w1"))
    x = torch.randn(2, 3, 40, 33, dtype=torch.float64)
    with torch.no_grad():
        assert relative_difference(ours.eval()(x), theirs.eval()(x)) < 1e-10


def sites(name, se=None):
    with torch.device("meta"):
        return list(se_blocks(create_network(name, se=se)))


def expected_sites(depths, first=0):
    return [f"stage{s}.{unit}.se" for s, depth in depths.items() for unit in range(first, depth)]


def test_where_se_sits():
    mobilenet_sites = expected_sites({1: 1, 2: 2, 3: 2, 4: 6, 5: 2})
    assert len(mobilenet_sites) == 13
    for name in ("se_mobilenet", "se_mobilenet_relu6"):
        assert sites(name) == sites(name, SEConfig(placement="conv3x3")) == mobilenet_sites
    assert sites("mobilenet", SEConfig(stages=(1, 5))) == expected_sites({1: 1, 5: 2})
    assert sites("se_shufflenet_g3") == expected_sites(SHUFFLE_DEPTHS)
    assert sites("shufflenet_g3", SEConfig(units="stride1")) == expected_sites(SHUFFLE_DEPTHS, first=1)
    assert sites("shufflenet_g3", SEConfig(stages=(3,))) == expected_sites({3: 8})


def test_stages_have_the_strides_they_are_numbered_by():
    with torch.device("meta"):
        for name, stride in (("mobilenet", lambda s: 2**s), ("shufflenet_g3", lambda s: 2 ** (s + 1))):
            features = create_network(name, features_only=True).feature_info
            stages = {f.name: f.stride for f in features if f.name.startswith("stage")}
            assert stages == {f"stage{s}": stride(s) for s in network_spec(name).stages}


def short(name, **se):
    return dataclasses.replace(shortened(network_spec(name)), se=SEConfig(**se))


@pytest.mark.usefixtures("layer_by_layer")
@pytest.mark.parametrize(("name", "placement"), CASES)
def test_every_placement_with_open_gates_is_the_plain_network_to_the_bit(name, placement):
    spec = short(name, placement=placement)
    twin, plain = build_network(spec), build_network(dataclasses.replace(spec, se=None))
    randomise(plain)
    missing, unexpected = twin.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert missing
    assert all(".se." in key for key in missing)
    x = images(spec)
    assert not torch.equal(twin.eval()(x), plain.eval()(x))
    for block in se_blocks(twin).values():
        block.gate = torch.ones_like
    for mode in (True, False):
        assert torch.equal(twin.train(mode)(x), plain.train(mode)(x))


@pytest.mark.parametrize("squeeze", ["avg", "none"])
@pytest.mark.parametrize(("name", "placement"), CASES)
def test_every_placement_trains_every_se_parameter(name, placement, squeeze):
    torch.manual_seed(0)
    spec = short(name, placement=placement, squeeze=squeeze)
    model = build_network(spec)
    model(images(spec)).square().sum().backward()
    assert se_blocks(model)
    for site, block in se_blocks(model).items():
        assert all(p.grad.isfinite().all() and p.grad.any() for p in block.parameters()), site


@pytest.mark.parametrize("squeeze", ["avg", "none"])
@pytest.mark.parametrize(("name", "placement"), CASES)
def test_a_trace_counts_the_same_at_every_placement(name, placement, squeeze):
    with torch.device("meta"):
        model = build_network(short(name, placement=placement, squeeze=squeeze)).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 67, 45))
    assert model.cost((3, 67, 45))[0].multiply_adds * 2 == counter.get_total_flops()


def test_the_smallest_image_is_one_pixel():
    for name in ("mobilenet", "shufflenet_g3"):
        with torch.device("meta"):
            model = create_network(name).eval()
            assert model.smallest_input == 1
            assert model(torch.empty(1, 3, 1, 1)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("name", "se", "words"),
    [
        ("mobilenet", {"placement": "pre"}, "SE placement in .* must be one of standard, conv3x3, not 'pre'"),
        ("mobilenet", {"units": "stride1"}, "SE units in .* must be one of standard, not 'stride1'"),
        ("mobilenet", {"stages": (6,)}, "SE stages of mobilenet must be among 1, 2, 3, 4, 5, not 6"),
        ("mobilenet", {"reduction": 65}, "SE at stage1.0 of mobilenet: .* channels, 64, not 65"),
        ("shufflenet_g3", {"placement": "branches"}, "SE placement in .* must be one of .*, not 'branches'"),
        ("shufflenet_g3", {"units": "last"}, "SE units in .* must be one of standard, stride1, not 'last'"),
        ("shufflenet_g3", {"stages": (5,)}, "SE stages of .* must be among 2, 3, 4, not 5"),
        ("shufflenet_g3", {"reduction": 230}, "SE at stage2.0 of shufflenet_g3: .* channels, 216, not 230"),
        ("shufflenet_g3", {"reduction": 25, "placement": "identity"}, "stage2.0 of .* channels, 24, not 25"),
    ],
)
def test_an_se_it_cannot_have_is_refused(name, se, words):
    with torch.device("meta"), pytest.raises(SenetError, match=words):
        create_network(name, se=SEConfig(**se))


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"groups": 0}, "groups must be a whole number of at least 1, not 0"),
        ({"groups": 7}, "7 groups with a stem of 24 .* 240, 480, 960: choose a multiple of 7 .* of 28 for"),
        ({"stem_channels": 25}, "3 groups with a stem of 25 channels"),
        ({"widths": (240, 480, 966)}, "increasing multiples of 12 for the stages"),
        ({"widths": (240, 240, 960)}, "stages of 240, 240, 960"),
        ({"stem_channels": 240}, "a stem of 240 channels"),
        ({"num_classes": -1}, "num_classes"),
    ],
)
def test_channels_that_cannot_be_divided_are_refused(choices, words):
    with pytest.raises(SenetError, match=words):
        dataclasses.replace(network_spec("shufflenet_g3"), **choices)
