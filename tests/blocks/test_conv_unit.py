import pytest
import torch

from senet.blocks import SEConfig
from senet.blocks.conv_unit import ConvUnit
from tests.references import randomise


@pytest.mark.usefixtures("layer_by_layer")
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_se_follows_the_non_linearity(kernel_size, stride, bias):
    unit = ConvUnit(3, 32, kernel_size, stride=stride, bias=bias, eps=1e-3, se=SEConfig())
    randomise(unit)
    unit.eval()
    x = torch.randn(2, 3, 9, 7)
    y = unit(x)
    expected = torch.relu(unit.bn(unit.conv(x)))
    assert torch.equal(y, unit.se(expected))
    assert (unit.conv.bias is not None) == bias
    assert unit.bn.eps == 1e-3
    assert unit.cost((3, 9, 7))[1] == y.shape[1:]
    unit.se = None
    assert torch.equal(unit(x), expected)
