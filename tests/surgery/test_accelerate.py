from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

import senet
from senet.errors import SenetError
from tests.references import (
    pytorchcv_model,
    randomise,
    relative_difference,
    timm_model,
    torchvision_model,
)
from tests.surgery import models
from tests.surgery.models import assert_same, is_fused, small_timm, small_vgg

pytestmark = pytest.mark.slow

NORM, SE = nn.BatchNorm2d, senet.SqueezeExcitation
PROJECTIONS = {"nothing to fuse after it": 4}


# From the architectures: units with 1 or 2 convolutions inside and one at the end, a stem, projections.
KNOWN = {
    "timm seresnet50": (lambda: timm_model("seresnet50"), {"bn relu": 33, "bn se add relu": 16}, PROJECTIONS),
    "timm legacy_seresnet50": (
        lambda: timm_model("legacy_seresnet50"), {"bn relu": 33, "bn se add relu": 16}, PROJECTIONS,
    ),
    "timm resnet50": (lambda: timm_model("resnet50"), {"bn relu": 33, "bn add relu": 16}, PROJECTIONS),
    "torchvision resnet18": (
        lambda: torchvision_model("resnet18"),
        {"bn relu": 9, "bn add relu": 8},
        {"nothing to fuse after it": 3},
    ),
    "torchvision vgg16_bn": (lambda: torchvision_model("vgg16_bn"), {"bn relu": 13}, {}),
    # 17 units: 10 with a sum; 7 + 10 expansions and depthwise convolutions with ReLU6, stem and last too.
    "torchvision mobilenet_v2": (
        lambda: torchvision_model("mobilenet_v2"),
        {"bn add": 10},
        {"ReLU6 follows it": 35, "nothing to fuse after it": 7},
    ),
    "torchvision densenet121": (lambda: torchvision_model("densenet121"), {"bn relu": 121}, {}),
    "torchvision googlenet": (
        lambda: torchvision_model("googlenet", init_weights=False), {"bn relu": 59}, {},
    ),
    # The BatchNorm of each unit's sum is two modules away from its SE block.
    "pytorchcv seresnet50": (
        lambda: pytorchcv_model("seresnet50"), {"bn relu": 33, "bn se add relu": 16}, PROJECTIONS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_known_answers(name: str) -> None:
    build, taken, left = KNOWN[name]
    with torch.device("meta"):
        model = build()
    report = senet.accelerate(model)
    assert report.steps == taken
    assert report.reasons == left
    norms = [each for each in model.modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(report.rows) == len(norms)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, int]]] = {
    "timm bottleneck": (small_timm, {"bn relu": 5, "bn se add relu": 2}),
    "timm basic": (lambda: small_timm("BasicBlock"), {"bn relu": 3, "bn se add relu": 2}),
    "timm plain": (lambda: small_timm(attention=None), {"bn relu": 5, "bn add relu": 2}),
    "legacy bottleneck": (models.small_legacy, {"bn relu": 5, "bn se add relu": 2}),
    "legacy basic": (lambda: models.small_legacy("SEResNetBlock"), {"bn relu": 3, "bn relu se": 2}),
    "legacy senet": (lambda: models.small_legacy("SEBottleneck", 4), {"bn relu": 5, "bn se add relu": 2}),
    "torchvision resnet": (models.small_torchvision_resnet, {"bn relu": 2, "bn add relu": 2}),
    "torchvision vgg": (small_vgg, {"bn relu": 2}),
    "torchvision mobilenet": (models.small_mobilenet, {"bn add": 1}),
    "torchvision densenet": (models.small_densenet, {"bn relu": 11}),
    "torchvision googlenet": (models.small_googlenet, {"bn relu": 7}),
    "torchvision regnet": (models.small_regnet, {"bn relu": 4, "bn relu se": 3, "bn add relu": 3}),
    "timm regnet": (models.small_timm_regnet, {"bn relu": 2, "bn relu se": 2, "bn add relu": 2}),
    "pytorchcv seresnet": (models.small_pytorchcv, {"bn relu": 9, "bn se add relu": 4}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_gradients_and_statistics_are_the_same(name: str) -> None:
    build, taken = NETWORKS[name]
    assert assert_same(build()).steps == taken


def test_state_parameters_and_optimizer_stay() -> None:
    model = small_timm().double()
    randomise(model)
    before = copy.deepcopy(model)
    state = {key: (value.data_ptr(), value.clone()) for key, value in model.state_dict().items()}
    parameters = list(model.parameters())
    steps = []
    x = torch.randn(2, 3, 48, 40).double()
    for each in (before, model):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        if each is model:
            senet.accelerate(model)
        models.run(each.train(), x)
        optimizer.step()
        steps.append(each.state_dict())
    assert all(one is other for one, other in zip(parameters, model.parameters(), strict=True))
    assert list(model.state_dict()) == list(state)
    assert all(value.data_ptr() == state[key][0] for key, value in model.state_dict().items())
    for key, value in steps[0].items():
        assert torch.allclose(value, steps[1][key], rtol=1e-9, atol=1e-12), key
    assert not torch.equal(steps[1]["layer1.0.se.fc1.weight"], state["layer1.0.se.fc1.weight"][1])


def test_the_accelerated_model_is_of_the_same_class() -> None:
    model = small_timm()
    text, kind, block = repr(model), type(model), type(model.layer1[0])
    senet.accelerate(model)
    assert is_fused(model)
    assert is_fused(model.layer1[0])
    assert isinstance(model, kind)
    assert isinstance(model.layer1[0], block)
    assert repr(model) == text
    assert type(model.layer1[0]).__qualname__ == block.__qualname__
    # Equal blocks share a class, as they did before.
    twin = small_timm()
    senet.accelerate(twin)
    assert type(twin.layer1[0]) is type(model.layer1[0])
    assert type(twin.layer1[1]) is not type(model.layer1[0])  # has no projection


def test_a_second_call_takes_nothing_more() -> None:
    model = small_timm()
    first = senet.accelerate(model)
    kinds = [type(each) for each in model.modules()]
    second = senet.accelerate(model)
    assert second.taken == ()
    assert second.left == first.left
    assert second.fused_before == 7 + 2  # BatchNorms and SE blocks
    assert "Nothing new: 9 layers already fused" in str(second)
    assert [type(each) for each in model.modules()] == kinds


def test_the_networks_of_senet_run_fused_already() -> None:
    model = senet.create_model("se_resnet8")
    report = senet.accelerate(model)
    assert report.rows == ()
    assert report.fused_before == len([each for each in model.modules() if isinstance(each, SE | NORM)])
    assert "Nothing new" in str(report)


def test_a_senet_block_in_another_network_is_taken() -> None:
    model = small_timm(attention=None)
    for unit in model.layer1:
        unit.se = senet.SqueezeExcitation(32, 8)
    assert assert_same(model).steps == {"bn relu": 5, "bn se add relu": 2}


def saved_and_loaded(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": saved_and_loaded,
    "copy": copy.copy,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("build", [small_timm, models.small_pytorchcv, models.small_timm_regnet, small_vgg])
def test_copies_are_accelerated_too(how: str, build: Callable[[], nn.Module]) -> None:
    model = build().eval()
    randomise(model)
    x = torch.randn(2, 3, 32, 32)
    plain = model(x)
    report = senet.accelerate(model)
    twin = COPIES[how](model)
    assert twin is not model
    assert [type(each) for each in twin.modules()] == [type(each) for each in model.modules()]
    assert twin.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(twin(x), model(x))
    assert relative_difference(twin(x), plain) < 1e-5
    assert len(senet.explain_kernels(twin, x).rows) == len(report.taken)
    if how != "copy":
        next(twin.parameters()).data.zero_()
        assert not torch.equal(twin(x), model(x))
        assert relative_difference(model(x), plain) < 1e-5


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
    assert not any(map(is_fused, outer.modules()))


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(SenetError, match=r"needs a torch\.nn\.Module, not dict"):
        senet.accelerate({})


def test_nothing_to_take_is_an_error() -> None:
    with pytest.raises(SenetError, match=r"in Linear; it checked 0 BatchNorms and SE blocks\. It"):
        senet.accelerate(nn.Linear(3, 3))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU6())
    reason = r"checked 1 BatchNorm or SE block \(1 × ReLU6 follows it\)"
    with pytest.raises(SenetError, match=reason):
        senet.accelerate(model)
    assert not is_fused(model)


@pytest.mark.parametrize("build", [lambda: models.small_legacy("SEResNetBlock"), models.small_timm_regnet])
def test_torch_compile_takes_it_in_one_piece(build: Callable[[], nn.Module]) -> None:
    model = build().double()
    randomise(model)
    x = torch.randn(2, 3, 16, 16).double()
    expected, wanted = models.run(model, x), [each.clone() for _, each in models.gradients(model)]
    senet.accelerate(model)
    operators: list[str] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        operators.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch._dynamo.reset()
    output = models.run(torch.compile(model, fullgraph=True, backend=backend), x)
    assert sum("senet.tail" in name for name in operators) == len(senet.explain_kernels(model, x).rows)
    assert relative_difference(output, expected) < 1e-10
    for one, (name, other) in zip(wanted, models.gradients(model), strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-10), name


def test_torch_compile_with_gradients_ahead_of_time() -> None:
    model = models.small_torchvision_resnet()
    x = torch.randn(2, 3, 16, 16)
    expected = model(x)
    senet.accelerate(model)
    torch._dynamo.reset()
    output = torch.compile(model, fullgraph=True, backend="aot_eager")(x)
    output.sum().backward()
    assert relative_difference(output, expected) < 1e-5
    assert all(each.grad is not None for each in model.parameters())


def test_torch_compile_of_many_blocks_one_by_one() -> None:
    """Compiled pieces are counted by code, and there is a limit: each class has a forward of its own."""
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    torch._dynamo.reset()
    model = nn.Sequential(small_vgg(), models.small_torchvision_resnet()[1], models.small_timm_regnet()[1])
    model[0].append(nn.Sequential(nn.BatchNorm2d(16), nn.ReLU()))
    senet.accelerate(model)
    kinds = {type(block): block for block in (model[0][-1], model[1], model[2])}
    assert len(kinds) == 3
    x = torch.randn(2, 16, 8, 8)
    with torch._dynamo.config.patch({limit: 1}):
        for block in kinds.values():
            block.compile(fullgraph=True, backend="eager")
            assert block(x).shape == x.shape


def test_what_reads_the_network_sees_plain_layers() -> None:
    model = models.small_pytorchcv().eval()
    randomise(model)
    x = torch.randn(2, 3, 32, 32)
    expected = model(x)
    senet.accelerate(model)
    exported = torch.export.export(model, (x,))
    assert not any("senet" in str(node.target) for node in exported.graph.nodes)
    symbolic = torch.fx.symbolic_trace(model)
    assert not any("senet" in str(node.target) for node in symbolic.graph.nodes)
    for each in (exported.module(), symbolic, torch.jit.trace(model, x)):
        assert relative_difference(each(x), expected) < 1e-5


def test_explain_kernels_names_the_blocks() -> None:
    model = small_timm()
    senet.accelerate(model)
    rows = senet.explain_kernels(model, torch.randn(2, 3, 32, 32)).rows
    assert [row.block for row in rows][:4] == ["bn1", "layer1.0: bn1", "layer1.0: bn2", "layer1.0: bn3, se"]
    assert rows[3].steps == "bn se add relu"


def test_the_report_reads_well() -> None:
    model = small_timm("BasicBlock")
    model.layer1[0].act2 = nn.SiLU()
    report = senet.accelerate(model)
    lines = str(report).splitlines()
    assert lines[0].split() == ["block", "layers", "steps", "why", "not", "(more)"]
    assert lines[1].split() == ["(the", "model)", "bn1,", "act1", "bn", "relu", "taken"]
    assert "layer1.0             bn2, se        bn se add       taken" in lines
    assert "layer1.0.downsample  1              bn              left   nothing to fuse after it" in lines
    assert lines[-2] == "ResNet: 5 places fused: 3 × bn relu, 1 × bn se add, 1 × bn se add relu"
    assert lines[-1] == "1 left: 1 × nothing to fuse after it"
    assert sorted(report.rows)[0].block == ""
    assert sorted(report.rows)[-1].block == "layer1.1"
