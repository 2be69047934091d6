"""Residual units and the places of SE in them, against the formulas of the module's docstring."""

import pytest
import torch
from torch import relu

from senet.blocks import SEConfig
from senet.blocks.residual import BasicUnit, BottleneckUnit
from tests.references import randomise

PLACEMENTS = ["standard", "pre", "post", "identity", "conv3x3"]


def build(kind, placement, in_channels, stride):
    se = None if placement is None else SEConfig(reduction=4, placement=placement)
    if kind == "basic":
        unit = BasicUnit(in_channels, 32, stride=stride, se=se)
    else:
        unit = BottleneckUnit(in_channels, 8, 32, stride=stride, stride_in=kind, se=se)
    randomise(unit)
    return unit.eval()


def branch(unit, x, inner=lambda y: y):
    """Return the unit's branch, with ``inner`` behind the (first) 3x3 convolution's BatchNorm."""
    if isinstance(unit, BasicUnit):
        return unit.bn2(unit.conv2(relu(inner(unit.bn1(unit.conv1(x))))))
    y = relu(unit.bn1(unit.conv1(x)))
    return unit.bn3(unit.conv3(relu(inner(unit.bn2(unit.conv2(y))))))


def shortcut(unit, x):
    return x if unit.downsample is None else unit.downsample(x)


FORMULAS = {
    None: lambda u, x: relu(branch(u, x) + shortcut(u, x)),
    "standard": lambda u, x: relu(u.se(branch(u, x)) + shortcut(u, x)),
    "pre": lambda u, x: relu(branch(u, u.se(x)) + shortcut(u, x)),
    "post": lambda u, x: u.se(relu(branch(u, x) + shortcut(u, x))),
    "identity": lambda u, x: relu(branch(u, x) + u.se(shortcut(u, x))),
    "conv3x3": lambda u, x: relu(branch(u, x, u.se) + shortcut(u, x)),
}


@pytest.mark.usefixtures("layer_by_layer")
@pytest.mark.parametrize("placement", [None, *PLACEMENTS])
@pytest.mark.parametrize(("in_channels", "stride"), [(32, 1), (16, 1), (16, 2), (32, 2)])
@pytest.mark.parametrize("kind", ["basic", "1x1", "3x3"])
def test_the_unit_is_its_formula(kind, in_channels, stride, placement):
    unit = build(kind, placement, in_channels, stride)
    x = torch.randn(2, in_channels, 7, 10)
    kept = x.clone()
    y = unit(x)
    assert torch.equal(y, FORMULAS[placement](unit, x))
    assert torch.equal(x, kept)
    assert y.shape == (2, 32, -(-7 // stride), -(-10 // stride))
    assert unit.cost((in_channels, 7, 10))[1] == y.shape[1:]


@pytest.mark.parametrize("kind", ["basic", "1x1", "3x3"])
def test_the_placements_differ(kind):
    units = {placement: build(kind, placement, 32, 1) for placement in PLACEMENTS}
    if kind != "basic":  # its inner convolution has fewer channels
        del units["conv3x3"]
    x = torch.randn(2, 32, 5, 5)
    reference = units["standard"].state_dict()
    outputs = []
    for unit in units.values():
        unit.load_state_dict(reference)
        outputs.append(unit(x))
    for i, a in enumerate(outputs):
        assert all(not torch.allclose(a, b) for b in outputs[:i])


@pytest.mark.parametrize(("stride_in", "strides"), [("1x1", (2, 1)), ("3x3", (1, 2))])
def test_the_stride_stands_where_asked(stride_in, strides):
    unit = BottleneckUnit(16, 8, 32, stride=2, stride_in=stride_in)
    assert (unit.conv1.stride[0], unit.conv2.stride[0]) == strides
    assert unit.conv3.stride[0] == 1


def test_only_the_3x3_is_grouped():
    unit = BottleneckUnit(16, 8, 32, groups=4)
    assert (unit.conv1.groups, unit.conv2.groups, unit.conv3.groups) == (1, 4, 1)


@pytest.mark.parametrize(
    ("placement", "channels"), [("standard", 32), ("pre", 16), ("post", 32), ("identity", 32), ("conv3x3", 8)]
)
def test_se_weighs_the_channels_at_its_place(placement, channels):
    assert build("1x1", placement, 16, 2).se.channels == channels


def test_the_input_can_be_needed_again():
    # An in-place operation on what SE or the shortcut saved would raise here.
    for placement in PLACEMENTS:
        for kind in ("basic", "3x3"):
            unit = build(kind, placement, 32, 1).train()
            x = torch.randn(3, 32, 5, 5, requires_grad=True)
            unit(x.relu()).sum().backward()
            assert x.grad.isfinite().all()
