"""Pre-activation units and the places of SE in them, against the formulas of the module's docstring."""

import copy

import pytest
import torch
from torch import relu

from senet.blocks import SEConfig
from senet.blocks.cost import parameter_count
from senet.blocks.preactivation import PreActivationBasicUnit, PreActivationBottleneckUnit
from tests.references import randomise

PLACEMENTS = ["standard", "pre", "post", "identity", "conv3x3"]
KINDS = ["basic", "1x1", "3x3"]


def build(kind, placement, in_channels, stride, **choices):
    se = None if placement is None else SEConfig(reduction=4, placement=placement, **choices)
    if kind == "basic":
        unit = PreActivationBasicUnit(in_channels, 32, stride=stride, se=se)
    else:
        unit = PreActivationBottleneckUnit(in_channels, 8, 32, stride=stride, stride_in=kind, se=se)
    randomise(unit)
    return unit.double()


def same(x):
    return x


def unit_formula(unit, x, *, pre=same, inner=same, end=same, shortcut=same, after=same):
    """Return the unit's output, with what stands for SE at each place."""
    a = relu(unit.bn1(pre(x)))
    if isinstance(unit, PreActivationBasicUnit):
        branch = unit.conv2(relu(unit.bn2(inner(unit.conv1(a)))))
    else:
        branch = unit.conv3(relu(unit.bn3(inner(unit.conv2(relu(unit.bn2(unit.conv1(a))))))))
    s = x if unit.downsample is None else unit.downsample(a)
    return after(end(branch) + shortcut(s))


PLACES = {
    None: None,
    "standard": "end",
    "pre": "pre",
    "post": "after",
    "identity": "shortcut",
    "conv3x3": "inner",
}


@pytest.mark.usefixtures("layer_by_layer")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("placement", PLACES)
@pytest.mark.parametrize(("in_channels", "stride"), [(32, 1), (16, 1), (16, 2), (32, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_is_its_formula(kind, in_channels, stride, placement, training):
    unit = build(kind, placement, in_channels, stride).train(training)
    twin = copy.deepcopy(unit)
    x = torch.randn(2, in_channels, 7, 10, dtype=torch.float64)
    kept = x.clone()
    y = unit(x)
    places = {} if placement is None else {PLACES[placement]: twin.se}
    assert torch.equal(y, unit_formula(twin, x, **places))
    assert torch.equal(x, kept)
    assert y.shape == (2, 32, -(-7 // stride), -(-10 // stride))
    for key, value in twin.state_dict().items():  # a second pass through a BatchNorm would count twice
        assert torch.equal(unit.state_dict()[key], value), key


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("in_channels", "stride"), [(32, 1), (16, 2)])
def test_the_placements_differ(kind, in_channels, stride):
    units = {placement: build(kind, placement, in_channels, stride) for placement in PLACEMENTS}
    if kind != "basic":  # its inner convolution has fewer channels
        del units["conv3x3"]
    if in_channels != 32:
        del units["pre"]
    x = torch.randn(2, in_channels, 5, 5, dtype=torch.float64)
    state = units["standard"].state_dict()
    outputs = []
    for unit in units.values():
        unit.load_state_dict(state)
        outputs.append(unit.eval()(x))
    for i, a in enumerate(outputs):
        assert all(not torch.allclose(a, b) for b in outputs[:i])


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(("in_channels", "stride"), [(32, 1), (16, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_open_gates_change_no_bit_and_no_gradient(kind, in_channels, stride, placement):
    unit = build(kind, placement, in_channels, stride)
    unit.se.gate = torch.ones_like
    plain = build(kind, None, in_channels, stride)
    missing, unexpected = unit.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert {key.split(".")[0] for key in missing} == {"se"}
    values = torch.randn(3, in_channels, 6, 5, dtype=torch.float64)
    x, twin_x = values.clone().requires_grad_(), values.clone().requires_grad_()
    y, twin_y = plain(x.relu()), unit(twin_x.relu())
    assert torch.equal(y, twin_y)
    y.square().sum().backward()
    twin_y.square().sum().backward()
    assert torch.allclose(x.grad, twin_x.grad, rtol=1e-12)


def test_a_projection_stands_where_the_shape_changes_and_nowhere_else():
    for kind in KINDS:
        shapes = [(32, 1), (16, 1), (32, 2), (16, 2)]
        found = [build(kind, None, channels, stride).downsample for channels, stride in shapes]
        assert [each is not None for each in found] == [False, True, True, True]
        assert all(each is None or each.bias is None for each in found)


@pytest.mark.parametrize(("stride_in", "strides"), [("1x1", (2, 1)), ("3x3", (1, 2))])
def test_the_stride_stands_where_asked(stride_in, strides):
    unit = PreActivationBottleneckUnit(16, 8, 32, stride=2, stride_in=stride_in)
    assert (unit.conv1.stride[0], unit.conv2.stride[0], unit.conv3.stride[0]) == (*strides, 1)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_se_weighs_the_channels_and_pixels_at_its_place(kind, placement):
    unit = build(kind, placement, 16, 2)
    seen = []
    unit.se.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    y = unit(torch.randn(1, 16, 9, 12, dtype=torch.float64))
    assert len(seen) == 1
    cost, output = unit.cost((16, 9, 12))
    plain = build(kind, None, 16, 2).cost((16, 9, 12))[0]
    assert output == y.shape[1:]
    assert cost.parameters == parameter_count(unit)
    # The squeeze reads each value that SE sees, and the gate scales each.
    assert cost.pooling == cost.scaling == seen[0].numel()
    assert cost.addition == plain.addition == y[0].numel()
    assert cost.convolution == plain.convolution


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_gate_at_every_pixel(kind, placement):
    unit = build(kind, placement, 16, 2, squeeze="none").eval()
    assert unit(torch.randn(1, 16, 6, 6, dtype=torch.float64)).shape == (1, 32, 3, 3)
