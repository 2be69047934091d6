import pytest
import torch

from senet.blocks.kinds import hidden_width, make_block, require_kind, uses_reduction
from senet.blocks.relatives.cbam import CBAM
from senet.blocks.relatives.eca import EfficientChannelAttention
from senet.blocks.relatives.ese import EffectiveSE
from senet.blocks.relatives.gather_excite import GatherExcite
from senet.blocks.relatives.scse import SpatialChannelSE
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.errors import SenetError

pytestmark = pytest.mark.usefixtures("layer_by_layer")

CLASSES = {
    "se": SqueezeExcitation,
    "ese": EffectiveSE,
    "eca": EfficientChannelAttention,
    "scse": SpatialChannelSE,
    "ge": GatherExcite,
    "cbam": CBAM,
}
HIDDEN = {"se": ("fc1",), "scse": ("channel", "fc1"), "cbam": ("reduce",)}


@pytest.mark.parametrize("kind", CLASSES)
def test_each_name_gives_its_class(kind):
    require_kind(kind)
    block = make_block(kind, 32)
    assert type(block) is CLASSES[kind]
    assert block.channels == 32
    x = torch.randn(2, 32, 9, 9)
    assert torch.equal(block(x), x)
    assert not torch.equal(make_block(kind, 32, start="random")(x), x)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_hidden_width_is_that_of_the_block(kind):
    assert uses_reduction(kind) is (kind in HIDDEN)
    if kind not in HIDDEN:
        assert hidden_width(kind, 96, 8) is None
        assert make_block(kind, 4, reduction=16).channels == 4
        return
    for reduction, expected in ((8, 12), (16, 6), (32, 4)):
        block = make_block(kind, 96, reduction=reduction)
        for name in HIDDEN[kind]:
            block = getattr(block, name)
        assert block.out_features == hidden_width(kind, 96, reduction) == expected


@pytest.mark.parametrize("kind", HIDDEN)
def test_a_reduction_larger_than_the_channels_is_refused(kind):
    for build in (lambda: make_block(kind, 8), lambda: hidden_width(kind, 8, 16)):
        with pytest.raises(SenetError, match="reduction must be at most the number of channels, 8, not 16"):
            build()


def test_gather_excite_has_extent_8_and_parameters():
    block = make_block("ge", 16)
    assert block.extent == 8
    assert block.learned
    assert len(block.convs) == 3


@pytest.mark.parametrize("kind", ["scse", "ge", "cbam"])
def test_dimensions_reach_the_convolutions(kind):
    for dims in (1, 2, 3):
        x = torch.randn(2, 16, *(9, 5, 7)[:dims])
        assert torch.equal(make_block(kind, 16, dims=dims)(x), x)
    with pytest.raises(SenetError, match="dims must be 1, 2 or 3, the number of spatial dimensions, not 4"):
        make_block(kind, 16, dims=4)


def test_an_unknown_name_is_refused():
    with pytest.raises(SenetError, match=r"kind must be one of se, ese, eca, scse, ge.*, not 'sce'"):
        make_block("sce", 16)
