"""The trace against torch's own counter, against numbers by hand, and against what the blocks tell."""

import dataclasses

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from senet.blocks import SEConfig, SqueezeExcitation
from senet.blocks.cost import Cost, byte_count, cost_of, parameter_count
from senet.insight.trace import Trace
from senet.networks import list_models, network_spec, plain_name
from senet.networks.build import build_network
from tests.networks.short import distinct, shortened
from tests.references import import_timm, import_torchvision


def meta(spec):
    with torch.device("meta"):
        return build_network(spec).eval()


def traced(model, shape, device="meta"):
    """Return what ran on one image, and what torch's counter says, in multiply-adds."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter, Trace() as trace:
        model(torch.zeros(1, *shape, device=device))
    return trace.cost, counter.get_total_flops() / 2


def assert_blocks_and_trace_agree(model, shape):
    seen, multiply_adds = traced(model, shape)
    expected = seen + Cost(parameters=parameter_count(model), bytes=byte_count(model))
    cost, _ = model.cost(shape)
    assert cost == expected
    assert cost.multiply_adds == multiply_adds
    return cost


@pytest.fixture
def quick_batch_norm(monkeypatch):
    """BatchNorm costs nothing here, and on the meta device torch thinks 4 ms about each."""
    monkeypatch.setattr(nn.BatchNorm2d, "forward", lambda self, x: x)


@pytest.mark.slow
@pytest.mark.parametrize("name", distinct(list_models()))
@pytest.mark.usefixtures("quick_batch_norm")
def test_every_network_costs_what_runs(name):
    # Units that repeat are left out. Odd and not square, so that every kind of border is met.
    model = meta(dataclasses.replace(shortened(network_spec(name)), in_channels=4))
    side = max(33, model.smallest_input)
    cost = assert_blocks_and_trace_agree(model, (4, side, side + 14))
    assert min(cost.convolution, cost.fully_connected, cost.pooling, cost.activations) > 0
    assert (cost.scaling > 0) or name == plain_name(name)


# One network for each kind of unit.
FAMILIES = ["resnet18", "resnet50", "resnext154_64x4d", "vgg11_bn", "bn_inception"]
FAMILIES += ["inception_resnet_v2_article", "mobilenet", "shufflenet_g3"]
FAMILIES += ["preresnet110", "preresnet164", "wrn16_8", "shakeshake26_2x96d", "shakeeven29_2x4x64d"]
CHOICES = [
    *((name, {"placement": placement}) for name in FAMILIES for placement in network_spec(name).placements),
    # Which units have SE and where in a unit it stands are told apart by the builders: no need of each pair.
    *((name, {"units": units}) for name in FAMILIES for units in network_spec(name).units),
    *((name, {"squeeze": squeeze}) for name in FAMILIES for squeeze in ("max", "none")),
    *(("resnet50", {"squeeze": "none", "placement": place}) for place in network_spec("resnet50").placements),
    *(("resnet50", {"squeeze": squeeze, "gate": "double_sigmoid"}) for squeeze in ("avg", "none")),
    ("resnet50", {"gate": "hard_sigmoid", "activation": "silu", "bias": False}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "choices"), CHOICES, ids=str)
@pytest.mark.usefixtures("quick_batch_norm")
def test_every_choice_of_se_costs_what_runs(name, choices):
    spec = shortened(network_spec(name))
    model = meta(dataclasses.replace(spec, se=SEConfig(**{"min_hidden": 1, **choices})))
    side = max(33, model.smallest_input)
    assert_blocks_and_trace_agree(model, (3, side, side + 2))


@pytest.mark.parametrize("squeeze", ["avg", "max", "none"])
@pytest.mark.parametrize("shape", [(32,), (32, 7), (32, 5, 6), (32, 2, 3, 4)], ids=str)
def test_a_block_alone_costs_what_runs(shape, squeeze):
    block = SqueezeExcitation(32, squeeze=squeeze).to("meta")
    assert_blocks_and_trace_agree(block, shape)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 3),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from(["max", "average", "adaptive", "largest"]),
)
def test_pools_cost_what_runs(size, kernel, stride, padding, ceil, kind):
    assume(padding <= min(kernel) // 2)
    layer = {
        "max": lambda: nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil),
        "average": lambda: nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil),
        "adaptive": lambda: nn.AdaptiveAvgPool2d(kernel),
        "largest": lambda: nn.AdaptiveMaxPool2d(kernel),
    }[kind]()
    try:
        seen, _ = traced(layer, (3, *size))
    except RuntimeError:
        return  # torch refuses it, and tests/blocks/test_cost.py knows that we do
    if kind == "largest":
        expected, _ = cost_of(nn.AdaptiveAvgPool2d(kernel), (3, *size))
    else:
        expected, _ = cost_of(layer, (3, *size))
    assert seen == expected


@pytest.mark.parametrize("parts", [1, 2, 3, 7, (3, 10), (12, 1)])
def test_an_adaptive_pool_reads_the_values_that_move_it(parts):
    layer = nn.AdaptiveAvgPool2d(parts)
    x = torch.zeros(1, 1, 7, 9)
    read = torch.autograd.functional.jacobian(layer, x).count_nonzero().item()
    assert traced(layer, (1, 7, 9), "cpu")[0] == Cost(pooling=read)
    assert cost_of(layer, (1, 7, 9))[0] == Cost(pooling=read)


class Runs(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


BY_HAND = {
    "a factor": (lambda x: 0.5 * x, Cost(scaling=24)),
    "in place": (lambda x: x.clone().mul_(0.5), Cost(scaling=24)),
    "a quotient": (lambda x: x / 2, Cost(scaling=24)),
    "weights of channels": (lambda x: x * x.amax((2, 3), keepdim=True), Cost(pooling=24, scaling=24)),
    "weights of pixels": (lambda x: x * x.mean(1, keepdim=True), Cost(pooling=24, scaling=24)),
    "the largest": (lambda x: x.max(1)[0], Cost(pooling=24)),
    "two maps": (lambda x: x + x.relu(), Cost(addition=24)),
    "two maps in place": (lambda x: x.clone().add_(x), Cost(addition=24)),
    "a difference": (lambda x: x - x.relu(), Cost(addition=24)),
    "a scaled sum": (lambda x: torch.add(x, x.relu(), alpha=0.2), Cost(addition=24, scaling=24)),
    "a number is no map": (lambda x: x + 3, Cost()),
    "a bias is no map": (lambda x: x + x[:, :, :1, :1].detach(), Cost()),
    "indices are no maps": (lambda x: torch.arange(6).view(2, 3) * 2 + torch.ones(2, 3).long(), Cost()),
    "coordinates are no maps": (lambda x: torch.arange(5.0) * 2 + torch.arange(5.0), Cost()),
    "resizing": (lambda x: nn.functional.interpolate(x, scale_factor=2), Cost()),
    "padding counts": (lambda x: nn.functional.max_pool2d(x, 3, 1, 1), Cost(pooling=9 * 24)),
    "non-linearities do not": (lambda x: nn.functional.silu(x).sigmoid().softmax(1), Cost()),
    "rows": (lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2), Cost(fully_connected=48, activations=4)),
    "upwards": (
        lambda x: nn.functional.conv_transpose2d(x, x.new_empty(2, 6, 2, 2), stride=2),
        Cost(convolution=2 * 6 * 4 * 12, activations=6 * 4 * 12),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_numbers_by_hand(name):
    function, expected = BY_HAND[name]
    assert traced(Runs(function), (2, 3, 4))[0] == expected


FOREIGN = ["convnext_atto", "resnest14d", "mobilenetv3_small_050"]


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_networks_as_torchs_counter(name):
    with torch.device("meta"):
        model = import_timm().create_model(name).eval()
    seen, multiply_adds = traced(model, (3, 97, 130))
    assert seen.multiply_adds == multiply_adds > 1e6


def test_torchvisions_network_costs_what_ours_tells():
    with torch.device("meta"):
        theirs = import_torchvision().models.resnet18().eval()
    cost, _ = meta(network_spec("resnet18")).cost((3, 65, 80))
    assert traced(theirs, (3, 65, 80))[0] == dataclasses.replace(cost, parameters=0, bytes=0)


def test_inference_mode_and_the_processor_count_the_same():
    # Operators arrive whole in inference mode, and attention is one operator on the processor.
    model = import_timm().create_model("vit_tiny_patch16_224", img_size=32).eval()
    with torch.no_grad(), Trace() as trace:
        model(torch.zeros(1, 3, 32, 32))
    expected = trace.cost
    with torch.inference_mode(), Trace() as trace:
        model(torch.zeros(1, 3, 32, 32))
    assert trace.cost == expected
    # torch's counter knows attention only in its parts, as it runs on the meta device.
    assert traced(model.to("meta"), (3, 32, 32)) == (expected, expected.multiply_adds)


def test_two_images_cost_twice_as_much():
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5)).to("meta")
    one, two = (traced(layer, (3, 6, 6))[0], Trace())
    with torch.no_grad(), two:
        layer(torch.zeros(2, 3, 6, 6, device="meta"))
    assert two.cost == one + one
