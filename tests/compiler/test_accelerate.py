"""`senet.accelerate` and `senet.fold` on networks of every package."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

import senet
from senet.compiler.accelerate import AccelerationReport, AccelerationRow
from senet.errors import SenetError
from senet.kernels.backends import kernels
from tests.references import randomise, relative_difference
from tests.surgery import models
from tests.surgery.models import small_timm, small_vgg


@pytest.fixture(autouse=True)
def _always_fused() -> Iterator[None]:
    torch._dynamo.reset()
    with kernels("always"):
        yield


# From the architectures: a stem, units with 1 or 2 convolutions inside and one at the end, a projection.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, int], int]] = {
    "timm bottleneck": (small_timm, {"bn relu": 5, "bn se add relu": 2}, 1),
    "timm plain": (lambda: small_timm(attention=None), {"bn relu": 5, "bn add relu": 2}, 1),
    "legacy basic": (
        lambda: models.small_legacy("SEResNetBlock"),
        {"bn relu": 3, "bn relu se": 2, "bn add relu": 1},  # the sum runs with the projection
        0,
    ),
    "torchvision vgg": (small_vgg, {"bn relu": 2}, 0),
    "senet": (lambda: senet.create_model("se_resnet8"), {"bn relu": 4, "bn se add relu": 3}, 2),
    "pytorchcv seresnet": (models.small_pytorchcv, {"bn relu": 9, "bn se add relu": 4}, 1),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_gradients_and_statistics_are_the_same(name: str) -> None:
    build, taken, left = NETWORKS[name]
    model = build().double()
    randomise(model)
    before, x = copy.deepcopy(model), images()
    report = senet.accelerate(model, x)
    assert report.steps == taken and len(report.left) == left and report.graphs == 1
    for training in (True, False):
        expected, output = (models.run(each.train(training), x) for each in (before, model))
        assert relative_difference(output, expected) <= 1e-10
        pairs = zip(models.gradients(before), models.gradients(model), strict=True)
        largest = max(each.abs().max() for _, each in models.gradients(before))
        for (one_name, one), (other_name, other) in pairs:
            assert one_name == other_name
            # What a later BatchNorm takes away again has a gradient of zero, but for rounding.
            assert (one - other).abs().max() <= 1e-9 * max(one.abs().max(), 1e-4 * largest), one_name
        for one, other in zip(before.buffers(), model.buffers(), strict=True):
            assert (one - other).abs().max() <= 1e-10 * max(one.abs().max(), 1)
        assert report.steps == taken
    folded = senet.fold(before.float())
    assert relative_difference(folded(x.float()), before(x.float())) <= 1e-5
    assert not folded(x.float()).requires_grad


def test_the_model_stays_and_its_report_grows() -> None:
    model = small_timm()
    text, state = repr(model), {key: value.clone() for key, value in model.state_dict().items()}
    report = senet.accelerate(model)
    assert str(report).endswith("ResNet: not compiled yet. Run it once, or give senet.accelerate an input.")
    x = images().float()
    model.eval()(x)
    assert report.steps == {"bn relu": 5, "bn se add relu": 2} and report.graphs == 1
    assert report.rows[0] == AccelerationRow(layers="bn1", steps="bn relu", taken=True)
    assert str(report).splitlines()[-1] == "1 left: 1 × the sum runs with the other branch"
    with torch.no_grad():
        model(x)
    assert report.graphs == 2 and len(report.rows) == 8
    with kernels("reference"):  # an input does not change the statistics, and what is left is said
        again = senet.accelerate(model.train(), x)
    assert again.reasons == {"SENET_KERNELS=reference": 7, "the sum runs with the other branch": 1}
    assert repr(model) == text
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_container_is_compiled_as_one() -> None:
    model = nn.Sequential(
        *(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(2)), nn.ReLU()
    )
    report = senet.accelerate(model, images().float())
    assert report.graphs == 1 and report.steps == {"bn relu": 1}
    assert [row.reason for row in report.left] == ["nothing to fuse after it"]


def saved_and_loaded(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model)), saved_and_loaded]
)
def test_copies_run_their_own_layers(copied: Callable[[nn.Module], nn.Module]) -> None:
    model, x = small_vgg().eval(), images().float()
    senet.accelerate(model, x)
    with torch.no_grad():
        expected = model(x)
        twin = copied(model)
        assert twin._compiled_call_impl is None
        assert relative_difference(twin(x), expected) < 1e-6
        next(twin.parameters()).data.zero_()
        assert not torch.equal(twin(x), expected)


def test_frozen_weights_that_change_are_refused() -> None:
    model, x = small_vgg(), images().float()
    with pytest.raises(SenetError, match=r"for inference alone: call eval\(\) on it before freeze=True"):
        senet.accelerate(model, freeze=True)
    randomise(model)
    expected = model.eval()(x)
    senet.accelerate(model, x, freeze=True)
    assert relative_difference(model(x), expected) <= 1e-5
    model.load_state_dict(small_vgg().state_dict())
    with pytest.raises(SenetError, match="A weight has changed since this model was frozen"):
        model(x)
    senet.accelerate(model)  # as the error says; now the weights are read at every call
    assert relative_difference(model(x), expected) > 1e-3


def in_two_processes(model: nn.Module) -> nn.Module:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        return nn.parallel.DistributedDataParallel(model)
    finally:
        torch.distributed.destroy_process_group()


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


WRAPPED = {
    "scripted": (torch.jit.script, "is scripted.*torch.jit.trace it"),
    "compiled": (
        lambda model: torch.compile(model, backend="eager"),
        "is compiled: .* then torch.compile it",
    ),
    "compiled in place": (compiled_in_place, "is compiled: .* then torch.compile it"),
    "DataParallel": (nn.DataParallel, "is wrapped in DataParallel: .* then wrap it"),
    "DistributedDataParallel": (in_two_processes, "is wrapped in DistributedDataParallel: .* then wrap it"),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_wrapped_models_are_refused(how: str) -> None:
    wrap, message = WRAPPED[how]
    outer = nn.Sequential()
    outer.inner = wrap(small_vgg())
    with pytest.raises(SenetError, match=f"the model {message}"):
        senet.accelerate(outer.inner)
    with pytest.raises(SenetError, match=f"cannot be used on this Sequential: its part 'inner' {message}"):
        senet.accelerate(outer)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(SenetError, match=r"needs a torch\.nn\.Module, not dict"):
        senet.accelerate({})


def test_the_report_reads_well() -> None:
    model = small_timm("BasicBlock")
    model.layer1[0].act2 = nn.SiLU()
    lines = str(senet.accelerate(model, images().float())).splitlines()
    assert lines[0].split() == ["layers", "steps", "why", "not", "(more)"]
    assert lines[1].split() == ["bn1", "bn", "relu", "taken"]
    assert "layer1.0.bn2, layer1.0.se  bn se add       taken" in lines
    assert lines[-2] == "ResNet: 5 epilogues fused: 3 × bn relu, 1 × bn se add, 1 × bn se add relu"
    assert isinstance(AccelerationReport(model="x").to_rows(), list)


def images() -> torch.Tensor:
    return torch.randn(2, 3, 48, 40, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
