from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from senet.blocks import SEConfig
from senet.blocks.cost import Cost
from senet.blocks.depthwise import DepthwiseSeparableUnit, rectifier
from senet.weights.keymaps.mobile import from_timm
from tests.references import converted, import_timm, randomise, relative_difference

ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6}


def build(placement, stride=1, activation="relu"):
    se = None if placement is None else SEConfig(placement=placement, reduction=8)
    unit = DepthwiseSeparableUnit(32, 48, stride=stride, activation=activation, se=se)
    randomise(unit)
    return unit.double().eval()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("placement", [None, "conv3x3"])
def test_the_unit_is_timms(placement, stride, activation):
    import_timm()
    from timm.models._efficientnet_blocks import DepthwiseSeparableConv, SqueezeExcite

    theirs = DepthwiseSeparableConv(
        32,
        48,
        stride=stride,
        noskip=True,
        pw_act=True,
        act_layer=ACTIVATIONS[activation],
        se_layer=placement and partial(SqueezeExcite, rd_ratio=1 / 8, force_act_layer=nn.ReLU),
    )
    randomise(theirs)
    theirs.double().eval()
    ours = build(placement, stride, activation)

    def rename(key):
        return from_timm(f"blocks.0.0.{key}").removeprefix("stage1.0.")

    ours.load_state_dict(converted(theirs.state_dict(), ours, rename))
    x = 10 * torch.randn(2, 32, 9, 6, dtype=torch.float64)
    expected = theirs(x)
    assert (expected.max() > 6) == (activation == "relu")
    assert relative_difference(ours(x), expected) < 1e-10


@pytest.mark.usefixtures("layer_by_layer")
@pytest.mark.parametrize("placement", [None, "standard", "conv3x3"])
@pytest.mark.parametrize("stride", [1, 2])
def test_se_follows_a_non_linearity(placement, stride):
    unit = build(placement, stride)
    x = torch.randn(2, 32, 9, 7, dtype=torch.float64)
    kept = x.clone()
    inner = torch.relu(unit.bn1(unit.depthwise(x)))
    if placement == "conv3x3":
        inner = unit.se(inner)
    expected = torch.relu(unit.bn2(unit.pointwise(inner)))
    if placement == "standard":
        expected = unit.se(expected)
    y = unit(x)
    assert torch.equal(y, expected)
    assert torch.equal(x, kept)
    assert y.shape == (2, 48, -(-9 // stride), -(-7 // stride))


@pytest.mark.parametrize(("placement", "channels"), [("standard", 48), ("conv3x3", 32)])
def test_what_it_costs(placement, channels):
    unit = build(placement, 2).to("meta")
    x = torch.empty(1, 32, 9, 7, dtype=torch.float64, device="meta")
    with FlopCounterMode(display=False) as counter:
        y = unit(x)
    cost, output = unit.cost((32, 9, 7))
    assert output == y.shape[1:] == (48, 5, 4)
    assert cost.multiply_adds * 2 == counter.get_total_flops()
    se = unit.se.cost((channels, 5, 4))[0]
    assert unit.se.channels == channels
    assert cost == se + Cost(
        parameters=32 * 9 + 2 * 32 + 32 * 48 + 2 * 48,
        convolution=20 * (32 * 9 + 32 * 48),
        activations=20 * (32 + 48),
        bytes=8 * (32 * 9 + 4 * 32 + 32 * 48 + 4 * 48) + 2 * 8,
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("placement", ["standard", "conv3x3"])
def test_the_input_can_be_needed_again(placement, activation):
    # An in-place operation on what SE or the input's owner saved would raise here.
    unit = build(placement, activation=activation).train()
    x = torch.randn(3, 32, 5, 5, dtype=torch.float64, requires_grad=True)
    unit(x.relu()).sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in unit.se.parameters())


def test_an_unknown_activation_is_refused():
    with pytest.raises(KeyError):
        rectifier("relu7")
