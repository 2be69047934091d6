"""SE and its relatives: one contract for all."""

import copy

import pytest
import torch
from torch.nn import functional

from senet.blocks.kinds import make_block
from senet.blocks.relatives.gather_excite import GatherExcite
from senet.kernels.backends import kernels
from tests.blocks.relatives import KINDS, LAST, RELATIVES, build, shaken
from tests.references import relative_difference

pytestmark = pytest.mark.usefixtures("layer_by_layer")


@pytest.mark.parametrize("kind", [*KINDS, "ge-"])
@pytest.mark.parametrize("shape", [(3, 32, 13), (1, 32, 1), (2, 32, 9, 5), (1, 32, 1, 1), (2, 32, 3, 5, 7)])
def test_keeps_shape_type_and_finite_values(kind, shape):
    block = build(kind, dims=len(shape) - 2).eval()
    x = torch.randn(shape)
    y = block(x)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert y.isfinite().all()
    assert not torch.equal(y, x)
    # Each image is weighed by itself.
    assert torch.allclose(block(x[:1]), y[:1], atol=1e-6)
    assert block(x[:0]).shape == (0, *shape[1:])


@pytest.mark.parametrize("kind", [*KINDS, "ge-"])
def test_more_dimensions_of_size_one_change_nothing(kind):
    # What is beyond the border is zeros for convolutions: of their kernels only the middle counts.
    x = torch.randn(2, 32, 11)
    blocks = {dims: build(kind, dims=dims).eval() for dims in (1, 2, 3)}
    for dims in (2, 3):
        for (_, one), (name, wide) in zip(
            blocks[1].state_dict().items(), blocks[dims].state_dict().items(), strict=True
        ):
            if wide.dim() == 2 + dims and "conv" in name and kind != "eca":
                wide.zero_()
                middle = wide.shape[-1] // 2
                wide[(slice(None), slice(None), slice(None), *(middle,) * (dims - 1))] = one
            else:
                wide.copy_(one.reshape(wide.shape))
        y = blocks[dims](x.reshape(2, 32, 11, *(1,) * (dims - 1)))
        assert torch.allclose(y.reshape(x.shape), blocks[1](x), atol=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "ge-"])
@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((2, 32, 5, 7), torch.contiguous_format),
        ((2, 32, 5, 7), torch.channels_last),
        ((2, 32, 3, 5, 7), torch.channels_last_3d),
    ],
)
def test_keeps_the_memory_format(kind, shape, layout):
    block = build(kind, dims=len(shape) - 2).eval()
    plain = torch.randn(shape)
    x = plain.to(memory_format=layout).requires_grad_()
    y = block(x)
    assert y.stride() == x.stride()
    assert y.is_contiguous(memory_format=layout)
    assert torch.allclose(y, block(plain), atol=1e-6)
    y.sum().backward()
    assert x.grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("kind", [*KINDS, "ge-"])
@pytest.mark.parametrize("training", [True, False])
def test_gradients(kind, training):
    torch.manual_seed(1)
    block = (
        GatherExcite(4, 2, learned=False)
        if kind == "ge-"
        else make_block(kind, 4, reduction=2, start="random")
    )
    shaken(block.double()).train(training)
    x = torch.randn(2, 4, 9, 3, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in block.named_parameters()]

    def run(x, *values):
        return torch.func.functional_call(block, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *block.parameters()), fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(3, 32, 9), (2, 32, 17, 9), (2, 32, 3, 5, 7)])
def test_starts_as_the_identity_to_the_bit(kind, dtype, training, shape):
    block = make_block(kind, 32, dims=len(shape) - 2).to(dtype).train(training)
    x = (100 * torch.randn(shape)).to(dtype)
    assert torch.equal(block(x), x)
    state = block.state_dict()
    assert not any(state[name].any() for name in LAST[kind])


@pytest.mark.parametrize("kind", ["se", "scse"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_starts_as_the_identity_also_in_fused_kernels(kind, dtype):
    block = make_block(kind, 32).to(dtype)
    x = torch.randn(2, 32, 9, 7).to(dtype)
    with kernels("always"):
        assert torch.equal(block(x), x)


def test_scse_starts_as_the_identity_for_every_number_that_can_be_halved():
    for dtype, largest in ((torch.bfloat16, 1e30), (torch.float16, 65504)):
        bits = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
        size = bits.abs().float()
        x = bits[(size >= 2 * torch.finfo(dtype).tiny) & (size <= largest)].reshape(1, 4, -1, 1)
        assert x.numel() > 50_000
        block = make_block("scse", 4, reduction=1).to(dtype)
        assert torch.equal(block(x), x)


@pytest.mark.parametrize("kind", KINDS)
def test_leaves_the_identity_step_by_step(kind):
    torch.manual_seed(5)
    block = make_block(kind, 16, reduction=4)
    x, target = torch.randn(2, 4, 16, 19, 17)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    first = copy.deepcopy(block.state_dict())
    seen = dict.fromkeys((name for name, _ in block.named_parameters()), False)
    for step in range(2):
        optimizer.zero_grad()
        functional.mse_loss(block(x), target * x).backward()
        for name, parameter in block.named_parameters():
            assert parameter.grad.isfinite().all(), name
            seen[name] |= bool(parameter.grad.any())
        optimizer.step()
        if step == 0:
            state = block.state_dict()
            assert all(not torch.equal(state[name], first[name]) for name in LAST[kind])
    assert all(seen.values()), seen
    assert not torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("kind", "start"),
    [*((kind, start) for kind in KINDS for start in ("random", "identity")), ("ge-", "random")],
)
def test_no_gate_is_negative(kind, start):
    # A ReLU may come before or after a block only because of this; see `senet.blocks.attached`.
    block = build(kind, start=start).train()
    for parameter in block.parameters():
        parameter.data.mul_(20)
    gates = block(torch.randn(3, 32, 9, 9).abs() + 1)
    assert gates.min() >= 0
    assert block(-torch.rand(3, 32, 9, 9)).max() <= 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", ["random", "identity"])
def test_copies_compute_the_same(kind, start):
    block = build(kind, start=start).eval()
    x = torch.randn(2, 32, 9, 7)
    other = make_block(kind, 32, reduction=8, start=start).eval()
    other.load_state_dict(block.state_dict())
    twin = copy.deepcopy(block)
    for each in (other, twin):
        assert torch.equal(each(x), block(x))
        assert all(a is not b for a, b in zip(each.parameters(), block.parameters(), strict=True))
    assert "channels=32" in repr(block)


@pytest.mark.parametrize("kind", RELATIVES)
def test_drawing_anew_gives_other_weights_and_the_same_start(kind):
    block = make_block(kind, 32)
    x = torch.randn(2, 32, 9, 9)
    shaken(block)
    assert not torch.equal(block(x), x)
    block.reset_parameters()
    assert torch.equal(block(x), x)
    assert f"start={block.start}" in repr(block)


@pytest.mark.parametrize("kind", [*KINDS, "ge-"])
def test_compiles_as_one_graph(kind):
    block = build(kind)
    x = torch.randn(2, 32, 9, 7)
    for training in (True, False):
        expected = copy.deepcopy(block).train(training)(x)
        compiled = torch.compile(copy.deepcopy(block).train(training), fullgraph=True, backend="eager")
        assert torch.allclose(compiled(x), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "ge-"])
def test_exports_for_any_batch_and_size(kind):
    block = build(kind).eval()
    dynamic = {"x": {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}}
    # Sizes that are no multiples of each other at any stride: torch would take them for related.
    program = torch.export.export(block, (torch.randn(2, 32, 19, 37),), dynamic_shapes=dynamic)
    x = torch.randn(3, 32, 21, 50)
    assert torch.allclose(program.module()(x), block(x), atol=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "ge-"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_modules(kind, dtype):
    block = build(kind).eval().to(dtype)
    x = torch.randn(2, 32, 9, 7).to(dtype)
    y = block(x)
    assert y.dtype == dtype
    exact = copy.deepcopy(block).double()(x.double())
    assert relative_difference(y.double(), exact) < 8 * torch.finfo(dtype).eps
