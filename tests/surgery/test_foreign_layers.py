"""The SE blocks and BatchNorms of other packages: which are known, and that nothing else is taken for one."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import senet
from senet.errors import SenetError
from senet.kernels.dispatch import recording
from tests.references import import_timm, import_torchvision, randomise
from tests.surgery.models import assert_same, is_fused
from tests.weights.moskomule import SELayer


def timm_se(**options: object) -> nn.Module:
    return import_timm().layers.SEModule(16, rd_channels=4, **options)


def torchvision_se(**options: object) -> nn.Module:
    import_torchvision()
    return importlib.import_module("torchvision.ops.misc").SqueezeExcitation(16, 4, **options)


def pytorchcv_se(**options: object) -> nn.Module:
    import_torchvision()
    return importlib.import_module("pytorchcv.models.common.att").SEBlock(16, 4, **options)


class Functional(nn.Module):
    """Has functions for layers, and convolutions that look at one pixel in other words."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(16, 4, 1, padding="valid", bias=False)
        self.up = nn.Conv2d(4, 16, 1, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        s = functional.adaptive_avg_pool2d(x, 1)
        s = 1 / (1 + torch.exp(-self.up(functional.gelu(self.down(s)))))
        return torch.mul(s, x)


KNOWN: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "timm": (timm_se, "relu", "sigmoid"),
    "timm without biases": (lambda: timm_se(bias=False), "relu", "sigmoid"),
    "timm silu": (lambda: timm_se(act_layer=nn.SiLU), "silu", "sigmoid"),
    "timm hard": (
        lambda: timm_se(act_layer="hard_swish", gate_layer="hard_sigmoid"), "hard_swish", "hard_sigmoid",
    ),
    "timm tanh": (lambda: timm_se(gate_layer="tanh"), "relu", "tanh"),
    "timm legacy": (lambda: import_timm().models.senet.SEModule(16, 4), "relu", "sigmoid"),
    "torchvision": (torchvision_se, "relu", "sigmoid"),
    "torchvision hard": (
        lambda: torchvision_se(activation=nn.SiLU, scale_activation=nn.Hardsigmoid), "silu", "hard_sigmoid",
    ),
    "pytorchcv": (pytorchcv_se, "relu", "sigmoid"),
    "pytorchcv matrices": (lambda: pytorchcv_se(use_conv=False), "relu", "sigmoid"),
    "moskomule": (lambda: SELayer(16), "relu", "sigmoid"),
    "functions": (Functional, "gelu", "sigmoid"),
}  # fmt: skip


class Unit(nn.Module):
    def __init__(self, se: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.se = nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16), se

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.se(self.bn(self.conv(x))) + x)


@pytest.mark.parametrize("name", KNOWN)
def test_se_blocks_of_other_packages(name: str) -> None:
    build, activation, gate = KNOWN[name]
    model = Unit(build())
    report = assert_same(model, torch.randn(3, 16, 5, 6))
    assert report.steps == {"bn se add relu": 1}
    for parameter in model.se.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0
    settings = type(model)._senet_versions[0].identity[0]
    assert f"activation='{activation}'" in settings
    assert f"gate='{gate}'" in settings


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_recognition_depends_on_no_numbers(dtype: torch.dtype, device: str) -> None:
    model = Unit(timm_se()).to(dtype=dtype, device=device)
    assert senet.accelerate(model).steps == {"bn se add relu": 1}


class NoMean(nn.Module):
    """As an SE block of timm's with something changed."""

    def __init__(self, layers: tuple[nn.Module, ...] = ()) -> None:
        super().__init__()
        self.fc1, self.fc2 = layers or (nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1))

    def gates(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True)))))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(functional.relu(self.fc1(x))))


class SqueezesRows(NoMean):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(functional.relu(self.fc1(x.mean(2, keepdim=True)))))


class SqueezesMaximum(NoMean):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(functional.relu(self.fc1(x.amax((2, 3), keepdim=True)))))


class SqueezesOtherActivation(NoMean):
    def forward(self, x: Tensor) -> Tensor:
        s = self.fc2(functional.relu6(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(s)


class SqueezesWithDropout(NoMean):
    def forward(self, x: Tensor) -> Tensor:
        return x * functional.dropout(self.gates(x), 0.5, self.training)


class SqueezesAndAdds(NoMean):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.gates(x)


class SqueezesHalf(NoMean):
    def forward(self, x: Tensor) -> Tensor:
        return x * (0.5 + 0.5 * self.gates(x))


class SqueezesInPlace(NoMean):
    def forward(self, x: Tensor) -> Tensor:
        x *= self.gates(x)
        return x


class SqueezesByValue(NoMean):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.gates(x) if x.mean() > 0 else x


class ReturnsGates(NoMean):
    def forward(self, x: Tensor) -> Tensor:
        return self.gates(x)


class SqueezesTwice(NoMean):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.gates(x) * self.gates(x)


OTHERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "rows": (SqueezesRows, "computes something else than an SE block"),
    "maximum": (SqueezesMaximum, "computes something else than"),
    "timm's maximum": (lambda: timm_se(add_maxpool=True), "computes something else than"),
    "activation": (SqueezesOtherActivation, "computes something else than"),
    "dropout": (SqueezesWithDropout, "computes something else than"),
    "half": (SqueezesHalf, "computes something else than"),
    "sum": (SqueezesAndAdds, "does not multiply its input"),
    "in place": (SqueezesInPlace, "does not multiply its input"),
    "twice": (SqueezesTwice, "does not multiply its input"),
    "branch": (SqueezesByValue, "a branch depends on tensor values"),
    "one layer": (lambda: import_timm().layers.EffectiveSEModule(16), "other layers besides the two"),
    "grouped": (
        lambda: SqueezesRows((nn.Conv2d(16, 4, 1, groups=2), nn.Conv2d(4, 16, 1))),
        "other layers besides the two",
    ),
    "3x3": (
        lambda: SqueezesRows((nn.Conv2d(16, 4, 3, padding=1), nn.Conv2d(4, 16, 1))),
        "other layers besides the two",
    ),
    "widths": (
        lambda: SqueezesRows((nn.Conv2d(16, 4, 1), nn.Conv2d(4, 1, 1))), "does not restore the channels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_only_looks_like_se_is_left_with_the_reason(name: str) -> None:
    build, reason = OTHERS[name]
    model = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), Unit(build()))
    report = assert_same(model, torch.randn(2, 16, 5, 6))
    assert report.steps == {"bn relu": 1}
    rows = {row.layers: row.reason for row in report.left}
    assert reason in rows["se"]
    assert rows["bn"] == f"{type(model[2].se).__name__} follows it"


def test_other_modules_are_not_taken_for_se() -> None:
    """Neither by their names nor by their two layers."""
    mlp = nn.Sequential(nn.Linear(6, 3), nn.GELU(), nn.Linear(3, 6))
    for module in (NoMean(), ReturnsGates(), mlp):
        with pytest.raises(SenetError, match="it checked 0 BatchNorms and SE"):
            senet.accelerate(nn.Sequential(module))


def test_a_unit_with_se_is_no_se_whatever_its_name() -> None:
    class SEUnit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.se = nn.Conv2d(16, 16, 3, padding=1), timm_se()

        def forward(self, x: Tensor) -> Tensor:
            return functional.relu(self.se(self.conv(x)) + x)

    report = assert_same(nn.Sequential(SEUnit()), torch.randn(2, 16, 5, 6))
    assert report.steps == {"se add relu": 1}
    assert report.left == ()


def test_se_with_a_batchnorm_is_left() -> None:
    model = Unit(timm_se(norm_layer=nn.BatchNorm2d))
    report = assert_same(nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), model), torch.randn(4, 16, 5, 6))
    # Its own BatchNorm and ReLU are a tail like any other, on maps of one pixel.
    assert report.steps == {"bn relu": 2}


def test_se_on_another_number_of_channels_says_what_it_said() -> None:
    model = nn.Sequential(timm_se())
    senet.accelerate(model)
    with pytest.raises(RuntimeError, match="to have 16 channels, but got 8 channels"):
        model(torch.randn(1, 8, 4, 4))


def test_matrices_of_se_are_views() -> None:
    """So that optimizers, exponential moving averages and loaded weights reach the kernels."""
    model = Unit(timm_se()).eval()
    randomise(model)
    x = torch.randn(2, 16, 5, 5)
    senet.accelerate(model)
    before = model(x)
    model.load_state_dict({key: value + 0.5 for key, value in model.state_dict().items()})
    with recording() as ran:
        after = model(x)
    assert [each.choice.backend for each in ran] == ["numba"]
    twin = Unit(timm_se()).eval()
    twin.load_state_dict(model.state_dict())
    assert not torch.allclose(after, before)
    assert torch.allclose(after, twin(x), rtol=1e-4, atol=1e-5)


def norm_act(**options: object) -> nn.Module:
    return import_timm().layers.BatchNormAct2d(16, **options)


NORMS = {
    "ReLU": (norm_act, {"bn relu": 2}),
    "no activation": (lambda: norm_act(apply_act=False), {"bn relu": 1}),
    "without statistics": (lambda: norm_act(track_running_stats=False, affine=False), {"bn relu": 2}),
    "no momentum": (lambda: norm_act(momentum=None), {"bn relu": 2}),
}


@pytest.mark.parametrize("name", NORMS)
def test_batchnorms_that_carry_their_activation(name: str) -> None:
    build, steps = NORMS[name]
    model = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 1), build())
    assert assert_same(model, torch.randn(2, 16, 5, 6)).steps == steps


def test_other_activations_in_a_batchnorm_are_left() -> None:
    drop = {"drop_layer": nn.Dropout}
    for options, part in (
        ({"act_layer": nn.SiLU}, "SiLU"),
        ({"act_layer": nn.ReLU6}, "ReLU6"),
        (drop, "Dropout"),
    ):
        model = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), norm_act(**options))
        report = assert_same(model, torch.randn(2, 16, 5, 6))
        assert report.reasons == {f"BatchNormAct2d continues with {part}": 1}


def test_an_activation_in_a_batchnorm_may_change() -> None:
    model = nn.Sequential(norm_act()).eval()
    x = torch.randn(2, 16, 4, 4)
    senet.accelerate(model)
    assert is_fused(model)
    model[0].act = nn.SiLU()
    assert torch.equal(model(x), functional.silu(functional.batch_norm(x, torch.zeros(16), torch.ones(16))))


class OtherNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_other_batchnorms_are_left() -> None:
    model = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), OtherNorm(16), nn.ReLU())
    report = assert_same(model, torch.randn(2, 16, 5, 6))
    assert report.reasons == {"OtherNorm is not a BatchNorm that the kernels support": 1}
