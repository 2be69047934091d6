"""What the relatives cost, in which types they compute, and what they refuse."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from senet.blocks.kinds import make_block
from senet.blocks.relatives.gather_excite import GatherExcite
from senet.errors import SenetError
from senet.insight.trace import Trace
from tests.blocks.relatives import CONVOLVING, KINDS, RELATIVES, build
from tests.references import relative_difference

pytestmark = pytest.mark.usefixtures("layer_by_layer")


class AverageTypes(TorchDispatchMode):
    """Notes the type of each average: newer versions of torch get those of half precision right too."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.mean.dim, torch.ops.aten.avg_pool2d.default):
            self.seen.append(output.dtype)
        return output


@pytest.mark.parametrize(("kind", "averages"), [("ese", 1), ("eca", 1), ("scse", 1), ("ge-", 1), ("cbam", 2)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_maps_are_averaged_in_float32(kind, averages, dtype):
    block = build(kind, 256).eval().to(dtype)
    with torch.no_grad(), AverageTypes() as types:
        y = block(torch.full((1, 256, 16, 16), 6e2, dtype=dtype))
    assert types.seen == [torch.float32] * averages
    assert y.isfinite().all()
    assert y.dtype == dtype


@pytest.mark.parametrize("kind", [*KINDS, "ge-"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_keeps_the_type_of_the_input(kind, dtype):
    block = build(kind).eval()
    x = torch.randn(2, 32, 9, 7).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        y = block(x)
    assert y.dtype == dtype
    assert relative_difference(y.float(), block(x.float())) < 0.03


@pytest.mark.parametrize("kind", [*KINDS, "ge-", "ge-2"])
@pytest.mark.parametrize("start", ["random", "identity"])
@pytest.mark.parametrize("shape", [(32, 9, 7), (32, 16, 16), (32, 1, 1), (32, 3, 20)])
def test_cost_equals_the_trace(kind, start, shape):
    if kind.startswith("ge-"):
        block = GatherExcite(32, 2 if kind == "ge-2" else 8, learned=False)
    else:
        block = make_block(kind, 32, reduction=8, start=start)
    cost, output = block.eval().cost(shape)
    with torch.no_grad(), Trace() as trace:
        y = block(torch.randn(1, *shape))
    assert output == shape == tuple(y.shape[1:])
    names = ("convolution", "fully_connected", "pooling", "scaling", "addition", "activations")
    assert {n: getattr(cost, n) for n in names} == {n: getattr(trace.cost, n) for n in names}
    assert cost.parameters == sum(each.numel() for each in block.parameters())
    tensors = [*block.parameters(), *block.buffers()]
    assert cost.bytes == sum(each.numel() * each.element_size() for each in tensors)


@pytest.mark.parametrize("kind", CONVOLVING)
def test_cost_in_other_dimensions_is_that_of_the_layers(kind):
    # Of a trace only the convolutions are certain in 1-D and 3-D.
    for dims in (1, 3):
        block = make_block(kind, 8, reduction=2, dims=dims).eval()
        shape = (8, *(5, 9, 3)[:dims])
        with torch.no_grad(), Trace() as trace:
            block(torch.randn(1, *shape))
        assert block.cost(shape)[0].convolution == trace.cost.convolution > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 31, 5, 5), (32,)])
def test_a_wrong_shape_is_refused(kind, shape):
    with pytest.raises(SenetError, match=r"expects input of shape \(N, 32, .*\), not"):
        make_block(kind, 32)(torch.randn(shape))


@pytest.mark.parametrize("kind", CONVOLVING)
def test_other_dimensions_are_refused(kind):
    for dims, layout in ((1, "W"), (2, "H, W"), (3, "D, H, W")):
        block = make_block(kind, 32, dims=dims)
        for wrong in {1, 2, 3} - {dims}:
            with pytest.raises(SenetError, match=rf"expects input of shape \(N, 32, {layout}\)"):
                block(torch.randn(2, 32, *(3, 3, 3)[:wrong]))


@pytest.mark.parametrize("kind", KINDS)
def test_maps_without_pixels_are_refused(kind):
    with pytest.raises(SenetError, match="maps with at least one pixel"):
        make_block(kind, 32)(torch.randn(2, 32, 0, 5))


@pytest.mark.parametrize(("kind", "shape"), [("ge", (1, 32, 8, 8)), ("cbam", (1, 32, 1, 1))])
def test_one_value_cannot_be_normalised_in_training(kind, shape):
    block = make_block(kind, 32)
    x = torch.randn(shape)
    with pytest.raises(SenetError, match=r"cannot be trained on a single value per channel.*more images"):
        block(x)
    assert torch.equal(block.eval()(x), x)


@pytest.mark.parametrize("kind", RELATIVES)
def test_values_that_are_not_allowed_are_refused(kind):
    with pytest.raises(SenetError, match="start must be one of random, identity, not 'zero'"):
        make_block(kind, 32, start="zero")
    with pytest.raises(SenetError, match="channels must be a whole number of at least 1, not 0"):
        make_block(kind, 0, reduction=1)


def test_gather_excite_without_parameters_cannot_start_as_the_identity():
    with pytest.raises(SenetError, match="needs parameters, and"):
        GatherExcite(32, learned=False, start="identity")
    assert not list(GatherExcite(32, learned=False).parameters())
    for extent in (0, 3, 16, True):
        with pytest.raises(SenetError, match=f"extent must be 2, 4 or 8, not {extent}"):
            GatherExcite(32, extent)
