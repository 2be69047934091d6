"""Weights changed where PyTorch does not count changes: no result may depend on the old ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import senet
from senet.kernels.backends import kernels
from tests.references import randomise, relative_difference
from tests.surgery.models import small_timm, small_torchvision_resnet

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Unit(nn.Module):
    """A residual unit as people write it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)) + x)


def own() -> nn.Module:
    model = senet.create_model("se_resnet8", num_classes=5)
    senet.accelerate(model)
    return model


def accelerated_timm() -> nn.Module:
    model = small_timm()
    senet.accelerate(model)
    return model


def accelerated_torchvision() -> nn.Module:
    model = small_torchvision_resnet()
    senet.accelerate(model)
    return model


def inserted() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), Unit(16), Unit(16))
    assert len(senet.squeeze_excite(model, start="random").sites) == 2
    senet.accelerate(model)
    return model


def tensors(model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the floating tensors of a model beside other values for them."""
    other = copy.deepcopy(model)
    randomise(other, 7)
    for one, two in zip(model.state_dict(keep_vars=True).values(), other.state_dict().values(), strict=True):
        if one.is_floating_point():
            yield one, two


def by_data(model: nn.Module) -> None:
    for one, two in tensors(model):
        one.data.copy_(two)


def by_numpy(model: nn.Module) -> None:
    for one, two in tensors(model):
        one.detach().numpy()[...] = two.numpy()


def by_foreach(model: nn.Module) -> None:
    given, wanted = zip(*tensors(model), strict=True)
    torch._foreach_lerp_([each.data for each in given], list(wanted), 0.9)


def by_assigning(model: nn.Module) -> None:
    other = copy.deepcopy(model)
    randomise(other, 7)
    model.load_state_dict(other.state_dict(), assign=True)


def by_setting_data(model: nn.Module) -> None:
    for one, two in tensors(model):
        one.data = two


def by_optimizer(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=True).step()


def _write(model: nn.Module) -> None:
    torch.set_num_threads(1)
    by_data(model)


def by_another_process(model: nn.Module) -> None:
    model.share_memory()
    context = torch.multiprocessing.get_context("fork")
    process = context.Process(target=_write, args=(model,))
    process.start()
    process.join(60)
    assert process.exitcode == 0


@pytest.fixture(
    params=[own, accelerated_timm, accelerated_torchvision, inserted], ids=lambda build: build.__name__
)
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    built: nn.Module = request.param().eval()
    randomise(built, 3)
    return built


@pytest.mark.parametrize(
    "change",
    [by_data, by_numpy, by_foreach, by_assigning, by_setting_data, by_optimizer,
     by_another_process],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_the_next_result_is_that_of_the_new_weights(
    model: nn.Module, change: Callable[[nn.Module], None]
) -> None:
    with torch.no_grad(), kernels("always"):
        before = model(X)
    change(model)
    with torch.no_grad():
        with kernels("always"):
            after = model(X)
        with kernels("reference"):
            expected = model(X)
    assert relative_difference(expected, before) > 0.01
    assert relative_difference(after, expected) <= 1e-5


def test_functional_calls_with_other_weights(model: nn.Module) -> None:
    other = copy.deepcopy(model)
    randomise(other, 7)
    with torch.no_grad(), kernels("always"):
        before, expected = model(X), other(X)
        assert relative_difference(functional_call(model, other.state_dict(), (X,)), expected) <= 1e-6
        assert torch.equal(model(X), before)
