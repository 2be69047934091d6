import ast
import copy
import io
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

import senet
from senet.blocks import SEConfig, SqueezeExcitation
from senet.errors import SenetError
from tests.references import import_timm, import_torchvision, randomise, relative_difference

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def from_torch(se: SqueezeExcitation) -> nn.Sequential:
    """Return the excitation built from torch's own layers, with the same weights."""
    hidden, channels = se.fc1.out_features, se.channels
    layers = nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, hidden, bias=False),
        nn.ReLU(),
        nn.Linear(hidden, channels, bias=False),
        nn.Sigmoid(),
        nn.Unflatten(1, (channels, 1, 1)),
    )
    layers[2].weight = se.fc1.weight
    layers[4].weight = se.fc2.weight
    return layers


@pytest.mark.usefixtures("layer_by_layer")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "shape", [(4, 64, 8, 8), (3, 64, 7, 5), (1, 256, 1, 1), (2, 80, 1, 9), (5, 96, 13, 2)]
)
def test_equals_the_block_built_from_torch_layers_to_the_bit(shape, layout):
    se = SqueezeExcitation(shape[1], 16, bias=False)
    x = torch.randn(shape).to(memory_format=layout)
    assert torch.equal(se(x), x * from_torch(se)(x))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_timm(layout):
    import_timm()
    from timm.layers import SEModule

    theirs = SEModule(96, rd_ratio=1 / 16, rd_divisor=1).double()
    ours = SqueezeExcitation(96).double()
    compare_with_convolutions(ours, theirs, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_torchvision(layout):
    theirs = import_torchvision().ops.SqueezeExcitation(64, 4).double()
    compare_with_convolutions(SqueezeExcitation(64).double(), theirs, layout)


def compare_with_convolutions(ours, theirs, layout):
    randomise(theirs)
    state = {
        name: value.reshape(ours.state_dict()[name].shape) for name, value in theirs.state_dict().items()
    }
    ours.load_state_dict(state)
    x = torch.randn(3, ours.channels, 5, 7, dtype=torch.float64).to(memory_format=layout)
    ours_x, theirs_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = ours(ours_x), theirs(theirs_x)
    assert relative_difference(y, expected) < 1e-14
    y.pow(3).sum().backward()
    expected.pow(3).sum().backward()
    assert relative_difference(ours_x.grad, theirs_x.grad) < 1e-13
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert relative_difference(a.grad, b.grad.reshape(a.shape)) < 1e-13


@pytest.mark.parametrize("squeeze", ["avg", "max", "none"])
@pytest.mark.parametrize(
    ("activation", "gate"),
    [
        ("relu", "sigmoid"),
        ("silu", "tanh"),
        ("gelu", "relu"),
        ("hard_swish", "hard_sigmoid"),
        ("silu", "double_sigmoid"),
    ],
)
def test_gradients(squeeze, activation, gate):
    torch.manual_seed(1)
    se = SqueezeExcitation(6, 2, squeeze=squeeze, activation=activation, gate=gate, min_hidden=1).double()
    randomise(se)
    x = torch.randn(2, 6, 3, 2, dtype=torch.float64, requires_grad=True)
    parameters = tuple(se.parameters())

    def run(x, *values):
        names = [name for name, _ in se.named_parameters()]
        return torch.func.functional_call(se, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *parameters))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("squeeze", "max", lambda z, e: e(z.amax((2, 3)), torch.relu, torch.sigmoid)),
        ("activation", "silu", lambda z, e: e(z.mean((2, 3)), nn.SiLU(), torch.sigmoid)),
        ("activation", "gelu", lambda z, e: e(z.mean((2, 3)), nn.GELU(), torch.sigmoid)),
        ("activation", "hard_swish", lambda z, e: e(z.mean((2, 3)), nn.Hardswish(), torch.sigmoid)),
        ("gate", "tanh", lambda z, e: e(z.mean((2, 3)), torch.relu, nn.Tanh())),
        ("gate", "relu", lambda z, e: e(z.mean((2, 3)), torch.relu, nn.ReLU())),
        ("gate", "hard_sigmoid", lambda z, e: e(z.mean((2, 3)), torch.relu, nn.Hardsigmoid())),
        (
            "gate",
            "double_sigmoid",
            lambda z, e: e(z.mean((2, 3)), torch.relu, lambda a: 2 / (1 + (-a).exp())),
        ),
    ],
)
def test_every_choice_changes_what_it_says(field, value, expected):
    se = SqueezeExcitation.from_config(32, SEConfig(**{field: value}))
    randomise(se)
    x = torch.randn(2, 32, 4, 4)

    def excite(z, activation, gate):
        return gate(se.fc2(activation(se.fc1(z))))[:, :, None, None]

    assert torch.allclose(se(x), x * expected(x, excite), atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bias", [True, False])
def test_without_a_squeeze_every_pixel_has_its_own_gate(bias, layout):
    # Table 16: the same two layers as 1x1 convolutions at full resolution.
    se = SqueezeExcitation(32, squeeze="none", bias=bias).double()
    randomise(se)
    reduce, expand = (nn.Conv2d(*size, 1, bias=bias).double() for size in ((32, 4), (4, 32)))
    reduce.load_state_dict(
        {k: v[..., None, None] if v.dim() == 2 else v for k, v in se.fc1.state_dict().items()}
    )
    expand.load_state_dict(
        {k: v[..., None, None] if v.dim() == 2 else v for k, v in se.fc2.state_dict().items()}
    )
    x = torch.randn(3, 32, 5, 7, dtype=torch.float64).to(memory_format=layout)
    assert relative_difference(se(x), x * torch.sigmoid(expand(torch.relu(reduce(x))))) < 1e-14
    assert se(x).is_contiguous(memory_format=layout)
    # On maps of one pixel there is nothing to squeeze.
    pixel = x[:, :, :1, :1]
    squeezing = SqueezeExcitation(32, bias=bias).double()
    squeezing.load_state_dict(se.state_dict())
    assert relative_difference(se(pixel), squeezing(pixel)) < 1e-14


def test_a_block_that_starts_as_the_identity_returns_its_input_to_the_bit():
    se = SqueezeExcitation(32, gate="double_sigmoid", start="identity")
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        x = torch.randn(2, 32, 5, 5).to(dtype)
        assert torch.equal(se.to(dtype)(x), x)
    assert not se.fc2.weight.any()
    assert se.fc1.weight.any()


@pytest.mark.parametrize("squeeze", ["avg", "max", "none"])
@pytest.mark.parametrize("spatial", [(), (9,), (1,), (5, 7), (1, 1), (3, 4, 5)])
def test_any_number_of_spatial_dimensions(spatial, squeeze):
    se = SqueezeExcitation(32, squeeze=squeeze)
    x = torch.randn(3, 32, *spatial)
    flat = x.reshape(3, 32, -1, 1)
    assert torch.allclose(se(x), se(flat).reshape(x.shape), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((2, 32, 5, 7), torch.channels_last), ((2, 32, 3, 5, 7), torch.channels_last_3d), ((2, 32, 5, 7), None)],
)
def test_keeps_the_memory_format(shape, layout):
    layout = layout or torch.contiguous_format
    x = torch.randn(shape).to(memory_format=layout).requires_grad_()
    y = SqueezeExcitation(32)(x)
    assert y.is_contiguous(memory_format=layout)
    assert y.stride() == x.stride()
    y.sum().backward()
    assert x.grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_modules(dtype):
    se = SqueezeExcitation(64).to(dtype)
    x = torch.randn(2, 64, 9, 9, dtype=dtype)
    y = se(x)
    assert y.dtype == dtype
    exact = copy.deepcopy(se).double()(x.double())
    assert relative_difference(y.double(), exact) < 4 * torch.finfo(dtype).eps
    assert se(torch.full((1, 64, 112, 112), 6e4, dtype=dtype)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_autocast_keeps_the_type_of_the_input(dtype):
    se = SqueezeExcitation(64)
    x = torch.randn(2, 64, 5, 5, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        y = se(x)
    assert y.dtype == dtype
    assert relative_difference(y.float(), se(x.float())) < 0.02


@pytest.mark.parametrize("squeeze", ["avg", "max", "none"])
def test_an_empty_batch_stays_empty(squeeze):
    se = SqueezeExcitation(32, squeeze=squeeze)
    x = torch.empty(0, 32, 5, 7, requires_grad=True)
    y = se(x)
    y.sum().backward()
    assert y.shape == (0, 32, 5, 7)
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("shape", [(2, 31, 5, 5), (32,), (32, 5, 5)])
def test_a_wrong_shape_is_refused(shape):
    with pytest.raises(SenetError, match=r"expects input of shape \(N, 32, ...\), not"):
        SqueezeExcitation(32)(torch.randn(shape))


def test_maps_without_pixels_are_refused():
    with pytest.raises(SenetError, match="maps with at least one pixel"):
        SqueezeExcitation(32)(torch.randn(2, 32, 0, 5))


def test_too_few_channels_are_refused():
    with pytest.raises(SenetError, match="reduction must be at most the number of channels, 8, not 16"):
        SqueezeExcitation(8)


def test_the_gate_can_be_replaced_by_ones():
    se = SqueezeExcitation(32)
    se.gate = torch.ones_like
    x = torch.randn(2, 32, 5, 5)
    assert torch.equal(se(x), x)


def test_copies_compute_the_same():
    se = SqueezeExcitation(32, 8, squeeze="max", activation="gelu", gate="tanh")
    x = torch.randn(2, 32, 5, 5)
    buffer = io.BytesIO()
    torch.save(se, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    for twin in (copy.deepcopy(se), pickle.loads(pickle.dumps(se)), loaded):
        assert torch.equal(twin(x), se(x))
        assert twin.fc1.weight is not se.fc1.weight


@pytest.mark.parametrize("squeeze", ["avg", "none"])
def test_compiles_as_one_graph(squeeze):
    se = SqueezeExcitation(32, squeeze=squeeze)
    x = torch.randn(2, 32, 5, 5)
    compiled = torch.compile(se, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x), se(x), atol=1e-6)


@pytest.mark.parametrize("squeeze", ["avg", "none"])
def test_exports_for_any_batch_and_size(squeeze):
    se = SqueezeExcitation(32, squeeze=squeeze)
    dynamic = {"x": {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}}
    program = torch.export.export(se, (torch.randn(2, 32, 5, 6),), dynamic_shapes=dynamic)
    x = torch.randn(3, 32, 7, 4)
    assert torch.allclose(program.module()(x), se(x), atol=1e-6)


def test_names_and_count_of_the_parameters():
    se = SqueezeExcitation(64)
    assert list(se.state_dict()) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert list(SqueezeExcitation(64, bias=False).state_dict()) == ["fc1.weight", "fc2.weight"]
    assert sum(p.numel() for p in se.parameters()) == 64 * 4 + 4 + 4 * 64 + 64
    assert "channels=64, hidden=4, squeeze=avg, activation=relu, gate=sigmoid" in repr(se)


def test_weights_start_as_he_et_al_and_biases_at_zero():
    torch.manual_seed(0)
    se = SqueezeExcitation(1024, 4)
    assert se.fc1.weight.std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.02)
    assert se.fc2.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert not se.fc1.bias.any()
    assert not se.fc2.bias.any()


def test_no_hidden_unit_starts_dead_behind_a_batch_norm():
    for seed in range(50):
        torch.manual_seed(seed)
        se = SqueezeExcitation(16, min_hidden=1)
        nn.Sequential(nn.BatchNorm2d(16), se)(torch.randn(8, 16, 8, 8)).pow(2).sum().backward()
        assert se.fc1.weight.grad.any()


SQUEEZES = {"squeeze", "mean", "amax", "avg_pool2d", "adaptive_avg_pool2d", "AdaptiveAvgPool2d", "AvgPool2d"}
EXCITES = {"excitation", "sigmoid", "Sigmoid", "hardsigmoid", "Hardsigmoid", "tanh", "Tanh", "gate"}


def classes_that_squeeze_and_excite(source: str) -> list[str]:
    """Return the classes whose bodies name both an average and a gate, or call themselves SE."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            names = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            is_module = any("Module" in ast.unparse(base) for base in node.bases)
            by_name = "squeeze" in node.name.lower() or "excit" in node.name.lower()
            if is_module and (by_name or (names & SQUEEZES and names & EXCITES)):
                found.append(node.name)
    return found


def test_only_one_class_squeezes_and_excites():
    found = {}
    for path in sorted(Path(senet.__file__).parent.rglob("*.py")):
        for name in classes_that_squeeze_and_excite(path.read_text(encoding="utf-8")):
            found[name] = path.parent.name
    # The compiler runs the layers of any block. The relatives weigh maps by other equations; scSE, which has
    # this one in it, has this class in it.
    assert found == {
        "SqueezeExcitation": "blocks",
        "FusedEpilogue": "compiler",
        "EffectiveSE": "relatives",
        "EfficientChannelAttention": "relatives",
        "GatherExcite": "relatives",
        "CBAM": "relatives",
    }


def test_a_second_class_would_be_found():
    second = """
class Attention(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(self.fc(x.mean((2, 3))))[:, :, None, None]
"""
    assert classes_that_squeeze_and_excite(second) == ["Attention"]
