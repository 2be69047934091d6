"""Networks compiled with senet's backend compute what they do in eager mode."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from senet.compiler import backend
from senet.kernels.backends import kernels
from senet.kernels.explain import explain_kernels
from tests.references import import_timm, timm_model, torchvision_model

C, K = 6, 4


class Unit(nn.Module):
    """A residual unit whose layers the tests put in any order."""

    def __init__(self, forward, gate=torch.sigmoid, activation=functional.relu):
        super().__init__()
        self.conv = nn.Conv2d(3, C, 3, padding=1)
        self.bn = nn.BatchNorm2d(C)
        self.fc1, self.fc2 = nn.Linear(C, K), nn.Linear(K, C)
        self.relu = nn.ReLU(inplace=True)
        self.gate, self.activation, self.run = gate, activation, forward
        for each in (self.bn.weight, self.bn.bias, self.bn.running_mean):
            nn.init.normal_(each)
        self.double()

    def se(self, x, squeeze=lambda x: x.mean((2, 3))):
        s = self.gate(self.fc2(self.activation(self.fc1(squeeze(x)))))
        return x * s[:, :, None, None]

    def forward(self, x):
        return self.run(self, self.conv(x))


@pytest.fixture
def found(monkeypatch):
    """The names of the steps that the backend fused, in order."""
    names = []
    replace = backend._replace

    def keep(module, epilogue, name):
        names.append(str(epilogue.steps))
        replace(module, epilogue, name)

    monkeypatch.setattr(backend, "_replace", keep)
    torch._dynamo.reset()
    with kernels("always"):
        yield names


def compare(model, *inputs, rounds=2, tolerance=1e-9, **options):
    """Run both several times and compare outputs, gradients and buffers."""
    eager = copy.deepcopy(model)
    model.compile(backend=backend.senet, **options)
    for x in inputs:
        for _ in range(rounds):
            results = []
            for each in (eager, model):
                each.zero_grad()
                given = x.clone().requires_grad_()
                torch.manual_seed(0)
                out = each(given)
                out.square().sum().backward()
                gradients = [p.grad for p in each.parameters() if p.grad is not None]
                results.append([out, given.grad, *gradients, *each.buffers()])
            for expected, one in zip(*results, strict=True):
                assert torch.allclose(one, expected, rtol=tolerance, atol=tolerance)
                assert one.stride() == expected.stride()


def pictures(*shape):
    return torch.randn(*shape, dtype=torch.float64)


ORDERS = {
    "bn se add relu": lambda m, y: m.relu(m.se(m.bn(y)) + y),
    "bn relu se": lambda m, y: m.se(m.relu(m.bn(y))),
    "bn relu": lambda m, y: m.relu(m.bn(y)) * 2,
    "bn add relu": lambda m, y: functional.relu(y.abs() + m.bn(y)),
    "bn se": lambda m, y: m.se(m.bn(y)),
    "se add": lambda m, y: torch.add(m.se(y), y),
    "se": lambda m, y: m.se(y),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("steps", ORDERS)
def test_every_order_of_the_layers_is_fused(steps, training, found):
    compare(Unit(ORDERS[steps]).train(training), pictures(2, 3, 5, 4), pictures(3, 3, 6, 4))
    assert found and set(found) == {steps}


GATES = {
    "sigmoid": lambda s: s.sigmoid(),
    "tanh": torch.tanh,
    "relu": torch.relu,
    "hard_sigmoid": functional.hardsigmoid,
    "double_sigmoid": lambda s: 2 * torch.sigmoid(s),
    "doubled": lambda s: s.sigmoid_() * 2,
}
ACTIVATIONS = [functional.relu, functional.silu, functional.gelu, functional.hardswish, nn.ReLU(inplace=True)]
SQUEEZES = [
    lambda x: x.mean([2, 3]),
    lambda x: x.mean((-1, -2), keepdim=True).flatten(1),
    lambda x: functional.adaptive_avg_pool2d(x, 1)[:, :, 0, 0],
    lambda x: torch.flatten(nn.AdaptiveAvgPool2d((1, 1))(x), 1),
    lambda x: x.view(x.size(0), x.size(1), -1).mean(2),
    lambda x: x.mean(dim=(2, 3), keepdim=True).squeeze(-1).squeeze(-1),
]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("number", range(len(SQUEEZES)))
def test_se_is_recognised_however_it_is_written(gate, number, found):
    activation = ACTIVATIONS[number % len(ACTIVATIONS)]
    unit = Unit(lambda m, y: m.relu(m.se(m.bn(y), SQUEEZES[number]) + y), GATES[gate], activation)
    compare(unit, pictures(2, 3, 5, 4))
    assert found == ["bn se add relu"]


def gate_used_twice(m, t):
    s = m.gate(m.fc2(m.relu(m.fc1(t.mean((2, 3))))))
    return t * s[:, :, None, None] + s.sum()


PERMUTED = [3, 1, 0, 2, 5, 4]


def gates(m, z):
    return m.gate(m.fc2(m.relu(m.fc1(z))))[:, :, None, None]


def of_whole_batch(m, t):
    """SE's layers as convolutions of a (N, C) table, which take the images for channels where N = C."""
    first, second = m.fc1.weight[..., None], m.fc2.weight[..., None]
    z = functional.conv1d(t.mean((2, 3)), first)
    return t * functional.conv1d(m.relu(z), second).sigmoid()[:, :, None, None]


def written_after_squeeze(write):
    def forward(m, y):
        y = y + 1
        s = gates(m, y.mean((2, 3)))
        write(y)
        return y * s

    return forward


NO_SE = {
    "gates permuted": lambda m, y: y * gates(m, y.mean((2, 3)))[:, PERMUTED],
    "squeeze permuted": lambda m, y: y * gates(m, y.mean((2, 3))[:, torch.tensor(PERMUTED)]),
    "images permuted": lambda m, y: y * gates(m, y[PERMUTED].mean((2, 3))),
    "images as channels": lambda m, y: of_whole_batch(m, m.bn(y)),
    "whole numbers": lambda m, y: y * gates(m, y.mean((2, 3)).to(torch.int64).to(y.dtype)),
    "maximum": lambda m, y: m.se(m.bn(y), lambda x: x.amax((2, 3))),
    "one axis": lambda m, y: m.se(m.bn(y), lambda x: x.mean(3).mean(2)),
    "part of the map": lambda m, y: m.se(m.bn(y), lambda x: x[:, :, :1].mean((2, 3))),
    "other maps": lambda m, y: m.bn(y) * m.gate(m.fc2(m.relu(m.fc1(y.mean((2, 3))))))[:, :, None, None],
    "gate used twice": lambda m, y: gate_used_twice(m, m.bn(y)),
    "one layer": lambda m, y: m.bn(y) * m.gate(m.fc2(m.fc1(m.bn(y).mean((2, 3)))))[:, :, None, None],
}


@pytest.mark.parametrize("name", NO_SE)
def test_what_is_no_se_block_is_left(name, found):
    compare(Unit(NO_SE[name]), pictures(C, 3, 6, 6))
    assert not any("se" in each for each in found)


@pytest.mark.parametrize("write", [torch.relu_, lambda y: functional.elu(y, 1.0, True)])
def test_maps_that_are_written_to_after_their_squeeze_are_no_se_block(write, found):
    compare(Unit(written_after_squeeze(write)), pictures(2, 3, 5, 4))
    assert not found


def no_gradient_inside(m, y):
    with torch.no_grad():
        t = m.bn(y)
    return torch.relu(t) + y


def moved_in_another_order(m, y):
    first, second = m.bn(y), m.bn(2 * y)
    second = torch.relu(second)
    return torch.relu(first) - second


def statistics_seen(m, y):
    t, mean = m.bn(y), m.bn.running_mean.clone()
    return torch.relu(t) + mean[:, None, None]


def moved_beside(m, y):
    return m.bn(y).square() + torch.relu(m.bn(y * 2))


@pytest.mark.parametrize(
    "forward", [no_gradient_inside, moved_in_another_order, statistics_seen, moved_beside]
)
def test_what_a_batch_norm_changes_or_is_changed_by_comes_in_the_order_of_the_model(forward, found):
    compare(Unit(forward), pictures(2, 3, 5, 4))


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.grad])
def test_a_transform_inside_a_compiled_function_is_left(transform, found):
    unit = Unit(lambda m, y: m.relu(m.bn(y))).eval()
    run = transform(lambda x: unit(x[None]).square().sum())
    x = pictures(2, 3, 5, 4) if transform is torch.func.vmap else pictures(3, 5, 4)
    assert torch.allclose(torch.compile(run, backend=backend.senet)(x), run(x), rtol=1e-9)


def test_a_mode_of_another_backend_is_refused(found):
    model = torch.compile(Unit(lambda m, y: m.bn(y)), backend=backend.senet, mode="max-autotune")
    with pytest.raises(Exception, match="leave mode out"):
        model(pictures(2, 3, 5, 4))


def test_every_size_and_number_may_be_symbolic(found):
    def forward(m, y):
        n, c = y.shape[:2]
        t = m.bn(y)
        return torch.relu(t * gates(m, t.mean((2, 3)).view(n, c)).view(n, c, 1, 1).expand_as(y) + y)

    compare(Unit(forward), pictures(2, 3, 5, 4), pictures(3, 3, 6, 4), dynamic=True)
    assert set(found) == {"bn se add relu"}


@pytest.mark.parametrize("x", [pictures(2, 5, C, 4).transpose(1, 2), pictures(2, C, 5, 4).mT])
def test_maps_in_an_order_of_their_own_are_laid_out_as_batch_norm_does(x, found):
    unit = Unit(lambda m, y: torch.relu(m.bn(y)))
    unit.conv = nn.Identity()
    compare(unit, x)


def written_before(m, y):
    z = m.bn(y)
    y.mul_(3)
    return functional.relu(z) + y


def written_shortcut(m, y):
    z, shortcut = m.bn(y), y.abs()
    shortcut += z
    return functional.relu(shortcut) + shortcut


def written_between(m, y):
    shortcut = y.abs()
    z = m.se(m.bn(y))
    out = z + shortcut
    shortcut.mul_(2)
    return m.relu(out) * shortcut.sum()


def used_twice(m, y):
    z = m.bn(y)
    return m.relu(z.clone()) + z


def filled_between(m, y):
    shortcut = y.abs()
    out = m.bn(y) + shortcut
    shortcut[:, 0] = 5
    return m.relu(out) * shortcut.sum()


WRITES = [written_before, written_shortcut, written_between, filled_between, used_twice]


@pytest.mark.parametrize("forward", WRITES)
def test_values_that_are_written_to_or_used_elsewhere_are_right(forward, found):
    with torch.no_grad():
        unit, x = Unit(forward), pictures(2, 3, 5, 4)
        eager = copy.deepcopy(unit)
        unit.compile(backend=backend.senet)
        assert torch.allclose(unit(x), eager(x), rtol=1e-12)
        assert torch.equal(unit.bn.num_batches_tracked, eager.bn.num_batches_tracked)


@pytest.mark.parametrize(
    ("build", "steps"),
    [
        (lambda: timm_model("seresnet18"), {"bn relu": 9, "bn se add relu": 8}),
        (
            lambda: torchvision_model("mobilenet_v3_small"),
            {"se": 8, "bn relu se": 1, "bn relu": 4, "bn add": 6},
        ),
    ],
)
@pytest.mark.slow
def test_networks_of_other_packages_compute_the_same(build, steps, found):
    torch.manual_seed(0)
    model = build().double()
    compare(model, pictures(2, 3, 64, 64), rounds=1)
    assert {name: found.count(name) for name in steps} == steps
    with torch.no_grad():
        eager = copy.deepcopy(model).eval()
        eager._compiled_call_impl = None
        x = pictures(2, 3, 64, 64)
        assert torch.allclose(model.eval()(x), eager(x), rtol=1e-9)


def by_data(parameter: Tensor) -> None:
    parameter.data.mul_(-1.5)


def by_numpy(parameter: Tensor) -> None:
    array = parameter.detach().numpy()
    array *= -1.5


def by_sharing(parameter: Tensor) -> None:
    other = torch.empty(0, dtype=parameter.dtype).set_(parameter.detach().share_memory_().untyped_storage())
    other.mul_(-1.5)


@pytest.mark.parametrize("change", [by_data, by_numpy, by_sharing])
def test_a_changed_parameter_is_used_at_the_next_call(change, found):
    unit, x = Unit(ORDERS["bn se add relu"]).eval(), pictures(2, 3, 5, 4)
    unit.compile(backend=backend.senet)
    with torch.no_grad():
        unit(x)
        for each in (*unit.parameters(), *unit.buffers()):
            if each.is_floating_point() and each is not unit.bn.running_var:
                change(each)
                assert torch.allclose(unit(x), unit._call_impl(x), rtol=1e-12)
    assert found == ["bn se add relu"]


def test_weights_of_a_functional_call_are_used(found):
    unit, x = Unit(ORDERS["bn relu"]).eval(), pictures(2, 3, 5, 4)
    compiled = torch.compile(unit, backend=backend.senet)
    with torch.no_grad():
        compiled(x)
        others = {f"_orig_mod.{name}": 2 * each for name, each in unit.named_parameters()}
        expected = torch.func.functional_call(unit, {name[10:]: each for name, each in others.items()}, (x,))
        assert torch.allclose(torch.func.functional_call(compiled, others, (x,)), expected, rtol=1e-12)


class Checkpointed(Unit):
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


def test_checkpointed_parts_are_fused_too(found):
    compare(Checkpointed(ORDERS["bn se add relu"]).eval(), pictures(2, 3, 5, 4))
    unit = Checkpointed(ORDERS["bn se add relu"])
    unit.compile(backend=backend.senet)
    unit(pictures(2, 3, 5, 4)).sum().backward()
    assert set(found) == {"bn se add relu"} and unit.fc1.weight.grad.abs().sum() > 0


def test_half_precision_that_no_kernel_runs_is_left_as_it_is(found):
    unit, x = Unit(ORDERS["bn se add relu"]).float(), torch.randn(2, 3, 5, 4)
    eager = copy.deepcopy(unit)
    unit.compile(backend=backend.senet)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(unit(x), eager(x))
    assert found == []


def test_overflowing_sums_run_as_layers(found):
    unit = Unit(ORDERS["bn relu"]).float()
    compare(unit, 1e18 * torch.randn(2, 3, 12, 12), rounds=1, tolerance=1e-4)
    assert unit.bn.running_var.isfinite().all() and found == ["bn relu"]


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stage = Unit(lambda m, y: m.relu(m.block(m.bn(y)) + y))
        self.stage.block = import_timm().layers.SEModule(C, rd_channels=2).double()

    def forward(self, x):
        return self.stage(x)


def test_the_report_names_what_a_compiled_model_runs(found):
    model = Network()
    model.compile(backend=backend.senet)
    (row,) = explain_kernels(model, pictures(2, 3, 5, 4)).rows
    assert (row.block, row.steps, row.backend) == ("stage: bn, block", "bn se add relu", "numba")
    assert model.stage.bn.num_batches_tracked == 0
