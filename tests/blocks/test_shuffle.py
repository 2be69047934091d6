import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from senet.blocks import SEConfig
from senet.blocks.cost import Cost
from senet.blocks.se_config import RESIDUAL_PLACEMENTS
from senet.blocks.shuffle import ShuffleUnit, channel_shuffle
from tests.references import randomise

FORMATS = [torch.contiguous_format, torch.channels_last]
# Input and output channels and stride of a unit of each kind, for 3 groups.
KINDS = {"add": (48, 48, 1), "concat": (24, 96, 2)}


def build(kind, placement, **choices):
    torch.manual_seed(0)
    in_channels, out_channels, stride = KINDS[kind]
    se = None if placement is None else SEConfig(placement=placement, reduction=4)
    unit = ShuffleUnit(in_channels, out_channels, groups=3, stride=stride, se=se, **choices)
    randomise(unit)
    return unit.eval()


def pytorchcv_shuffle(x, groups):
    from pytorchcv.models.common.tutti import ChannelShuffle

    return ChannelShuffle(x.shape[1], groups)(x.contiguous())


class Copies(TorchDispatchMode):
    """Counts the operations whose result is not the memory they were given."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if result.untyped_storage().data_ptr() != args[0].untyped_storage().data_ptr():
            self.names.append(str(function))
        return result


@pytest.mark.parametrize("shape", [(2, 12, 5, 3), (1, 12, 1, 1), (3, 12, 1, 4), (0, 12, 5, 5)])
@pytest.mark.parametrize("groups", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("layout", FORMATS)
def test_the_shuffle_is_pytorchcvs_in_both_memory_formats(layout, groups, shape):
    x = torch.randn(shape).to(memory_format=layout)
    kept = x.clone()
    y = channel_shuffle(x, groups)
    assert torch.equal(y, pytorchcv_shuffle(x, groups))
    assert torch.equal(x, kept)
    if x.numel() > 0:  # without values there is no format
        assert y.is_contiguous(memory_format=layout)


def test_channels_are_dealt_out():
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert channel_shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize("layout", FORMATS)
def test_the_shuffle_copies_once_forward_and_once_backward(layout):
    x = torch.randn(2, 12, 5, 3).to(memory_format=layout).requires_grad_()
    gradient = torch.randn(2, 12, 5, 3).to(memory_format=layout)
    with Copies() as forward:
        y = channel_shuffle(x, 3)
    with Copies() as backward:
        (given,) = torch.autograd.grad(y, x, gradient)
    assert len(forward.names) == len(backward.names) == 1
    assert given.is_contiguous(memory_format=layout)
    # Undoing a shuffle of 3 groups is a shuffle of 12 / 3.
    assert torch.equal(given, channel_shuffle(gradient, 4))


@pytest.mark.parametrize(
    "sliced", [lambda x: x[:, :, ::2], lambda x: x.transpose(2, 3), lambda x: x[:, 2:14]]
)
def test_the_shuffle_takes_any_strides(sliced):
    for layout in FORMATS:
        x = sliced(torch.randn(2, 24, 6, 7).to(memory_format=layout))
        assert torch.equal(channel_shuffle(x, 3), pytorchcv_shuffle(x, 3))


def branch(unit, x, inner=lambda y: y):
    y = pytorchcv_shuffle(torch.relu(unit.bn1(unit.conv1(x))), 3)
    return unit.bn3(unit.conv3(inner(unit.bn2(unit.conv2(y)))))


def shortcut(unit, x):
    return x if unit.conv2.stride == (1, 1) else torch.nn.functional.avg_pool2d(x, 3, 2, 1)


def joined(unit, y, z):
    return torch.relu(y + z if unit.conv2.stride == (1, 1) else torch.cat([y, z], 1))


FORMULAS = {
    None: lambda u, x: joined(u, branch(u, x), shortcut(u, x)),
    "standard": lambda u, x: joined(u, u.se(branch(u, x)), shortcut(u, x)),
    "pre": lambda u, x: joined(u, branch(u, u.se(x)), shortcut(u, x)),
    "post": lambda u, x: u.se(joined(u, branch(u, x), shortcut(u, x))),
    "identity": lambda u, x: joined(u, branch(u, x), u.se(shortcut(u, x))),
    "conv3x3": lambda u, x: joined(u, branch(u, x, u.se), shortcut(u, x)),
}
assert set(FORMULAS) == {None, *RESIDUAL_PLACEMENTS}


@pytest.mark.usefixtures("layer_by_layer")
@pytest.mark.parametrize("placement", FORMULAS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_is_its_formula(kind, placement):
    unit = build(kind, placement)
    in_channels, out_channels, stride = KINDS[kind]
    x = torch.randn(2, in_channels, 7, 10)
    kept = x.clone()
    y = unit(x)
    assert torch.equal(y, FORMULAS[placement](unit, x))
    assert torch.equal(x, kept)
    assert y.shape == (2, out_channels, -(-7 // stride), -(-10 // stride))


@pytest.mark.parametrize("first_is_grouped", [True, False])
def test_both_1x1_convolutions_are_grouped_unless_the_first_is_not(first_is_grouped):
    unit = build("concat", None, first_is_grouped=first_is_grouped)
    assert unit.conv1.groups == (3 if first_is_grouped else 1)
    assert (unit.conv2.groups, unit.conv3.groups) == (24, 3)


@pytest.mark.parametrize(
    ("kind", "channels"),
    [
        ("add", {"standard": 48, "pre": 48, "post": 48, "identity": 48, "conv3x3": 12}),
        ("concat", {"standard": 72, "pre": 24, "post": 96, "identity": 24, "conv3x3": 24}),
    ],
)
def test_what_it_costs(kind, channels):
    in_channels, out_channels, stride = KINDS[kind]
    plain = build(kind, None).cost((in_channels, 7, 10))
    assert plain[1] == (out_channels, -(-7 // stride), -(-10 // stride))
    assert plain[0].scaling == 0
    assert plain[0].addition == (48 * 70 if kind == "add" else 0)
    assert plain[0].pooling == (0 if kind == "add" else 9 * 24 * 20)
    for placement in RESIDUAL_PLACEMENTS:
        unit = build(kind, placement)
        with FlopCounterMode(display=False) as counter:
            unit(torch.randn(1, in_channels, 7, 10))
        cost, output = unit.cost((in_channels, 7, 10))
        pixels = 70 if kind == "add" or placement == "pre" else 20
        assert unit.se.channels == channels[placement]
        assert cost == plain[0] + unit.se.cost((channels[placement], pixels, 1))[0]
        assert output == plain[1]
        assert cost.multiply_adds * 2 == counter.get_total_flops()


def test_the_plain_unit_costs_its_convolutions():
    cost, _ = build("concat", None).cost((24, 8, 8))
    assert cost == Cost(
        parameters=24 * 8 + 2 * 24 + 24 * 9 + 2 * 24 + 72 * 8 + 2 * 72,
        convolution=64 * 24 * 8 + 16 * (24 * 9 + 72 * 8),
        pooling=16 * 24 * 9,
        activations=64 * 24 + 16 * (24 + 72),
        bytes=4 * (24 * 8 + 4 * 24 + 24 * 9 + 4 * 24 + 72 * 8 + 4 * 72) + 3 * 8,
    )


@pytest.mark.parametrize("placement", FORMULAS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_input_can_be_needed_again(kind, placement):
    # An in-place operation on what SE, the sum or the input's owner saved would raise here.
    unit = build(kind, placement).train()
    x = torch.randn(3, KINDS[kind][0], 5, 5, requires_grad=True)
    unit(x.relu()).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "layout"), list(zip(KINDS, FORMATS, strict=True)))
def test_the_unit_keeps_the_memory_format_and_compiles_and_exports_in_it(kind, layout):
    torch._dynamo.reset()
    unit = build(kind, "standard").to(memory_format=layout)
    x = torch.randn(2, KINDS[kind][0], 6, 5).to(memory_format=layout)
    more = torch.randn(5, KINDS[kind][0], 6, 5).to(memory_format=layout)
    with torch.no_grad():
        y = unit(x)
        assert y.is_contiguous(memory_format=layout)
        assert not y.is_contiguous() or layout == torch.contiguous_format
        compiled = torch.compile(unit, fullgraph=True, backend="eager", dynamic=True)
        for each in (x, more):
            assert torch.allclose(compiled(each), unit(each), atol=1e-5)
        dynamic = {"x": {0: torch.export.Dim("images")}}
        program = torch.export.export(unit, (x,), dynamic_shapes=dynamic).module()
        for other in FORMATS:
            assert torch.allclose(program(more.contiguous(memory_format=other)), unit(more), atol=1e-5)
