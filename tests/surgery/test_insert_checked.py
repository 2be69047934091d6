"""Blocks that look at what they are given, as people write them: SE ends each branch all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import senet
from senet.errors import SenetError

CHANNELS = 16
X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """A residual block; subclasses look at what goes through it."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = (nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(2))
        self.b1, self.b2 = nn.BatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS)

    def branch(self, x: Tensor) -> Tensor:
        return self.b2(self.c2(functional.relu(self.b1(self.c1(x)))))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.joined(x, self.branch(x)))

    def joined(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Net(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS), nn.ReLU())
        self.blocks = nn.ModuleList(blocks)
        self.fc = nn.Linear(CHANNELS, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3)))


class Asserts(Block):
    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == self.c1.in_channels, "channels"
        return super().forward(x)


class LooksForNaN(Block):
    def forward(self, x: Tensor) -> Tensor:
        if torch.isnan(x).any():
            raise ValueError("nan")
        return super().forward(x)


class ChecksTheBranch(Block):
    def joined(self, x: Tensor, y: Tensor) -> Tensor:
        assert torch.isfinite(y).all()
        if y.shape != x.shape:
            x = functional.avg_pool2d(x, 2)
        return y + x


class Tries(Block):
    def forward(self, x: Tensor) -> Tensor:
        try:
            if x.abs().max().item() > 1e9:
                raise RuntimeError("large")
            return super().forward(x)
        except RuntimeError:
            return x


class Tells(Block):
    def joined(self, x: Tensor, y: Tensor) -> Tensor:
        print("mean", y.mean().item())  # noqa: T201
        logging.getLogger(__name__).debug("std %s", y.std())
        return x + y


class LeavesEarly(Block):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] < 2 or x.numel() == 0:
            return x
        return super().forward(x)


class Checkpoints(Block):
    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(super().forward, x, use_reentrant=False)


class SumModule(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class SumsInAModule(Block):
    def __init__(self) -> None:
        super().__init__()
        self.sum = SumModule()

    def joined(self, x: Tensor, y: Tensor) -> Tensor:
        return self.sum(x, y)


class Operators(Block):
    def joined(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.ops.aten.add.Tensor(x, y)


class Rearranges(Block):
    def joined(self, x: Tensor, y: Tensor) -> Tensor:
        n, c, h, w = y.shape
        tokens = y.permute(0, 2, 3, 1).reshape(n, h * w, c)
        return x + tokens.transpose(1, 2).reshape(n, c, h, w)


class Turns(Block):
    def joined(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y.transpose(2, 3)


class Stacks(Block):
    def joined(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([x, y]).sum(0)


class InNumpy(Block):
    def joined(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy() + y.detach().numpy())


CHECKED = [
    Asserts,
    LooksForNaN,
    ChecksTheBranch,
    Tries,
    Tells,
    LeavesEarly,
    Checkpoints,
    SumsInAModule,
    Operators,
]


@pytest.mark.parametrize("example", [None, X], ids=["without example", "with example"])
@pytest.mark.parametrize("half", [False, True], ids=["all", "half"])
@pytest.mark.parametrize("kind", CHECKED, ids=lambda kind: kind.__name__)
def test_every_branch_ends_in_se(
    kind: type[Block], half: bool, example: Tensor | None, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Net(kind(), Block() if half else kind())
    report = senet.squeeze_excite(model, example_input=example)
    assert [site.host for site in report.sites] == ["blocks.0.b2", "blocks.1.b2"]
    assert report.skipped == ()
    assert example is None or report.output_change == 0
    told = capsys.readouterr().out  # not what reading it printed, a stand-in for one
    assert "Proxy" not in told


def test_maps_that_are_rearranged_and_back_are_the_branch() -> None:
    report = senet.squeeze_excite(Net(Rearranges(), Block()), example_input=X)
    assert [site.host for site in report.sites] == ["blocks.0.b2", "blocks.1.b2"]
    with pytest.raises(SenetError, match="come from the function transpose"):
        senet.squeeze_excite(Net(Turns()), example_input=X)


@pytest.mark.parametrize("example", [None, X], ids=["without example", "with example"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [(Stacks, "meet in stack, which is not a known sum"), (InNumpy, "outside PyTorch's own functions")],
)
def test_what_is_not_understood_is_no_plain_network(
    kind: type[Block], message: str, example: Tensor | None
) -> None:
    model = Net(kind(), kind())
    keys = list(model.state_dict())
    with pytest.raises(SenetError, match=message):
        senet.squeeze_excite(model, example_input=example)
    assert list(model.state_dict()) == keys


def of_size(check: Callable[[Tensor], bool]) -> nn.Module:
    class OfSize(Net):
        def forward(self, x: Tensor) -> Tensor:
            if not check(x):
                raise ValueError("another size, please")
            return super().forward(x)

    return OfSize(LooksForNaN(), Block())


@pytest.mark.parametrize("side", [28, 32, 96, 224])
def test_usual_sizes_of_images_are_tried(side: int) -> None:
    report = senet.squeeze_excite(of_size(lambda x: x.shape[-1] == side))
    assert [site.host for site in report.sites] == ["blocks.0.b2", "blocks.1.b2"]


def test_a_plain_network_that_checks_is_still_plain() -> None:
    class Plain(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1] == 3
            if x.isnan().any():
                raise ValueError("nan")
            return super().forward(x)

    model = Plain(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU())
    assert [site.host for site in senet.squeeze_excite(model).sites] == ["1", "3"]
    unreadable = of_size(lambda x: x.shape[-1] == 17)
    unreadable.blocks = nn.ModuleList()
    with pytest.raises(SenetError, match="cannot be traced"):
        senet.squeeze_excite(unreadable)
