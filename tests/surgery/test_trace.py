"""Forwards that torch.fx would read wrongly, or not at all: they are left, with the reason."""

from __future__ import annotations

import copy
import random
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import senet
from tests.references import randomise, relative_difference
from tests.surgery.models import is_fused


class Block(nn.Module):
    """Has what most blocks have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.full((1,), 0.5))
        self.register_buffer("calls", torch.zeros(()))
        self.settings = {"slope": 0.1}
        self.helper = np.ones(3)

    def tail(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class BranchOnValues(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.tail(x) if x.mean() > 0 else x


class BranchOnShape(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.tail(x) if x.shape[2] > 4 else x


class TypeOfResult(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = self.tail(x)
        return y if isinstance(y, Tensor) else y[0]


class Prints(Block):
    def forward(self, x: Tensor) -> Tensor:
        print(x.shape)  # noqa: T201
        return self.tail(x)


class Warns(Block):
    def forward(self, x: Tensor) -> Tensor:
        warnings.warn("slow", stacklevel=1)
        return self.tail(x)


class Remembers(Block):
    def forward(self, x: Tensor) -> Tensor:
        self.last = self.tail(x)
        return self.last


class Counts(Block):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.tail(x)


class Draws(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.tail(x) * random.random()


class DrawsWithNumpy(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.tail(x) * np.random.rand()


class DrawsWithTorch(Block):
    def forward(self, x: Tensor) -> Tensor:
        return x if torch.rand(()) > 0.5 else self.tail(x)


class WithoutGradient(Block):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.conv(x)
        return self.relu(self.bn(y))


class UnderAutocast(Block):
    @torch.autocast("cpu", dtype=torch.bfloat16)
    def forward(self, x: Tensor) -> Tensor:
        return self.tail(x)


class AsksForGradient(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.tail(x) if torch.is_grad_enabled() else x


class ContentMayChange(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.tail(x) * self.helper.sum()


class Constant(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.tail(x) * CONSTANT


CONSTANT = torch.full((1,), 2.0)


class Twice(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x))) + self.relu(self.bn(x))


class Variadic(Block):
    def forward(self, *inputs: Tensor) -> Tensor:
        return self.tail(inputs[0])


LEFT = {
    BranchOnValues: r"BranchOnValues: a branch depends on tensor values \(line \d+ of test_trace.py\)",
    BranchOnShape: "a branch depends on tensor values",
    TypeOfResult: "its forward checks the type of an intermediate result",
    Prints: r"its forward calls print\(\)",
    Warns: r"its forward calls warn\(\)",
    Remembers: "its forward sets self.last",
    Counts: "its forward sets self.calls",
    Draws: "its forward draws random numbers",
    DrawsWithNumpy: "its forward draws random numbers",
    DrawsWithTorch: "its forward calls rand without using any of its inputs",
    WithoutGradient: "part of its forward runs under torch.no_grad, autocast or a similar context",
    UnderAutocast: "part of its forward runs under torch.no_grad, autocast or a similar context",
    AsksForGradient: r"its forward calls is_grad_enabled\(\)",
    ContentMayChange: "its forward reads self.helper, whose content may change",
    Constant: "its forward uses a tensor that is neither a parameter nor a buffer",
    Twice: "its forward calls a BatchNorm more than once",
    Variadic: r"tuple index out of range \(line \d+ of test_trace.py\)",
}


@pytest.mark.parametrize("block", LEFT)
def test_what_cannot_be_read_is_left_with_the_reason(
    block: type[Block], capsys: pytest.CaptureFixture[str]
) -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    model.block = block()
    state = copy.deepcopy(model.state_dict())
    attributes = sorted(vars(model.block))
    random_numbers = random.getstate(), torch.get_rng_state(), np.random.get_state()[2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = senet.accelerate(model)
    assert report.steps == {"bn relu": 1}
    [row] = [row for row in report.left if row.layers == "bn"]
    assert row.block == "block"
    with pytest.raises(AssertionError, match=LEFT[block]):
        raise AssertionError(row.reason)
    assert type(model.block) is block
    assert all(type(each).__module__.startswith("torch.") for each in model.block.children())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert sorted(vars(model.block)) == attributes
    assert random.getstate() == random_numbers[0]
    assert torch.equal(torch.get_rng_state(), random_numbers[1])
    assert np.random.get_state()[2] == random_numbers[2]
    assert capsys.readouterr().out == ""


class Mode(Block):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x * 2
        y = functional.dropout(self.tail(x), 0.5, self.training)
        return functional.relu_(self.bn2(self.conv2(y)))


class Attributes(Block):
    """Reads a number, a setting, a missing attribute, a parameter, a buffer, a method, a property."""

    factor = 3

    @property
    def half(self) -> float:
        return self.factor / 2

    def forward(self, x: Tensor) -> Tensor:
        x = functional.leaky_relu(x, self.settings["slope"]) * self.scale + self.calls
        if getattr(self, "double", False):
            x = x * 2
        return torch.relu(self.bn2(self.conv2(self.tail(x)))) * self.half * self.bn.eps


class Containers(nn.Module):
    """Goes through lists of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU()])
        self.named = nn.ModuleDict({"conv": nn.Conv2d(4, 4, 1), "bn": nn.BatchNorm2d(4)})

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        for _, layer in self.named.items():
            x = layer(x)
        return x.relu()


class Functions(Block):
    """Has a layer's work done by methods and functions."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.bn(self.conv(x)), x).relu_()


CHANGES: dict[str, tuple[type[nn.Module], str, object]] = {
    "nothing": (Attributes, "", None),
    "the mode": (Mode, "", None),
    "lists": (Containers, "", None),
    "functions": (Functions, "", None),
    "a number": (Attributes, "factor", 5),
    "its type": (Attributes, "factor", 3.0),
    "a setting": (Attributes, "settings", {"slope": 0.7}),
    "what was missing": (Attributes, "double", True),
    "a parameter": (Attributes, "scale", nn.Parameter(torch.full((1,), 2.0))),
    "a buffer": (Attributes, "calls", torch.ones(())),
}


@pytest.mark.parametrize("what", CHANGES)
def test_values_that_were_read_are_looked_at_at_each_call(what: str) -> None:
    build, name, value = CHANGES[what]
    x = torch.randn(2, 4, 6, 6)
    block = build()
    randomise(block)
    twin = copy.deepcopy(block)
    report = senet.accelerate(twin)
    assert set(report.reasons) <= {"no traceable forward calls it"}
    outputs = []
    for each in (block, twin):
        if name:
            setattr(each, name, value)
        torch.manual_seed(0)
        outputs.append([each.train(mode)(x) for mode in (True, False)])
    for one, other in zip(*outputs, strict=True):
        assert relative_difference(other, one) < 1e-5
    assert is_fused(twin)


def test_the_content_of_what_was_read_is_looked_at() -> None:
    for change in (
        lambda block: block.settings.update(slope=0.9),
        lambda block: setattr(block.bn, "eps", 0.5),
    ):
        block = Attributes().eval()
        x = torch.randn(2, 4, 6, 6)
        twin = copy.deepcopy(block)
        before = block(x)
        senet.accelerate(block)
        for each in (block, twin):
            change(each)
        assert relative_difference(block(x), before) > 1e-2
        assert torch.equal(block(x), twin(x))


def test_both_modes_are_fused() -> None:
    block = Mode()
    senet.accelerate(block)
    for mode in (True, False):
        rows = senet.explain_kernels(block.train(mode), torch.randn(2, 4, 6, 6)).rows
        assert [row.steps for row in rows] == ["bn relu", "bn relu"]


def test_lists_of_modules_may_change() -> None:
    block = Containers().eval()
    senet.accelerate(block)
    x = torch.randn(2, 4, 6, 6)
    before = block(x)
    block.layers.append(nn.Sigmoid())
    assert relative_difference(block(x), before) > 1e-2


class OtherTail(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        if self.training:
            y = y * 2
        return self.relu(y)


def test_a_tail_of_one_mode_only_is_said() -> None:
    block = OtherTail()
    report = senet.accelerate(block)
    assert [(row.steps, row.taken, row.reason) for row in report.rows[:1]] == [
        ("bn relu", True, "in training, or for a list, it is bn")
    ]
    x = torch.randn(2, 4, 6, 6)
    assert len(senet.explain_kernels(block.eval(), x).rows) == 1
    assert len(senet.explain_kernels(block.train(), x).rows) == 0


def test_modules_are_called_from_blocks_that_can_be_read() -> None:
    """The outer forward cannot be read, the inner ones can."""

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.bn = Functions(), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.block(x)
            return functional.relu(self.bn(x)) if x.sum() > 0 else x

    report = senet.accelerate(Outer())
    assert [(row.block, row.layers, row.taken) for row in report.rows][:2] == [
        ("block", "bn", True), ("block", "bn2", False)
    ]  # fmt: skip
    for row in report.rows[1:]:  # for all that can be known, Outer calls block.bn2 too
        assert row.reason.startswith("Outer: a branch depends on tensor values (line ")


def test_reading_leaves_no_trace() -> None:
    block = Mode().eval()
    block.bn.train()
    kinds = [type(each) for each in block.modules() if each is not block]
    before = print, warnings.warn, torch.is_grad_enabled, nn.Module.__call__
    senet.accelerate(block)
    assert [each.training for each in block.modules()] == [False, False, True, False, False, False]
    assert [type(each) for each in block.modules() if each is not block] == kinds
    assert (print, warnings.warn, torch.is_grad_enabled, nn.Module.__call__) == before
