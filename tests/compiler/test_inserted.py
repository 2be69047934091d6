"""Inserted SE runs in the fused kernels, accelerated and folded, with the numbers of the layers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import senet
from senet.kernels.backends import kernels
from tests.references import import_timm, pytorchcv_model, randomise, relative_difference
from tests.surgery import models
from tests.surgery.models import gradients, run
from tests.surgery.networks import Tutorial, resnet

pytestmark = pytest.mark.slow

NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, int]]] = {
    "bottleneck": (
        lambda: models.small_timm(attention=None), {"bn relu": 5, "bn se add relu": 2},
    ),
    "basic": (models.small_torchvision_resnet, {"bn relu": 2, "bn se add relu": 2}),
    "convolutions": (models.small_vgg, {"bn relu se": 2}),
    "functions": (Tutorial, {"bn relu se": 1}),
    "no relu": (models.small_mobilenet, {"bn se add": 1}),
    "branches in modules": (
        lambda: nn.Sequential(*list(pytorchcv_model("resnet20_cifar10").features.children())[:3]),
        {"bn relu": 7, "bn se add relu": 6},
    ),
}  # fmt: skip


def inserted(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name][0]().double()
    randomise(model)
    senet.squeeze_excite(model, 4, start="random")
    return model


@pytest.fixture(autouse=True)
def _compiled_anew() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("name", NETWORKS)
def test_accelerated_and_folded(name: str) -> None:
    """All in float64, forced into the compiled kernels, in training and in evaluation mode."""
    model, x = inserted(name), images()
    before = copy.deepcopy(model)
    with kernels("always"):
        report = senet.accelerate(model, x)
        steps = NETWORKS[name][1]
        assert {each: report.steps.get(each) for each in steps} == steps
        assert not any(row.steps == "se" for row in report.rows)
        for training in (True, False):
            expected = run(before.train(training), x)
            assert relative_difference(run(model.train(training), x), expected) < 1e-10
            for (one, a), (other, b) in zip(gradients(before), gradients(model), strict=True):
                assert one == other and (a - b).abs().max() <= 1e-9 * max(1.0, a.abs().max().item()), one
        folded = senet.fold(before.float())
        assert relative_difference(folded(x.float()), output(before, x.float())) < 1e-5
        assert sum(isinstance(each, senet.SqueezeExcitation) for each in folded.modules()) > 0


@pytest.mark.parametrize("placement", ["standard", "pre", "post", "identity", "conv3x3"])
def test_placements_accelerated(placement: str) -> None:
    """SE on the ReLU behind the sum, above all, is no step of the epilogue that the sum is in."""
    torch.manual_seed(0)
    model, x = models.small_timm(attention=None).double(), images()
    randomise(model)
    senet.squeeze_excite(model, 4, placement=placement, start="random")
    expected = output(model, x)
    with kernels("always"):
        senet.accelerate(model)
        assert relative_difference(output(model, x), expected) < 1e-10


def test_behind_a_batchnorm_with_a_relu_of_its_own() -> None:
    module, plain = import_timm().models.regnet, {"group_size": 8, "se_ratio": 0}
    torch.manual_seed(0)
    units = [module.Bottleneck(3, 16, stride=2, **plain), module.Bottleneck(16, 16, **plain)]
    model, x = nn.Sequential(*units).double(), images()
    randomise(model)
    report = senet.squeeze_excite(model, 4, placement="conv3x3", start="random")
    assert {site.host for site in report.sites} == {"0.conv2.bn", "1.conv2.bn"}
    expected = output(model, x)
    with kernels("always"):
        senet.accelerate(model)
        assert relative_difference(output(model, x), expected) < 1e-10


def test_a_hook_beside_the_block_sees_what_it_saw() -> None:
    model, x = inserted("basic"), images()
    seen: list[Tensor] = []
    model[1].bn2.register_forward_hook(lambda layer, args, result: seen.append(result))  # type: ignore
    expected, (wanted, *_) = output(model, x), seen
    with kernels("always"):
        senet.accelerate(model)
        assert relative_difference(output(model, x), expected) < 1e-10
    assert relative_difference(seen[-1], wanted) < 1e-10 and len(seen) == 2


def test_max_squeeze_and_relatives_run_layer_by_layer_with_the_same_numbers() -> None:
    for options in ({"se": senet.SEConfig(reduction=4, squeeze="max")}, {"kind": "eca", "start": "random"}):
        torch.manual_seed(0)
        model, x = resnet(), torch.randn(2, 3, 12, 12)
        senet.squeeze_excite(model, **options)
        expected = output(model, x)
        with kernels("always"):
            senet.accelerate(model)
            assert relative_difference(output(model, x), expected) < 1e-5


def images() -> Tensor:
    return torch.randn(2, 3, 24, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def output(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(x)
