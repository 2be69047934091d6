"""SE and its relatives: one contract for all, and each held against an implementation by others."""

import copy
import importlib

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode

import senet
from senet.blocks.kinds import make_block, uses_reduction
from senet.blocks.relatives.cbam import CBAM
from senet.blocks.relatives.eca import EfficientChannelAttention, kernel_size
from senet.blocks.relatives.ese import EffectiveSE
from senet.blocks.relatives.gather_excite import GatherExcite
from senet.blocks.relatives.scse import SpatialChannelSE
from senet.errors import SenetError
from senet.insight.trace import Trace
from senet.kernels.backends import kernels
from tests.references import import_timm, relative_difference
from tests.surgery.models import small_torchvision_resnet

pytestmark = pytest.mark.usefixtures("layer_by_layer")

KINDS = ["se", "ese", "eca", "scse", "ge", "cbam"]
RELATIVES = KINDS[1:]
CONVOLVING = ["scse", "ge", "cbam"]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
# The last layer of each kind: what starts at zero and moves first.
LAST = {
    "se": ["fc2.weight"],
    "ese": ["fc.weight", "fc.bias"],
    "eca": ["conv.weight"],
    "scse": ["channel.fc2.weight", "channel.fc2.bias", "spatial.weight", "spatial.bias"],
    "ge": ["norms.2.weight", "norms.2.bias"],
    "cbam": ["expand.weight", "norm.weight", "norm.bias"],
}


def build(kind, channels=32, **choices):
    """Return a block with parameters and statistics of which every one matters."""
    if kind == "ge-":
        return GatherExcite(channels, 4, learned=False, dims=choices.get("dims", 2))
    torch.manual_seed(3)
    return shaken(make_block(kind, channels, reduction=8, **{"start": "random", **choices}))


def shaken(block, seed=4):
    generator = torch.Generator().manual_seed(seed)
    for module in block.modules():
        if isinstance(module, _BatchNorm):
            module.weight.data.uniform_(0.5, 1, generator=generator)
            module.bias.data.uniform_(-0.5, 0.5, generator=generator)
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        elif isinstance(module, _ConvNd | nn.Linear):
            module.weight.data.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.uniform_(-0.5, 0.5, generator=generator)
    return block


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
    with pytest.raises(SenetError, match=r"weighs 32 channels and takes \(N, 32, .*\), not"):
        make_block(kind, 32)(torch.randn(shape))


@pytest.mark.parametrize("kind", CONVOLVING)
def test_other_dimensions_are_refused(kind):
    for dims, layout in ((1, "W"), (2, "H, W"), (3, "D, H, W")):
        block = make_block(kind, 32, dims=dims)
        for wrong in {1, 2, 3} - {dims}:
            with pytest.raises(SenetError, match=rf"takes \(N, 32, {layout}\)"):
                block(torch.randn(2, 32, *(3, 3, 3)[:wrong]))


@pytest.mark.parametrize("kind", KINDS)
def test_maps_without_pixels_are_refused(kind):
    with pytest.raises(SenetError, match="maps without pixels"):
        make_block(kind, 32)(torch.randn(2, 32, 0, 5))


@pytest.mark.parametrize(("kind", "shape"), [("ge", (1, 32, 8, 8)), ("cbam", (1, 32, 1, 1))])
def test_one_value_cannot_be_normalised_in_training(kind, shape):
    block = make_block(kind, 32)
    x = torch.randn(shape)
    with pytest.raises(SenetError, match=r"cannot be trained on one value per channel.*more images"):
        block(x)
    assert torch.equal(block.eval()(x), x)


@pytest.mark.parametrize("kind", RELATIVES)
def test_values_that_are_not_allowed_are_refused(kind):
    with pytest.raises(SenetError, match="start 'zero' is not known: choose one of random, identity"):
        make_block(kind, 32, start="zero")
    with pytest.raises(SenetError, match="channels must be a whole number of at least 1, not 0"):
        make_block(kind, 0, reduction=1)


def test_gather_excite_without_parameters_cannot_start_as_the_identity():
    with pytest.raises(SenetError, match="needs parameters that leave it"):
        GatherExcite(32, learned=False, start="identity")
    assert not list(GatherExcite(32, learned=False).parameters())
    for extent in (0, 3, 16, True):
        with pytest.raises(SenetError, match=f"extent must be 2, 4 or 8, not {extent}"):
            GatherExcite(32, extent)


def timm_gathering(channels, extent):
    """Return timm's block; its own constructor passes names as sizes where convolutions gather."""
    layers = importlib.import_module("timm.layers")
    block = layers.GatherExcite(channels, extent=extent, extra_params=False, use_mlp=False)
    gather = []
    while 2 ** len(gather[::3]) < extent:
        gather += [nn.ReLU()] * bool(gather)
        gather += [layers.create_conv2d(channels, channels, kernel_size=3, stride=2, depthwise=True)]
        gather += [nn.BatchNorm2d(channels)]
    block.gather = nn.Sequential(*gather)
    return block


def pairs():
    """Return each of our blocks with timm's and timm's order of our parameters."""
    import_timm()
    layers = importlib.import_module("timm.layers")
    found = [
        ("ese", EffectiveSE(32), layers.EffectiveSEModule(32)),
        ("eca", EfficientChannelAttention(32), layers.EcaModule(32)),
        ("eca of 512", EfficientChannelAttention(512), layers.EcaModule(512)),
        ("cbam", CBAM(32, 4), importlib.import_module("timm.layers.cbam").CbamModule(32, rd_channels=8)),
    ]
    for extent in (2, 4, 8):
        found.append((f"ge of {extent}", GatherExcite(32, extent), timm_gathering(32, extent)))
        average = layers.GatherExcite(32, extent=extent, extra_params=False, use_mlp=False)
        found.append((f"ge of {extent}, average", GatherExcite(32, extent, learned=False), average))
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [True, False])
def test_equals_timm(layout, training):
    for name, ours, theirs in pairs():
        shaken(ours.double()).train(training)
        theirs.double().train(training)
        mine = ordered(ours)
        others = ordered(theirs)
        for a, b in zip(mine, others, strict=True):
            b.data.copy_(a.data.reshape(b.shape))
        x = torch.randn(3, ours.channels, 13, 9, dtype=torch.float64).to(memory_format=layout)
        ours_x, theirs_x = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, expected = ours(ours_x), theirs(theirs_x)
        assert relative_difference(y, expected) < 1e-14, name
        y.pow(3).sum().backward()
        expected.pow(3).sum().backward()
        assert relative_difference(ours_x.grad, theirs_x.grad) < 1e-12, name
        for a, b in zip(mine, others, strict=True):
            if isinstance(a, nn.Parameter):
                assert relative_difference(a.grad, b.grad.reshape(a.shape)) < 1e-12, name
            else:
                assert torch.allclose(a, b, rtol=1e-12), name


def ordered(block):
    """Return parameters and statistics: of the layers with weights in order, then of the BatchNorms."""
    layers = [each for each in block.modules() if isinstance(each, _ConvNd | nn.Linear)]
    norms = [each for each in block.modules() if isinstance(each, _BatchNorm)]
    tensors = [each for layer in layers for each in (layer.weight, layer.bias)]
    tensors += [t for norm in norms for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    return [each for each in tensors if each is not None]


def test_the_kernel_of_eca_is_that_of_timm():
    import_timm()
    layers = importlib.import_module("timm.layers")
    for channels in [*range(1, 70), 127, 128, 129, 255, 256, 512, 1024, 2048, 4096, 8192, 8193]:
        expected = layers.EcaModule(channels).conv.kernel_size[0]
        assert kernel_size(channels) == EfficientChannelAttention(channels).conv.kernel_size[0] == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scse_equals_its_formula(layout):
    block = build("scse").double()
    x = torch.randn(3, 32, 5, 7, dtype=torch.float64).to(memory_format=layout)
    state = block.state_dict()
    hidden = (x.mean((2, 3)) @ state["channel.fc1.weight"].T + state["channel.fc1.bias"]).relu()
    channel = 1 / (1 + (-(hidden @ state["channel.fc2.weight"].T) - state["channel.fc2.bias"]).exp())
    q = torch.einsum("nchw,c->nhw", x, state["spatial.weight"].flatten()) + state["spatial.bias"]
    expected = x * channel[:, :, None, None] + x / (1 + (-q).exp())[:, None]
    assert relative_difference(block(x), expected) < 1e-14


def test_the_channel_half_of_scse_is_the_se_block():
    assert type(SpatialChannelSE(32).channel) is senet.SqueezeExcitation


@pytest.mark.parametrize(
    ("kind", "doubled"), [("ese", functional.hardsigmoid), ("eca", torch.sigmoid), ("cbam", torch.sigmoid)]
)
def test_the_start_says_which_gate(kind, doubled):
    values = torch.linspace(-8, 8, 101)
    assert torch.equal(make_block(kind, 32, start="random").gate(values), doubled(values))
    assert torch.equal(make_block(kind, 32, start="identity").gate(values), 2 * doubled(values))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("placement", ["standard", "post"])
def test_a_network_of_others_takes_every_kind(kind, placement):
    torch.manual_seed(0)
    model = shaken(small_torchvision_resnet()).eval()
    x = torch.randn(2, 3, 36, 36)
    before, state = model(x), {name: each.clone() for name, each in model.state_dict().items()}
    choices = {"kind": kind, "placement": placement, "reduction": 4 if uses_reduction(kind) else 16}
    assert len(senet.squeeze_excite(model, **choices).sites) == 2
    assert not senet.squeeze_excite(model, **choices).sites
    assert torch.equal(model(x), before)
    new = {name: each for name, each in model.named_parameters() if name not in state}
    assert {name.split(".se.")[1] for name in new} == {
        name for name, _ in make_block(kind, 16).named_parameters()
    }
    seen = dict.fromkeys(new, False)
    trained = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        trained(x).pow(2).mean().backward()
        for name, parameter in trained.named_parameters():
            assert parameter.grad.isfinite().all(), name
            if name in seen:
                seen[name] |= bool(parameter.grad.any())
        optimizer.step()
    assert all(seen.values()), seen
    senet.remove(model)
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(each, state[name]) for name, each in model.state_dict().items())
    assert torch.equal(model(x), before)
