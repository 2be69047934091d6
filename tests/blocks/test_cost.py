import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from senet.blocks import SqueezeExcitation
from senet.blocks.cost import Cost, NoPixelLeftError, UnknownLayerError, chain_cost, cost_of
from senet.errors import SenetError


@settings(deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.integers(1, 4),
    st.integers(0, 2),
    st.integers(1, 2),
    st.sampled_from(["convolution", "floor", "ceil"]),
)
def test_the_shape_behind_a_window_is_torchs(height, width, kernel, stride, padding, dilation, kind):
    if kind == "convolution":
        layer = nn.Conv2d(2, 6, kernel, stride, padding, dilation, groups=2)
    elif padding > min(kernel) // 2:
        return  # torch refuses it
    else:
        layer = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=kind == "ceil")
    layer.to("meta")
    x = torch.empty(1, 2, height, width, device="meta")
    try:
        with FlopCounterMode(display=False) as counter:
            expected = tuple(layer(x).shape[1:])
    except RuntimeError:
        expected = None
    if expected is None:
        with pytest.raises(NoPixelLeftError):
            cost_of(layer, (2, height, width))
    else:
        cost, output = cost_of(layer, (2, height, width))
        assert output == expected
        assert cost.multiply_adds * 2 == counter.get_total_flops()


def test_a_chain_adds_up():
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    cost, output = chain_cost([nn.Sequential(*layers), nn.Linear(32, 5)], (3, 6, 7))
    assert output == (5,)
    assert cost == Cost(
        parameters=8 * 27 + 8 + 16 + 32 * 5 + 5,
        convolution=8 * 27 * 42,
        fully_connected=160,
        pooling=8 * (3 + 3) * (4 + 4),  # windows of an odd side overlap
        activations=8 * 42 + 5,
        bytes=4 * (8 * 27 + 8 + 32 + 165) + 8,
    )


def test_squeeze_excitation_costs_its_two_layers():
    cost, output = SqueezeExcitation(64).cost((64, 9, 9))
    assert output == (64, 9, 9)
    assert cost == Cost(
        parameters=2 * 64 * 4 + 68,
        fully_connected=2 * 64 * 4,
        pooling=64 * 81,
        scaling=64 * 81,
        activations=68,
        bytes=4 * (2 * 64 * 4 + 68),
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(SenetError, match="takes 3 channels, not 4"):
        cost_of(nn.Conv2d(3, 8, 3), (4, 6, 6))
    with pytest.raises(SenetError, match="takes 3 channels, not 4"):
        cost_of(nn.Linear(3, 8), (4,))
    with pytest.raises(UnknownLayerError, match="no cost rule for a Bilinear"):
        cost_of(nn.Bilinear(1, 1, 1), (3, 6, 6))
    with pytest.raises(UnknownLayerError, match="the setting 'same'"):
        cost_of(nn.Conv2d(3, 8, 3, padding="same"), (3, 6, 6))
