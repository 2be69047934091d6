"""Inception modules and units against pytorchcv's, and pools against torch's own."""

import importlib

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from senet.blocks import SEConfig
from senet.blocks.cost import cost_of
from senet.blocks.inception import HalvingMaxPool, InceptionModule, InceptionResidualUnit, build_layer
from senet.blocks.inception_table import Branch, Conv, Pool, branch
from senet.blocks.se_config import RESIDUAL_PLACEMENTS
from tests.references import import_torchvision, randomise, relative_difference

GOOGLENET = (
    branch("branch1", Conv(16)),
    branch("branch2", Conv(8), Conv(24, 3)),
    branch("branch4", Pool("max"), Conv(12)),
)
FORKED = (
    branch("direct", Conv(16)),
    Branch((("trunk", Conv(8)), ("left", Conv(12, (1, 3))), ("right", Conv(20, (3, 1)))), ends=2),
)
UNIT = (branch("branch0", Conv(16)), branch("branch1", Conv(8), Conv(24, (1, 7)), Conv(16, (7, 1))))


def test_se_weighs_the_concatenated_branches():
    module = InceptionModule(24, GOOGLENET, eps=1e-3, se=SEConfig())
    randomise(module)
    module.eval()
    x = torch.randn(2, 24, 7, 5)
    branches = [module.branch1(x), module.branch2(x), module.branch4(x)]
    assert [b.shape[1] for b in branches] == [16, 24, 12]
    assert module.se.channels == module.out_channels == 52
    assert torch.equal(module(x), module.se(torch.cat(branches, 1)))
    assert module.cost((24, 7, 5))[1] == (52, 7, 5)
    assert {layer.eps for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)} == {1e-3}


def test_a_forked_branch_runs_its_trunk_once():
    module = InceptionModule(24, FORKED, eps=1e-5)
    randomise(module)
    module.eval()
    runs = []
    module.trunk.register_forward_hook(lambda *_: runs.append(1))
    x = torch.randn(2, 24, 7, 5)
    y = module(x)
    assert len(runs) == 1
    trunk = module.trunk(x)
    assert torch.equal(y, torch.cat([module.direct(x), module.left(trunk), module.right(trunk)], 1))
    cost, output = module.cost((24, 7, 5))
    assert output == (48, 7, 5)
    assert cost.convolution == (24 * 16 + 24 * 8 + 8 * 12 * 3 + 8 * 20 * 3) * 35


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (Pool("max"), nn.MaxPool2d(3, 1, 1)),
        (Pool("average"), nn.AvgPool2d(3, 1, 1)),
        (Pool("average_inside"), nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
        (Pool("max", stride=2, border="ceil"), nn.MaxPool2d(3, 2, ceil_mode=True)),
        (Pool("max", 2, stride=2, border="ceil"), nn.MaxPool2d(2, 2, ceil_mode=True)),
        (Pool("max", stride=2, border="unpadded"), nn.MaxPool2d(3, 2)),
    ],
    ids=str,
)
def test_pools(pool, expected):
    layer, channels = build_layer(pool, 6, 1e-3)
    assert str(layer) == str(expected)
    assert channels == 6
    x = torch.randn(2, 6, 8, 5)
    y = layer(x)
    assert torch.equal(y, expected(x))
    assert cost_of(layer, (6, 8, 5))[1] == y.shape[1:]


@pytest.mark.parametrize("height", [1, 2, 5, 6])
@pytest.mark.parametrize("width", [1, 4, 7])
def test_the_halving_pool_stands_beside_padded_convolutions(height, width):
    pool = HalvingMaxPool()
    x = torch.randn(2, 3, height, width) - 5  # No maximum is 0, the value of padding.
    y = pool(x)
    assert y.shape == functional.conv2d(x, torch.ones(1, 3, 3, 3), stride=2, padding=1).expand_as(y).shape
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            window = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            assert torch.equal(y[:, :, i, j], window.amax((2, 3)))
    if height % 2 == 0 and width % 2 == 0:
        assert torch.equal(y, functional.max_pool2d(x, 3, 2, ceil_mode=True))
    cost, output = pool.cost((3, height, width))
    assert output == y.shape[1:]
    assert cost.pooling == 9 * y[0].numel()


def pytorchcv_unit(channels):
    """Return pytorchcv's unit for maps of 17 pixels, with few channels."""
    import_torchvision()
    module = importlib.import_module("pytorchcv.models.inceptionresnetv1")
    norm = importlib.import_module("pytorchcv.models.common.norm").lambda_batchnorm2d(eps=1e-3)
    return module.InceptionBUnit(channels, [16, 8, 24, 16], norm)


def reference(placement, channels):
    """Return pytorchcv's unit with pytorchcv's SE at the place."""
    unit = pytorchcv_unit(channels)
    if placement is None:
        return unit, None
    inner = 32 if placement == "conv3x3" else channels
    se = importlib.import_module("pytorchcv.models.common.att").SEBlock(inner, 4, use_conv=False)
    if placement == "standard":
        unit.conv.register_forward_hook(lambda _, __, y: se(y))
    elif placement == "conv3x3":
        unit.branches.register_forward_hook(lambda _, __, y: se(y))
    elif placement == "pre":
        unit.branches.register_forward_pre_hook(lambda _, inputs: se(inputs[0]))
    elif placement == "post":
        unit.register_forward_hook(lambda _, __, y: se(y))
    else:
        shifted = []  # What the sum has to add to the shortcut for it to be weighed.
        unit.register_forward_pre_hook(lambda _, inputs: shifted.append(se(inputs[0]) - inputs[0]))
        unit.activ.register_forward_pre_hook(lambda _, inputs: (inputs[0] + shifted.pop(),))
    return unit, se


@pytest.mark.parametrize("placement", [None, *RESIDUAL_PLACEMENTS])
def test_units_with_se_at_every_place_are_pytorchcvs(placement):
    torch.manual_seed(0)
    theirs, block = reference(placement, 48)
    parts = [theirs] if block is None else [theirs, block]
    for seed, part in enumerate(parts):
        randomise(part.double(), seed)
    se = None if placement is None else SEConfig(placement=placement, reduction=4)
    ours = InceptionResidualUnit(48, UNIT, eps=1e-3, factor=0.1, se=se).double()
    values = [value for part in parts for value in part.state_dict().values()]
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    for training in (False, True):
        x = torch.randn(3, 48, 6, 5, dtype=torch.float64, requires_grad=True)
        before = x.detach().clone()
        results = []
        for unit in (theirs, ours):
            x.grad = None
            y = unit.train(training)(x)
            y.pow(3).sum().backward()
            results.append((y, x.grad))
        assert torch.equal(x, before)
        for expected, found in zip(*results, strict=True):
            assert relative_difference(found, expected) < 1e-10
    parameters = [parameter for part in parts for parameter in part.parameters()]
    for expected, found in zip(parameters, ours.parameters(), strict=True):
        assert relative_difference(found.grad, expected.grad) < 1e-6
        assert found.grad.any()


def test_the_last_unit_has_no_relu_and_no_factor():
    unit = InceptionResidualUnit(48, UNIT, eps=1e-3, factor=1.0, relu=False)
    randomise(unit)
    unit.eval()
    x = torch.randn(2, 48, 5, 5)
    y = unit(x)
    assert (y < 0).any()
    assert torch.equal(y, x + unit.conv2d(torch.cat([unit.branch0(x), unit.branch1(x)], 1)))
    scaled = InceptionResidualUnit(48, UNIT, eps=1e-3, factor=0.5)
    assert unit.cost((48, 5, 5))[0].scaling == 0
    assert scaled.cost((48, 5, 5))[0].scaling == 48 * 25


@pytest.mark.parametrize("squeeze", ["avg", "none"])
@pytest.mark.parametrize("placement", [None, *RESIDUAL_PLACEMENTS])
def test_the_cost_of_a_unit_is_what_a_trace_counts(placement, squeeze):
    se = None if placement is None else SEConfig(placement=placement, squeeze=squeeze)
    unit = InceptionResidualUnit(48, UNIT, eps=1e-3, factor=0.1, se=se).eval()
    cost, output = unit.cost((48, 6, 5))
    with FlopCounterMode(display=False) as counter:
        assert unit(torch.randn(1, 48, 6, 5)).shape[1:] == output == (48, 6, 5)
    assert counter.get_total_flops() == 2 * cost.multiply_adds
    weighed = 0 if se is None else unit.se.channels * 30
    assert cost.parameters == sum(p.numel() for p in unit.parameters())
    assert (cost.addition, cost.scaling) == (48 * 30, 48 * 30 + weighed)
    assert cost.pooling == (weighed if squeeze == "avg" else 0)


@pytest.mark.parametrize("placement", RESIDUAL_PLACEMENTS)
@pytest.mark.parametrize("squeeze", ["avg", "none"])
def test_open_gates_leave_the_unit_as_it_is_to_the_bit(placement, squeeze):
    twin = InceptionResidualUnit(
        48, UNIT, eps=1e-3, factor=0.1, se=SEConfig(placement=placement, squeeze=squeeze)
    )
    plain = InceptionResidualUnit(48, UNIT, eps=1e-3, factor=0.1)
    randomise(plain)
    twin.load_state_dict(plain.state_dict(), strict=False)
    twin.se.gate = torch.ones_like
    x = torch.randn(2, 48, 6, 5)
    assert torch.equal(twin(x), plain(x))
