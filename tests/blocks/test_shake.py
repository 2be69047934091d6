"""Units with two branches mixed at random, against the formulas of the module's docstring."""

import copy

import pytest
import torch
from torch import nn, relu
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from senet.blocks import SEConfig, SqueezeExcitation
from senet.blocks.cost import parameter_count
from senet.blocks.shake import ShakeUnit, ShiftedShortcut, shake
from tests.references import randomise

PLACEMENTS = ["standard", "pre", "post", "identity", "conv3x3", "branches"]
FORMS = {
    "shake-shake": {"activation": "pre", "shortcut": "shifted"},
    "shake-even": {"width": 16, "groups": 4, "activation": "post", "shortcut": "1x1", "backward": "even"},
}


def build(form, placement, in_channels=32, stride=1, **choices):
    se = None if placement is None else SEConfig(reduction=4, placement=placement, **choices)
    unit = ShakeUnit(in_channels, 32, stride=stride, se=se, **FORMS[form])
    randomise(unit)
    return unit.double()


def drawn(images):
    """Return the coefficients that the next mix of so many images draws."""
    state = torch.get_rng_state()
    alpha, beta = torch.rand(2, images, 1, 1, 1)
    torch.set_rng_state(state)
    return alpha.double(), beta.double()


# The mix.


def test_the_mix_and_its_gradients_are_the_hand_formulas():
    a, b, weights = (torch.randn(5, 3, 2, 4, dtype=torch.float64) for _ in range(3))
    a.requires_grad_()
    b.requires_grad_()
    torch.manual_seed(7)
    alpha, beta = drawn(5)
    y = shake(a, b, "random")
    assert torch.equal(y, alpha * a + (1 - alpha) * b)
    (y * weights).sum().backward()
    assert torch.equal(a.grad, beta * weights)
    assert torch.equal(b.grad, (1 - beta) * weights)
    assert not torch.allclose(alpha, beta)


def test_shake_even_mixes_at_random_and_shares_gradients_out_evenly():
    a, b, weights = (torch.randn(5, 3, 2, 4, dtype=torch.float64) for _ in range(3))
    a.requires_grad_()
    b.requires_grad_()
    torch.manual_seed(7)
    alpha, _ = drawn(5)
    y = shake(a, b, "even")
    assert torch.equal(y, alpha * a + (1 - alpha) * b)
    (y * weights).sum().backward()
    assert torch.equal(a.grad, 0.5 * weights)
    assert torch.equal(b.grad, 0.5 * weights)


def test_coefficients_are_uniform_for_each_image_and_independent():
    images = 20_000
    torch.manual_seed(0)
    a = torch.ones(images, 2, 1, 2, requires_grad=True)
    y = shake(a, torch.zeros(images, 2, 1, 2), "random")
    y.sum().backward()
    alpha, beta = y.detach().flatten(1), a.grad.flatten(1)
    even = torch.arange(1, images + 1) / images
    for drawn_values in (alpha, beta):
        assert (drawn_values == drawn_values[:, :1]).all(), "one coefficient for a whole image"
        values = drawn_values[:, 0]
        assert 0 <= values.min() <= values.max() < 1
        # Kolmogorov and Smirnov's distance, which exceeds 0.0138 once in a thousand.
        assert (values.sort().values - even).abs().max() < 0.0138
    pairs = torch.stack([alpha[:, 0], beta[:, 0], alpha[:, 0].roll(1), beta[:, 0].roll(1)])
    assert (torch.corrcoef(pairs) - torch.eye(4)).abs().max() < 0.03


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_mix_keeps_its_type_and_is_computed_in_float(dtype):
    torch.manual_seed(1)
    a, b, gradient = (torch.randn(3, 4, 5, 5).to(dtype) for _ in range(3))
    a.requires_grad_()
    b.requires_grad_()
    exact = torch.promote_types(dtype, torch.float32)
    alpha, beta = (each.to(exact) for each in drawn(3))
    y = shake(a, b, "random")
    y.backward(gradient)
    assert y.dtype == a.grad.dtype == b.grad.dtype == dtype
    assert torch.equal(y, (alpha * a.to(exact) + (1 - alpha) * b.to(exact)).to(dtype))
    assert torch.equal(a.grad, (beta * gradient.to(exact)).to(dtype))


@pytest.mark.slow
@pytest.mark.parametrize("backward", ["random", "even"])
def test_the_mix_compiles_as_one_graph_and_draws_the_same(backward):
    torch._dynamo.reset()

    def twice(a, b, backward):  # a compiler could draw for all backward passes behind all forward passes
        return shake(shake(a, b, backward), b, backward)

    compiled = torch.compile(twice, fullgraph=True, backend="aot_eager")
    results = []
    for function in (twice, compiled):
        torch.manual_seed(3)
        a, b = torch.randn(2, 4, 3, 2, 2).requires_grad_().unbind()
        y = function(a, b, backward)
        results.append((y, *torch.autograd.grad(y.square().sum(), (a, b))))
    for eager, other in zip(*results, strict=True):
        assert torch.equal(eager, other)


# The unit.


def same(x):
    return x


def branch_formula(branch, x, inner, end):
    y = inner(branch.bn1(branch.conv1(x))) if not hasattr(branch, "conv3") else branch.bn1(branch.conv1(x))
    y = branch.bn2(branch.conv2(relu(y)))
    if hasattr(branch, "conv3"):
        y = branch.bn3(branch.conv3(relu(inner(y))))
    return end(y)


def unit_formula(unit, x, mix, placement):
    def at(place):
        return unit.se if placement == place else same

    def in_branch(branch, place):
        return branch.se if placement == place else same

    pre_activated = unit.activation == "pre"
    y = at("pre")(x)
    y = relu(y) if pre_activated else y
    a, b = (
        branch_formula(each, y, in_branch(each, "conv3x3"), in_branch(each, "branches"))
        for each in (unit.branch1, unit.branch2)
    )
    shortcut = x
    if unit.downsample is not None:
        shortcut = unit.downsample(relu(x) if pre_activated else x)
    y = at("standard")(mix(a, b)) + at("identity")(shortcut)
    return at("post")(y if pre_activated else relu(y))


@pytest.mark.usefixtures("layer_by_layer")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("placement", [None, *PLACEMENTS])
@pytest.mark.parametrize(("in_channels", "stride"), [(32, 1), (16, 1), (16, 2)])
@pytest.mark.parametrize("form", FORMS)
def test_the_unit_is_its_formula(form, in_channels, stride, placement, training):
    unit = build(form, placement, in_channels, stride).train(training)
    twin = copy.deepcopy(unit)
    x = torch.randn(3, in_channels, 7, 10, dtype=torch.float64)
    kept = x.clone()
    torch.manual_seed(5)
    alpha, _ = drawn(3)
    share = alpha if training else 0.5
    y = unit(x)
    expected = unit_formula(twin, x, lambda a, b: share * a + (1 - share) * b, placement)
    assert torch.allclose(y, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(x, kept)
    assert y.shape == (3, 32, -(-7 // stride), -(-10 // stride))
    for key, value in twin.state_dict().items():
        assert torch.equal(unit.state_dict()[key], value), key


def test_in_evaluation_both_branches_count_half_and_nothing_is_drawn():
    unit = build("shake-shake", None).eval()
    x = torch.randn(2, 32, 4, 4, dtype=torch.float64)
    before = torch.get_rng_state()
    y = unit(x)
    assert torch.equal(torch.get_rng_state(), before)
    mean = (unit.branch1(relu(x)) + unit.branch2(relu(x))) / 2
    assert torch.equal(y, mean + x)


@pytest.mark.usefixtures("layer_by_layer")
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(("in_channels", "stride"), [(32, 1), (16, 2)])
@pytest.mark.parametrize("form", FORMS)
def test_open_gates_change_no_bit_and_draw_alike(form, in_channels, stride, placement):
    unit, plain = build(form, placement, in_channels, stride), build(form, None, in_channels, stride)
    missing, unexpected = unit.load_state_dict(plain.state_dict(), strict=False)
    blocks = [each for each in unit.modules() if isinstance(each, SqueezeExcitation)]
    assert unexpected == []
    assert len(blocks) == (2 if placement in ("branches", "conv3x3") else 1)
    assert len(missing) == 4 * len(blocks)
    for block in blocks:
        block.gate = torch.ones_like
    x = torch.randn(3, in_channels, 6, 5, dtype=torch.float64)
    for mode in (True, False):
        torch.manual_seed(0)
        expected = plain.train(mode)(x)
        torch.manual_seed(0)
        assert torch.equal(unit.train(mode)(x), expected)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_trains(form, placement):
    torch.manual_seed(0)
    unit = build(form, placement, 16, 2)
    x = torch.randn(8, 16, 6, 6, dtype=torch.float64, requires_grad=True)
    unit(x.relu()).square().sum().backward()
    assert x.grad.isfinite().all()
    silent = [name for name, p in unit.named_parameters() if not (p.grad.isfinite().all() and p.grad.any())]
    assert silent == []


@pytest.mark.parametrize("form", FORMS)
def test_recomputing_a_unit_draws_the_same_again(form):
    x = torch.randn(4, 32, 5, 5, dtype=torch.float64)
    results = []
    for recomputes in (False, True):
        unit = build(form, "branches")
        torch.manual_seed(11)
        x.requires_grad_()
        y = checkpoint(unit, x, use_reentrant=False) if recomputes else unit(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        results.append((y, gradient, torch.get_rng_state()))
    for kept, recomputed in zip(*results, strict=True):
        assert torch.equal(kept, recomputed)


@pytest.mark.parametrize("form", FORMS)
def test_autocast_trains_in_half_precision(form):
    unit = build(form, "standard", 16, 2).float()
    with torch.autocast("cpu", torch.bfloat16):
        y = unit(torch.randn(3, 16, 6, 6))
        loss = y.square().mean()
    loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in unit.parameters())


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("form", FORMS)
def test_costs_are_those_of_what_runs(form, placement):
    unit, plain = build(form, placement, 16, 2).eval(), build(form, None, 16, 2).eval()
    seen = []
    for module in unit.modules():
        if isinstance(module, SqueezeExcitation):
            module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].numel()))
    y = unit(torch.randn(1, 16, 9, 12, dtype=torch.float64))
    cost, output = unit.cost((16, 9, 12))
    base, _ = plain.cost((16, 9, 12))
    assert output == y.shape[1:]
    assert cost.parameters == parameter_count(unit)
    assert cost.pooling == sum(seen)
    assert cost.scaling - base.scaling == sum(seen)
    # The sum and the halving of the mix, and the sum with the shortcut.
    assert (base.addition, base.scaling, base.pooling) == (2 * y.numel(), y.numel(), 0)
    assert cost.convolution == base.convolution


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_gate_at_every_pixel(form, placement):
    unit = build(form, placement, 16, 2, squeeze="none")
    assert unit(torch.randn(2, 16, 6, 6, dtype=torch.float64)).shape == (2, 32, 3, 3)


# The shortcut, and the two forms.


@pytest.mark.parametrize(("stride", "side"), [(1, 4), (2, 4), (2, 5), (2, 1)])
def test_the_second_path_sees_the_pixel_before(stride, side):
    shortcut = ShiftedShortcut(1, 2, stride=stride).eval()
    for convolution in (shortcut.conv1, shortcut.conv2):
        nn.init.ones_(convolution.weight)
    shortcut.bn.eps = 0.0
    x = torch.arange(1.0, side * side + 1).reshape(1, 1, side, side)
    y = shortcut(x)
    assert torch.equal(y[0, 0], x[0, 0, ::stride, ::stride])
    assert torch.equal(y[0, 1], functional.pad(x, (1, 0, 1, 0))[0, 0, :side:stride, :side:stride])
    assert shortcut.cost((1, side, side))[1] == y.shape[1:]


def test_on_activated_maps_the_pre_activation_unit_is_the_other_but_for_the_last_relu():
    before, behind = (
        ShakeUnit(32, 32, activation=activation).double().eval() for activation in ("pre", "post")
    )
    randomise(before)
    behind.load_state_dict(before.state_dict())
    x = torch.randn(2, 32, 5, 5, dtype=torch.float64)
    assert torch.equal(relu(before(x.relu())), behind(x.relu()))
    assert not torch.allclose(relu(before(x)), behind(x))
