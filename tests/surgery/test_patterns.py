"""What counts as a tail, and where one ends."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import senet
from tests.references import import_timm, randomise, relative_difference
from tests.surgery.models import assert_same, is_fused


class Unit(nn.Module):
    """A forward made of what most units have."""

    def __init__(self, forward: Callable[[Unit, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = (
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
        )
        self.conv2, self.bn2, self.identity = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Identity()
        self.se = senet.SqueezeExcitation(4, 1)
        self.drop_path = import_timm().layers.DropPath(0.5)
        self.pool = nn.MaxPool2d(2)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.deep = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(self.body, nn.Identity()))
        self.conv_relu = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.steps = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self, x)


def not_called(unit: Unit) -> list[str]:
    called = {unit}
    for module in unit.modules():
        module.register_forward_hook(lambda module, *_: called.add(module))
    with torch.no_grad():
        unit(torch.ones(2, 4, 6, 5))
    for module in unit.modules():
        module._forward_hooks.clear()
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return [name for name, child in unit.named_children() if child not in called]


def shortcut_is_written(unit: Unit, x: Tensor) -> Tensor:
    shortcut = unit.conv2(x)
    shortcut += unit.bn(unit.conv(x))
    return unit.relu(shortcut)


def shortcut_is_written_by_a_method(unit: Unit, x: Tensor) -> Tensor:
    return unit.relu(unit.conv2(x).add_(unit.bn(unit.conv(x))))


def branch_is_written(unit: Unit, x: Tensor) -> Tensor:
    y = unit.bn(unit.conv(x))
    y += x
    return unit.relu(y)


def input_is_written_in_between(unit: Unit, x: Tensor) -> Tensor:
    y = unit.conv(x)
    t = unit.bn(y)
    y.mul_(3)
    return torch.relu(t) + y


def shortcut_is_written_in_between(unit: Unit, x: Tensor) -> Tensor:
    shortcut = unit.conv2(x)
    t = unit.bn(unit.conv(x)) + shortcut
    shortcut.mul_(3)
    return torch.relu(t)


def used_twice(unit: Unit, x: Tensor) -> Tensor:
    t = unit.bn(unit.conv(x))
    return torch.relu(t) + t


def sum_with_itself(unit: Unit, x: Tensor) -> Tensor:
    t = unit.bn(unit.conv(x))
    return torch.relu(t + t)


# A forward, the tails in it (of unit.bn and unit.bn2 first), and why a tail goes no further.
TAILS: dict[str, tuple[Callable[[Unit, Tensor], Tensor], list[str], str]] = {
    "all": (lambda u, x: u.relu(u.se(u.bn(u.conv(x))) + x), ["bn se add relu"], ""),
    "shortcut first": (lambda u, x: u.relu(x + u.se(u.bn(u.conv(x)))), ["bn se add relu"], ""),
    "without ReLU": (lambda u, x: u.se(u.bn(u.conv(x))) + x, ["bn se add"], ""),
    "without SE": (lambda u, x: functional.relu(u.bn(u.conv(x)) + x), ["bn add relu"], ""),
    "without sum": (lambda u, x: u.se(u.bn(u.conv(x))).relu(), ["bn se relu"], ""),
    "SE behind the ReLU": (
        lambda u, x: u.se(functional.relu(u.bn(u.conv(x)), inplace=True)), ["bn relu se"], "",
    ),
    "SE behind the ReLU, and a sum": (lambda u, x: u.se(u.relu(u.bn(u.conv(x)))) + x, ["bn relu se"], ""),
    "SE alone": (lambda u, x: u.se(u.conv(x)), ["se"], ""),
    "SE, sum and ReLU": (lambda u, x: u.relu(u.se(u.conv(x)).add(x)), ["se add relu"], ""),
    "SE before the BatchNorm": (lambda u, x: u.relu(u.bn(u.se(u.conv(x)))), ["bn relu", "se"], ""),
    "identities": (lambda u, x: u.relu(u.identity(u.bn(u.conv(x))) + x), ["bn add relu"], ""),
    "both branches": (lambda u, x: u.relu(u.bn(u.conv(x)) + u.bn2(u.conv2(x))), ["bn add relu", "bn"], ""),
    "SE on the second branch": (
        lambda u, x: u.relu(u.bn(u.conv(x)) + u.se(u.bn2(u.conv2(x)))),
        ["bn", "bn se add relu"],
        "the sum runs with the other branch",
    ),
    "a tail as the shortcut": (
        lambda u, x: u.relu(u.bn(u.conv(x)) + u.relu(u.bn2(u.conv2(x)))), ["bn add relu", "bn relu"], "",
    ),
    "one behind the other": (
        lambda u, x: u.relu(u.bn2(u.conv2(u.relu(u.bn(u.conv(x))))) + x), ["bn relu", "bn add relu"], "",
    ),
    "a branch that is written": (branch_is_written, ["bn add relu"], ""),
    "a module around the BatchNorm": (lambda u, x: u.relu(u.se(u.body(x)) + x), ["bn se add relu"], ""),
    "two modules around it": (lambda u, x: u.relu(x + u.deep(x)), ["bn add relu"], ""),
    "modules on both sides": (
        lambda u, x: u.relu(u.body(x) + u.conv_relu(x)), ["bn add relu", "bn relu"], "",
    ),
    "SE behind a module with ReLU": (lambda u, x: u.se(u.conv_relu(x)), ["bn relu se"], ""),
    "a sum behind a module with ReLU": (lambda u, x: u.conv_relu(x) + x, ["bn relu"], ""),
    "stochastic depth": (
        lambda u, x: u.relu(u.drop_path(u.se(u.bn(u.conv(x)))) + x),
        ["bn se"],
        "stochastic depth (DropPath) follows it",
    ),
    "shortcut written": (shortcut_is_written, ["bn"], "the sum is written into the shortcut"),
    "shortcut written by a method": (
        shortcut_is_written_by_a_method, ["bn"], "the sum is written into the shortcut",
    ),
    "another shortcut by then": (
        shortcut_is_written_in_between, ["bn add"], "its input is also used before the fused layers end",
    ),
    "used twice": (used_twice, ["bn"], "its output is used more than once"),
    "sum with itself": (sum_with_itself, ["bn"], "the sum has no second branch"),
    "a number": (lambda u, x: u.relu(u.bn(u.conv(x)) + 1), ["bn"], "the sum has no second branch"),
    "a weighted sum": (
        lambda u, x: u.relu(torch.add(u.bn(u.conv(x)), x, alpha=2)), ["bn"], "add follows it",
    ),
    "something else": (lambda u, x: u.pool(u.bn(u.conv(x))), ["bn"], "MaxPool2d follows it"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAILS)
def test_tails_and_where_they_end(name: str) -> None:
    forward, steps, reason = TAILS[name]
    unit = Unit(forward)
    for layer in not_called(unit):
        delattr(unit, layer)
    # Something to take in any case.
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), unit)
    report = assert_same(model, torch.randn(2, 4, 6, 5))
    rows = report.rows[1:]
    assert [row.steps for row in rows] == steps
    assert [row.taken for row in rows] == [each != "bn" for each in steps]
    if reason:
        assert rows[0].reason == reason
    else:
        assert {row.reason for row in rows} <= {
            "", "nothing to fuse after it", "add follows it", "the sum runs with the other branch",
        }  # fmt: skip


def test_an_input_that_is_written_before_the_tail_ends() -> None:
    """Only without gradients: BatchNorm's backward has a use for its input."""
    unit = Unit(input_is_written_in_between).eval()
    randomise(unit)
    x = torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        expected = unit(x)
        report = senet.accelerate(unit)
        assert relative_difference(unit(x), expected) < 1e-6
    assert "its input is also used before the fused layers end" in report.reasons


def test_a_shortcut_that_is_written_stays_written() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
            self.conv2, self.bn2 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            x += self.bn(self.conv(x))
            x *= 2
            return functional.relu(self.bn2(self.conv2(x)))

    model = InPlace().eval()
    randomise(model)
    twin = copy.deepcopy(model)
    senet.accelerate(twin)
    x = torch.randn(2, 4, 5, 5)
    given = [x.clone(), x.clone()]
    with torch.no_grad():
        outputs = [each(one) for each, one in zip((model, twin), given, strict=True)]
    assert relative_difference(outputs[1], outputs[0]) < 1e-5
    assert torch.allclose(given[0], given[1], rtol=1e-5, atol=1e-6)
    assert not torch.equal(given[1], x)


def test_layers_shared_by_blocks() -> None:
    class Shared(nn.Module):
        def __init__(self, relu: nn.Module, se: nn.Module) -> None:
            super().__init__()
            self.conv, self.bn, self.relu, self.se = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), relu, se

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.se(self.bn(self.conv(x))) + x)

    relu, se = nn.ReLU(), import_timm().layers.SEModule(4, rd_channels=2)
    model = nn.Sequential(Shared(relu, se), Shared(relu, se))
    report = assert_same(model, torch.randn(2, 4, 6, 6))
    assert report.steps == {"bn se add relu": 2}
    assert [row.block for row in report.rows] == ["0", "1"]


def test_other_norms_of_pytorch() -> None:
    for norm, shape in (
        (nn.BatchNorm1d, (6, 4)),
        (nn.BatchNorm1d, (2, 4, 9)),
        (nn.BatchNorm3d, (2, 4, 3, 3, 3)),
    ):
        model = nn.Sequential(norm(4, affine=False, track_running_stats=False), nn.ReLU())
        inputs = torch.randn(shape)
        expected = model(inputs)
        senet.accelerate(model)
        assert is_fused(model)
        assert relative_difference(model(inputs), expected) < 1e-5
