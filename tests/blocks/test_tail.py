"""Fused tails against the layers one by one in float64, forward and backward."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from senet.blocks import tail as tail_module
from senet.blocks.se_config import SEConfig
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.blocks.tail import in_order, paired, tail
from senet.errors import SenetError
from senet.kernels.backends import kernels
from senet.kernels.dispatch import recording
from senet.kernels.excitation import ACTIVATIONS, GATES
from senet.kernels.steps import Steps

# Every tail there is: bn, se, add, relu behind the sum, relu in front of SE.
TAILS = [
    flags
    for flags in itertools.product((False, True), repeat=5)
    if (flags[0] or flags[1]) and not (flags[4] and (flags[2] or flags[3] or not flags[1]))
]
FORMATS = [torch.contiguous_format, torch.channels_last]


def layers(channels, flags, training=True, **se):
    """Return a BatchNorm, an SE block and a ReLU under which every parameter matters, where asked for."""
    bn = nn.BatchNorm2d(channels) if flags[0] else None
    if bn is not None:
        nn.init.uniform_(bn.weight, 0.5, 1.5)
        nn.init.uniform_(bn.bias, -0.5, 0.5)
        bn.running_mean.uniform_(-0.5, 0.5)
        bn.running_var.uniform_(0.5, 1.5)
        bn.train(training)
    block = None
    if flags[1]:
        block = SqueezeExcitation(channels, min(channels, 4), **se)
        for parameter in block.parameters():
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return bn, nn.ReLU() if flags[3] or flags[4] else None, block


def results(mode, dtype, flags, given, modules, how=None):
    """Return output, gradients and running statistics of a tail, by name."""
    bn, relu, se = (None if each is None else copy.deepcopy(each).to(dtype) for each in modules)
    y, x, grad = (each.to(dtype).to(memory_format=how or torch.contiguous_format) for each in given)
    y, x = y.detach().requires_grad_(), x.detach().requires_grad_()
    with kernels(mode), recording() as ran:
        out = tail(y, bn, relu, se=se, shortcut=x if flags[2] else None, relu_first=flags[4])
        out.backward(grad)
        found = {"output": out.detach(), "y": y.grad, "shortcut": x.grad}
        if bn is None or not bn.training:
            with torch.no_grad():
                found["inference"] = tail(
                    y, bn, relu, se=se, shortcut=x if flags[2] else None, relu_first=flags[4]
                )
    for name, layer in (("bn", bn), ("se", se)):
        if layer is not None:
            found |= {f"{name}.{key}": each.grad for key, each in layer.named_parameters()}
            found |= {f"{name}.{key}": each for key, each in layer.named_buffers()}
    return {key: value for key, value in found.items() if value is not None}, ran[0].choice


def maps(shape, seeds=(0, 1, 2), scale=1.0, mean=0.0):
    """Return input, shortcut and the output's gradient in float32 values."""
    return [
        (
            torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale
            + (mean if seed == 0 else 0)
        )
        for seed in seeds
    ]


def assert_same(ours, exact, tolerance):
    assert ours.keys() == exact.keys()
    for key, value in exact.items():
        error = (ours[key].double() - value.double()).abs().max() / value.double().abs().max().clamp_min(
            1e-30
        )
        assert error <= tolerance, (key, error.item())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("flags", TAILS, ids=lambda flags: str(Steps(*flags)))
def test_every_tail_and_its_gradients(flags, how, training):
    torch.manual_seed(0)
    modules = layers(12, flags, training)
    given = maps((3, 12, 7, 5))
    exact, _ = results("reference", torch.float64, flags, given, modules)
    for mode, dtype, tolerance in (
        ("always", torch.float64, 1e-12),
        ("always", torch.float32, 1e-5),
        ("torch", torch.float64, 1e-12),
    ):
        ours, choice = results(mode, dtype, flags, given, modules, how)
        assert choice.backend == {"always": "numba", "torch": "torch"}[mode]
        assert_same(ours, exact, tolerance)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("relu_first", [False, True])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_gate(activation, gate, relu_first, training):
    torch.manual_seed(0)
    flags = (True, True, not relu_first, not relu_first, relu_first)
    modules = layers(8, flags, training, activation=activation, gate=gate)
    given = maps((4, 8, 3, 5))
    exact, _ = results("reference", torch.float64, flags, given, modules)
    ours, choice = results("always", torch.float64, flags, given, modules)
    assert choice.backend == ("reference" if relu_first and gate == "tanh" else "numba")
    assert_same(ours, exact, 1e-12)


@pytest.mark.parametrize(
    "shape",
    [
        (2, 7, 5, 3),
        (1, 64, 4, 4),
        (1, 1, 9, 9),
        (3, 1, 2, 5),
        (3, 64, 1, 1),
        (2, 2048, 2, 1),
        (5, 24),
        (2, 6, 30),
    ],
)
@pytest.mark.parametrize("relu_first", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_odd_shapes(shape, relu_first, training):
    torch.manual_seed(0)
    flags = (True, True, not relu_first, not relu_first, relu_first)
    modules = list(layers(shape[1], flags, training))
    if len(shape) != 4:
        bn = nn.BatchNorm1d(shape[1])
        bn.load_state_dict(modules[0].state_dict())
        bn.train(training)
        modules[0] = bn
    given = maps(shape)
    exact, _ = results("reference", torch.float64, flags, given, modules)
    ours, choice = results("always", torch.float32, flags, given, modules)
    assert choice.backend == "numba"
    assert_same(ours, exact, 1e-5)


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("mean", [1e4, -1e4])
def test_a_mean_far_from_zero_loses_no_digits(how, mean):
    torch.manual_seed(0)
    flags = (True, True, True, True, False)
    modules = layers(16, flags)
    given = maps((4, 16, 13, 9), mean=mean)
    exact, _ = results("reference", torch.float64, flags, given, modules)
    ours, _ = results("always", torch.float32, flags, given, modules, how)
    assert_same(ours, exact, 1e-5)


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("where", [(0, 3, 0, 0), (2, 3, 6, 4)])
def test_one_huge_value(how, where):
    torch.manual_seed(0)
    flags = (True, True, True, True, False)
    modules = layers(16, flags)
    given = maps((4, 16, 13, 9))
    given[0][where] = 1e6
    exact, _ = results("reference", torch.float64, flags, given, modules)
    ours, _ = results("always", torch.float32, flags, given, modules, how)
    assert_same(ours, exact, 1e-5)


def test_constant_channels():
    torch.manual_seed(0)
    flags = (True, True, True, True, False)
    modules = layers(8, flags)
    given = maps((3, 8, 6, 6))
    given[0][:, 2] = 5.3
    given[0][:, 3] = 0.0
    exact, _ = results("reference", torch.float64, flags, given, modules)
    ours, _ = results("always", torch.float32, flags, given, modules)
    # Where nothing varies, the gradient is a difference of equal numbers times 1 / sqrt(eps).
    assert_same({**ours, "y": ours["y"][:, 4:]}, {**exact, "y": exact["y"][:, 4:]}, 1e-5)
    assert (ours["y"] - exact["y"]).abs().max() <= 1e-6 / modules[0].eps ** 0.5


@pytest.mark.parametrize("flags", TAILS, ids=lambda flags: str(Steps(*flags)))
def test_gradients_are_the_difference_quotients(flags):
    torch.manual_seed(0)
    bn, relu, se = (None if each is None else each.double() for each in layers(6, flags, activation="silu"))
    y, x, _ = (each.double().requires_grad_() for each in maps((2, 6, 3, 3)))
    names = [] if bn is None else ["weight", "bias"]
    parameters = [*(() if bn is None else bn.parameters()), *(() if se is None else se.parameters())]

    def run(y, x, *_):
        if bn is not None:
            bn.reset_running_stats()
        return tail(y, bn, relu, se=se, shortcut=x if flags[2] else None, relu_first=flags[4])

    assert names or se is not None
    assert gradcheck(run, (y, x, *parameters), atol=1e-6)


def test_the_same_bits_twice():
    torch.manual_seed(0)
    flags = (True, True, True, True, False)
    modules, given = layers(16, flags), maps((4, 16, 9, 9))
    first, _ = results("always", torch.float32, flags, given, modules)
    second, _ = results("always", torch.float32, flags, given, modules)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_gates_of_one_change_no_bit():
    torch.manual_seed(0)
    bn, relu, _ = layers(16, (True, False, True, True, False))
    se = SqueezeExcitation.from_config(16, SEConfig(gate="double_sigmoid", start="identity", reduction=4))
    y, x, _ = maps((4, 16, 9, 9))
    for training in (True, False):
        plain, twin = copy.deepcopy(bn).train(training), copy.deepcopy(bn).train(training)
        assert torch.equal(tail(y, plain, relu, shortcut=x), tail(y, twin, relu, se=se, shortcut=x))
    assert torch.equal(tail(y, se=se), y)


def test_what_is_not_a_number_spreads_as_it_does_layer_by_layer():
    torch.manual_seed(0)
    for flags, training in itertools.product(
        ((True, True, True, True, False), (True, False, False, True, False)), (True, False)
    ):
        for value in (torch.nan, torch.inf):
            modules, given = layers(8, flags, training), maps((2, 8, 4, 4))
            given[0][1, 3, 2, 2] = value
            exact, _ = results("reference", torch.float32, flags, given, modules)
            ours, _ = results("always", torch.float32, flags, given, modules)
            for key in {"output", "y", "inference", "bn.running_mean", "bn.running_var"} & exact.keys():
                assert torch.equal(ours[key].isnan(), exact[key].isnan()), (flags, training, value, key)
                assert torch.equal(ours[key].isinf(), exact[key].isinf()), (flags, training, value, key)


def test_running_statistics_move_as_batchnorms_do():
    for options in (
        {},
        {"momentum": 0.3},
        {"momentum": None},
        {"affine": False},
        {"track_running_stats": False},
    ):
        ours, theirs = nn.BatchNorm2d(6, **options), nn.BatchNorm2d(6, **options)
        for step in range(3):
            y = torch.randn(2, 6, 3, 5) * 3 + step
            assert torch.allclose(tail(y, ours), theirs(y), atol=1e-5)
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        for key, value in theirs.state_dict().items():
            assert torch.allclose(ours.state_dict()[key], value, rtol=1e-5, atol=1e-6), (options, key)
        ours.eval(), theirs.eval()
        assert torch.allclose(tail(y, ours), theirs(y), atol=1e-5)


def test_a_frozen_batchnorm_in_training_stays_as_it_is():
    torch.manual_seed(0)
    bn, relu, se = layers(8, (True, True, True, True, False))
    bn.eval()
    before = copy.deepcopy(bn.state_dict())
    y, x, _ = maps((2, 8, 4, 4))
    tail(y, bn, relu, se=se, shortcut=x).sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in bn.state_dict().items())


def test_one_value_in_a_channel_is_refused_as_batchnorm_refuses_it():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        tail(torch.randn(1, 4, 1, 1), nn.BatchNorm2d(4))


def test_an_empty_batch_gives_an_empty_batch():
    bn, relu, se = layers(8, (True, True, True, True, False), training=False)
    y = torch.zeros(0, 8, 4, 4, requires_grad=True)
    out = tail(y, bn, relu, se=se, shortcut=y)
    out.sum().backward()
    assert out.shape == y.grad.shape == y.shape


def reason_of(*given, **named):
    with recording() as ran:
        tail(*given, **named)
    return ran[0].choice.reason


def test_what_no_kernel_computes_runs_layer_by_layer_and_says_why():
    y, x = torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4)
    bn, relu, se = layers(8, (True, True, True, True, False))

    def hooked(layer):
        layer = copy.deepcopy(layer)
        layer.register_forward_hook(lambda *_: None)
        return layer

    own = copy.deepcopy(se)
    own.gate = torch.ones_like
    normed = copy.deepcopy(se)
    nn.utils.parametrizations.weight_norm(normed.fc1)
    replaced = copy.deepcopy(se)
    replaced.fc1 = nn.Sequential(replaced.fc1)
    assert reason_of(y, hooked(bn), relu) == "BatchNorm has a hook"
    assert reason_of(y, bn, hooked(relu)) == "ReLU has a hook"
    assert reason_of(y, bn, relu, se=hooked(se)) == "SE has a hook"
    assert reason_of(y, bn, nn.ReLU6()) == "ReLU6 is not a ReLU"
    assert reason_of(y, nn.InstanceNorm2d(8)) == "InstanceNorm2d is not PyTorch's BatchNorm"
    assert reason_of(y, bn, se=own) == "the gate or the activation was replaced"
    assert reason_of(y, bn, se=replaced) == "Sequential in SE is not a Linear"
    assert reason_of(y, bn, se=SqueezeExcitation(8, 2, squeeze="max")) == "squeeze max"
    assert reason_of(y, bn, se=SqueezeExcitation(8, 2, squeeze="none")) == "squeeze none"
    assert reason_of(y, bn, shortcut=x[:1]) == "the shortcut has a different shape, type or device"
    assert reason_of(y, bn, shortcut=x.double()) == "the shortcut has a different shape, type or device"
    assert reason_of(y.bfloat16(), nn.BatchNorm2d(8).bfloat16()) == "no kernels for bfloat16 on cpu"
    assert reason_of(y, bn, relu, se=SqueezeExcitation(8, 2, gate="tanh"), relu_first=True).startswith(
        "the tanh gate"
    )
    with kernels("reference"):
        assert reason_of(y, bn, relu) == "SENET_KERNELS=reference"
    # Parametrised weights are read as they are.
    assert reason_of(y, bn, se=normed) == ""


def test_hooks_run_and_see_what_the_layers_give():
    y = torch.randn(2, 8, 4, 4)
    bn, relu, se = layers(8, (True, True, False, True, False))
    seen = []
    se.register_forward_hook(lambda layer, given, out: seen.append((given[0], out)))
    out = tail(y, bn, relu, se=se)
    ((given, weighed),) = seen
    assert torch.allclose(given, nn.functional.batch_norm(y, None, None, bn.weight, bn.bias, True), atol=1e-5)
    assert torch.equal(out, torch.relu(weighed))


def test_other_numbers_of_channels_are_refused_as_the_layers_refuse_them():
    with pytest.raises(RuntimeError, match="running_mean"):
        tail(torch.randn(2, 7, 4, 4), nn.BatchNorm2d(8))
    with pytest.raises(SenetError, match="expects input of shape"):
        tail(torch.randn(2, 7, 4, 4), se=SqueezeExcitation(8, 2))


def test_layers_in_order_are_the_sequence_and_pair_batchnorm_with_relu():
    torch.manual_seed(0)
    sequence = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.BatchNorm2d(8),
    ).double()
    names = [name for name, _ in paired(sequence.named_children())]
    assert names == ["0", "2", "3", "4", "5", "6"]
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    expected = copy.deepcopy(sequence)(x)
    assert torch.allclose(in_order(sequence, x), expected, atol=1e-12)
    seen = []
    sequence.register_forward_hook(lambda *_: seen.append(1))
    in_order(sequence, x)
    assert seen == [1]


def test_autocast_leaves_the_tables_alone():
    torch.manual_seed(0)
    flags = (True, True, True, True, False)
    bn, relu, se = layers(16, flags)
    y, x, _ = maps((4, 16, 9, 9))
    expected = tail(y, copy.deepcopy(bn), relu, se=se, shortcut=x)
    with torch.autocast("cpu", torch.bfloat16):
        out = tail(y, copy.deepcopy(bn), relu, se=se, shortcut=x)
    assert torch.equal(out, expected)


def test_norm_layers_are_those_of_torch():
    assert tail_module.NORM_FORWARDS[0] is nn.BatchNorm1d.forward is nn.BatchNorm2d.forward


@pytest.mark.parametrize("inference", [True, False])
def test_parameters_that_no_kernel_can_read_are_left_to_the_layers(inference):
    class Own(torch.Tensor):
        pass

    y = torch.randn(2, 8, 4, 4)
    bn, relu, se = layers(8, (True, True, True, True, False), training=False)
    with kernels("always"), torch.set_grad_enabled(not inference):
        for away in ({"bn": copy.deepcopy(bn).to("meta")}, {"se": copy.deepcopy(se).to("meta")}):
            with recording() as ran, pytest.raises(RuntimeError):
                tail(y, **away)
            assert ran[0].choice.reason == "a parameter is on meta but the input is on cpu"
        bn.running_var = bn.running_var.as_subclass(Own)
        assert reason_of(y, bn, relu) == "a parameter is a Own"
