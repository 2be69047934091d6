"""The fused tail as an operator: what PyTorch's own machinery makes of it."""

import copy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.blocks.tail import tail
from senet.errors import SenetError
from senet.kernels.backends import kernels
from senet.kernels.dispatch import recording
from senet.kernels.operators import tail_operator

C = 8
STEPS = ["bn se add relu", "bn relu", "bn relu se", "bn add relu", "bn se relu", "se", "bn se add", "bn"]


def arguments(steps, of_batch=True, requires_grad=True, backend="numba", how=torch.channels_last):
    torch.manual_seed(0)

    def new(*shape):
        return torch.randn(shape).requires_grad_(requires_grad)

    y = torch.randn(2, C, 4, 3).to(memory_format=how).requires_grad_(requires_grad)
    shortcut = torch.randn(2, C, 4, 3).requires_grad_(requires_grad) if "add" in steps else None
    bn = "bn" in steps
    se = "se" in steps
    running = bn and not of_batch
    return (
        y,
        shortcut,
        *((new(C), new(C)) if bn else (None, None)),
        *((torch.randn(C), torch.rand(C) + 0.5) if running else (None, None)),
        *((new(4, C), new(4), new(C, 4), new(C)) if se else (None,) * 4),
        steps,
        bn and of_batch,
        1e-5,
        "relu",
        "sigmoid",
        "",
        backend,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "of_batch"),
    [
        *((steps, True) for steps in STEPS),
        *((steps, False) for steps in ("bn se add relu", "bn relu se", "bn")),
    ],
)
def test_pytorch_finds_nothing_wrong_with_the_operator(steps, of_batch):
    torch.library.opcheck(tail_operator, arguments(steps, of_batch))


@pytest.mark.parametrize("steps", STEPS)
def test_pytorch_finds_nothing_wrong_with_its_gradient(steps):
    y, shortcut, *given = arguments(steps, requires_grad=False)
    out, *saved = tail_operator(y, shortcut, *given)
    if shortcut is None or "relu" not in steps:
        out = None
    grad = torch.randn_like(y)
    torch.library.opcheck(torch.ops.senet.tail_backward.default, (grad, y, out, *saved, *given))


class Unit(nn.Module):
    """A residual tail with a convolution in front of it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(C, C, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(C)
        self.se = SqueezeExcitation(C, 2)
        self.relu = nn.ReLU()

    def forward(self, x):
        return tail(self.conv(x), self.bn, self.relu, se=self.se, shortcut=x)


def trained(unit, run, x):
    run(x).square().sum().backward()
    return [*(p.grad for p in unit.parameters()), *unit.buffers()]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["always", "torch"])
def test_compiles_as_one_graph(mode):
    torch._dynamo.reset()
    unit = Unit()
    twin, x = copy.deepcopy(unit), torch.randn(2, C, 5, 4)
    with kernels(mode):
        compiled = trained(twin, torch.compile(twin, fullgraph=True), x)
    for ours, expected in zip(compiled, trained(unit, unit, x), strict=True):
        assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_a_compiler_sees_the_layers():
    seen = {}

    def inspect(graph, _):
        seen[mode] = {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}
        return graph

    x = torch.randn(2, C, 5, 4)
    for mode in ("always", "torch", "reference"):
        torch._dynamo.reset()
        with kernels(mode), torch.no_grad():
            torch.compile(Unit(), fullgraph=True, backend=inspect)(x)
    for targets in seen.values():
        assert not any("senet" in target for target in targets)
        assert any("batch_norm" in target for target in targets)


@pytest.mark.parametrize("training", [True, False])
def test_an_exported_program_knows_nothing_of_senet(training):
    unit = Unit().train(training)
    x = torch.randn(2, C, 5, 4)
    program = torch.export.export(copy.deepcopy(unit), (x,))
    assert "senet" not in str(program.graph)
    assert torch.allclose(program.module()(x), unit(x), atol=1e-5)


def test_a_traced_program_knows_nothing_of_senet():
    unit, x = Unit().eval(), torch.randn(2, C, 5, 4)
    traced = torch.jit.trace(unit, (x,))
    assert "senet::" not in str(traced.inlined_graph)
    assert torch.allclose(traced(x), unit(x), atol=1e-5)


def run_layers(steps, y, shortcut, bn, se):
    relu = nn.ReLU() if "relu" in steps else None
    order = {"relu_first": True} if steps == "bn relu se" else {}
    return tail(
        y,
        bn if "bn" in steps else None,
        relu,
        se=se if "se" in steps else None,
        shortcut=shortcut if "add" in steps else None,
        **order,
    )


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("steps", STEPS)
def test_gradients_can_be_differentiated_again_and_batched(steps, training):
    torch.manual_seed(0)
    bn, se = nn.BatchNorm2d(C).double().train(training), SqueezeExcitation(C, 2).double()
    for parameter in (bn.weight, bn.bias, bn.running_mean):
        nn.init.normal_(parameter)
    y, shortcut = (torch.randn(2, C, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    inputs = [y, shortcut, *bn.parameters(), *se.parameters()]
    several = torch.randn(3, *y.shape, dtype=torch.float64)
    results = []
    for mode in ("reference", "always"):
        with kernels(mode), recording() as ran:
            out = run_layers(steps, y, shortcut, bn, se)
            once = torch.autograd.grad(out.square().sum(), inputs, create_graph=True, materialize_grads=True)
            total = sum(each.square().sum() for each in once)
            twice = torch.autograd.grad(total, inputs, materialize_grads=True)
            out = run_layers(steps, y, shortcut, bn, se)
            batched = torch.autograd.grad(
                out, inputs, several, is_grads_batched=True, allow_unused=True, materialize_grads=False
            )
        assert ran[0].choice.backend == ("numba" if mode == "always" else "reference")
        results.append([*once, *twice, *(each for each in batched if each is not None)])
    for expected, found in zip(*results, strict=True):
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_vectorised_jacobians_and_hessians_are_those_of_the_layers():
    unit, x = Unit().double(), torch.randn(2, C, 3, 2, dtype=torch.float64)
    found = []
    for mode in ("reference", "always"):
        with kernels(mode):
            jacobian = torch.autograd.functional.jacobian(unit, x, vectorize=True)
            found.append((jacobian, torch.autograd.functional.hessian(lambda x: unit(x).pow(3).sum(), x)))
    for expected, one in zip(*found, strict=True):
        assert torch.allclose(one, expected, rtol=1e-8, atol=1e-8)


def test_a_compiled_gradient_is_not_differentiated_again():
    """The operator itself, which torch.compile sees, says so instead of returning zeros."""
    given = arguments("bn relu")
    (gradient,) = torch.autograd.grad(tail_operator(*given)[0].square().sum(), given[0], create_graph=True)
    with pytest.raises(SenetError, match=r"cannot be differentiated twice: set .* SENET_KERNELS=reference"):
        gradient.sum().backward()


@pytest.mark.parametrize("how", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("scale", [1e17, 1e18, 1e30, 1e35])
@pytest.mark.parametrize("steps", ["bn se add relu", "bn relu", "bn relu se"])
def test_values_up_to_the_largest_of_float32_stay_finite(steps, scale, how):
    torch.manual_seed(0)
    y = (scale * torch.randn(4, C, 14, 14)).to(memory_format=how).requires_grad_()
    shortcut, grad = torch.randn(2, 4, C, 14, 14)
    results = []
    for mode in ("reference", "always"):
        torch.manual_seed(1)
        bn, se = nn.BatchNorm2d(C), SqueezeExcitation(C, 2)
        with kernels(mode):
            out = run_layers(steps, y, shortcut, bn, se)
            parameters = [bn.weight, *(se.parameters() if "se" in steps else ())]
            results.append([out, *torch.autograd.grad(out, [y, *parameters], grad), bn.running_mean])
    for expected, found in zip(*results, strict=True):
        assert expected.isfinite().all() and bn.num_batches_tracked == 1
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.detach().abs().max()))


def test_transforms_of_functions_run_layer_by_layer():
    unit, x = Unit().eval(), torch.randn(3, 2, C, 5, 4)
    with recording() as ran:
        mapped = torch.vmap(unit)(x)
        _, tangents = torch.func.jvp(unit, (x[0],), (torch.ones_like(x[0]),))
        torch.func.grad(lambda x: unit(x).sum())(x[0])
    assert {each.choice.reason for each in ran} == {"torch.func"}
    assert torch.allclose(mapped, torch.stack([unit(each) for each in x]), atol=1e-5)
    assert tangents.isfinite().all()
    import torch.autograd.forward_ad as forward

    with forward.dual_level(), recording() as ran:
        unit(forward.make_dual(x[0], torch.ones_like(x[0])))
    assert ran[0].choice.reason == "forward-mode differentiation"


def test_flops_are_those_of_the_layers():
    counts = []
    for mode in ("always", "reference"):
        unit, x = Unit(), torch.randn(2, C, 5, 4)
        with kernels(mode), FlopCounterMode(display=False) as counter:
            unit(x).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


def test_only_the_input_and_the_output_are_kept_for_the_backward():
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    unit, y, x = Unit(), torch.randn(2, C, 16, 16).requires_grad_(), torch.randn(2, C, 16, 16)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        tail(y, unit.bn, unit.relu, se=unit.se, shortcut=x)
    assert sorted(kept)[-2:] == [y.numel()] * 2
    assert sum(kept) < y.numel() * 2.2
    kept.clear()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        tail(y, unit.bn, unit.relu, se=unit.se, relu_first=True)
    assert sum(kept) < y.numel() * 1.2


def test_a_recomputed_unit_has_the_same_gradients():
    unit, x = Unit(), torch.randn(2, C, 5, 4, requires_grad=True)
    twin = copy.deepcopy(unit)
    unit(x).square().sum().backward()
    checkpoint(twin, x, use_reentrant=False).square().sum().backward()
    for ours, expected in zip(twin.parameters(), unit.parameters(), strict=True):
        assert torch.equal(ours.grad, expected.grad)


def test_gradients_reach_what_asks_for_them_alone():
    unit = Unit()
    for parameter in (*unit.conv.parameters(), unit.bn.weight, unit.se.fc1.weight):
        parameter.requires_grad_(False)
    unit(torch.randn(2, C, 5, 4)).square().sum().backward()
    for name, parameter in unit.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_a_gradient_scaler_sees_gradients_that_overflow():
    unit = Unit()
    optimizer = torch.optim.SGD(unit.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    before = copy.deepcopy(unit.state_dict())
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        loss = unit(torch.randn(2, C, 5, 4) * 1e5).square().sum() * 1e10
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(unit.bn.weight, before["bn.weight"])
    assert scaler.get_scale() < 2.0**100


@pytest.mark.parametrize("mode", ["always", "torch"])
def test_a_tracer_leaves_nothing_behind(mode):
    # What one run made must reach neither the next tracer nor a run without any.
    def run():
        torch.manual_seed(0)
        return SqueezeExcitation(40, 4)(torch.randn(2, 40, 9, 9))

    with kernels(mode):
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                for _ in range(2):
                    with FakeTensorMode():
                        assert type(run()) is FakeTensor
                assert type(run()) is torch.Tensor


def test_what_an_operator_returns_is_its_own():
    y, shortcut, *given = arguments("se", requires_grad=False)
    first, second = (tail_operator(y, shortcut, *given) for _ in range(2))
    assert not {each.data_ptr() for each in first} & {each.data_ptr() for each in second}
