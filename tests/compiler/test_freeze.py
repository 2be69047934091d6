"""Networks whose weights are frozen for inference compute what they do in eager mode."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from senet.compiler import backend, freeze
from senet.errors import SenetError
from senet.kernels.backends import kernels
from tests.compiler.test_backend import ORDERS, Unit
from tests.references import timm_model, torchvision_model

FREEZE = {"freeze": True}


@pytest.fixture(autouse=True)
def _always_fused():
    torch._dynamo.reset()
    with kernels("always"):
        yield


def frozen(model):
    """Return a model compiled for inference, and a list that gets the graphs as they run."""
    graphs = []

    def keep(graph, inputs):
        run = backend.senet(graph, inputs, options=FREEZE)
        graphs.append(graph)
        return run

    return torch.compile(model, backend=keep), graphs


def norms_in(graph):
    return [node for node in graph.graph.nodes if node.target is functional.batch_norm]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("steps", [*ORDERS, "bn"])
def test_every_order_of_the_layers_gives_the_same_numbers(steps, dtype):
    unit = Unit(ORDERS.get(steps, lambda m, y: m.bn(y))).to(dtype).eval()
    eager, tolerance = copy.deepcopy(unit), 1e-5 if dtype == torch.float32 else 1e-12
    compiled, graphs = frozen(unit)
    with torch.no_grad():
        for shape in ((2, 3, 5, 4), (1, 3, 7, 7)):
            x = torch.randn(shape, dtype=dtype)
            assert torch.allclose(compiled(x), eager(x), rtol=tolerance, atol=tolerance)
    # Where the output of the convolution is needed as it is, its BatchNorm stays.
    kept = steps == "bn add relu" or steps.startswith("bn se add")
    assert all(bool(norms_in(each)) <= kept for each in graphs)
    assert any(isinstance(each, freeze.FrozenConvolution) for each in graphs[0].children())


CONVOLUTIONS = {
    "groups": lambda: nn.Conv2d(4, 8, 3, groups=2, padding=1),
    "depthwise": lambda: nn.Conv2d(4, 8, 3, groups=4),
    "dilation": lambda: nn.Conv2d(4, 8, 3, dilation=2, stride=(1, 2), padding=(2, 1), bias=False),
    "same": lambda: nn.Conv2d(4, 8, (3, 2), padding="same"),
    "one axis": lambda: nn.Conv1d(4, 8, 3),
    "three axes": lambda: nn.Conv3d(4, 8, 2, bias=False),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_every_convolution_is_folded(name):
    conv = CONVOLUTIONS[name]()
    dims = conv.weight.dim() - 2
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1](8, affine=name != "same").eval()
    nn.init.normal_(norm.running_mean)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = conv, norm

        def forward(self, x):
            y = functional.relu(self.bn(self.conv(x)))
            return y + self.conv(x).mean()

    x, eager = torch.randn(2, 4, *(6, 5, 4)[:dims]), Network().eval()
    compiled, graphs = frozen(copy.deepcopy(eager))
    with torch.no_grad():
        assert torch.allclose(compiled(x), eager(x), atol=1e-5)
    assert not norms_in(graphs[0])


def by_copying(model):
    model.conv.weight.data = model.conv.weight.data.clone()
    model.conv.weight.mul_(2)


def by_loading(model):
    model.load_state_dict({name: 2 * each for name, each in model.state_dict().items()})


def by_replacing(model):
    model.bn.weight = nn.Parameter(2 * model.bn.weight)


def by_moving(model):
    model.bn.running_mean.add_(1)


@pytest.mark.parametrize("change", [by_copying, by_loading, by_replacing, by_moving])
def test_a_changed_weight_is_refused(change):
    unit, x = Unit(ORDERS["bn se"]).eval(), torch.randn(2, 3, 5, 4, dtype=torch.float64)
    unit.compile(backend=backend.senet, options=FREEZE)
    with torch.no_grad():
        unit(x)
        change(unit)
        with pytest.raises(SenetError, match="A weight has changed since this model was frozen"):
            unit(x)


def test_training_is_not_frozen():
    unit, x = Unit(ORDERS["bn se add relu"]), torch.randn(2, 3, 5, 4, dtype=torch.float64)
    compiled, graphs = frozen(unit)
    optimizer = torch.optim.SGD(unit.parameters(), 0.1)
    for _ in range(2):
        compiled(x).sum().backward()
        optimizer.step()
    assert all(each.grad is not None for each in unit.fc1.parameters())
    assert not any(isinstance(each, freeze.FrozenConvolution) for each in graphs[0].children())
    with torch.no_grad():
        assert torch.allclose(compiled.eval()(x), unit.eval()(x))


def test_autocast_runs_in_its_own_type():
    unit, x = Unit(ORDERS["bn relu"]).float().eval(), torch.randn(2, 3, 5, 4)
    compiled, _ = frozen(copy.deepcopy(unit))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(compiled(x), unit(x))


def test_an_option_that_is_not_known_is_refused():
    compiled = torch.compile(Unit(ORDERS["bn relu"]), backend=backend.senet, options={"fast": 1})
    with pytest.raises(Exception, match="The option 'fast' of backend 'senet' is not known"):
        compiled(torch.ones(2, 3, 4, 4, dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.parametrize("build", [
    lambda: timm_model("seresnet18"), lambda: timm_model("legacy_seresnet18"),
    lambda: torchvision_model("mobilenet_v3_small"),
])  # fmt: skip
def test_networks_of_other_packages_give_the_same_scores(build):
    torch.manual_seed(0)
    model = build().eval()
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.normal_(each.running_mean, 0, 0.2)
            nn.init.normal_(each.weight, 1, 0.2)
    compiled, _ = frozen(model)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(compiled(x), model(x), rtol=1e-4, atol=1e-4 * float(model(x).abs().max()))
