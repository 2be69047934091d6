"""SE in networks that somebody else built."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import senet
from senet.errors import SenetError
from tests.references import randomise, relative_difference
from tests.surgery import models
from tests.surgery.networks import Block, ByShape, Lister, NormTwice, Shared, Tutorial, resnet

SE = senet.SqueezeExcitation


SMALL: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "timm bottleneck": (lambda: models.small_timm(attention=None), 2),
    "torchvision basic": (models.small_torchvision_resnet, 2),
    "torchvision vgg": (models.small_vgg, 2),
    "torchvision mobilenet": (models.small_mobilenet, 1),
    "torchvision densenet": (models.small_densenet, 4),
    "torchvision googlenet": (models.small_googlenet, 1),
    "1-d": (lambda: resnet(1), 3),
    "2-d": (lambda: resnet(2), 3),
    "3-d": (lambda: resnet(3), 3),
    "by shape": (lambda: resnet(2, ByShape), 3),
    "tutorial": (Tutorial, 2),
    "shared unit": (Shared, 1),
    "own": (lambda: senet.create_model("resnet8", num_classes=5), 3),
    "own vgg": (lambda: nn.Sequential(*list(senet.create_model("vgg11_bn").children())[:2]), 1),
}


def input_of(name: str) -> Tensor:
    sides = {"1-d": (40,), "3-d": (10, 12, 9), "own": (32, 32)}.get(name, (48, 40))
    return torch.randn(2, 3, *sides, generator=torch.Generator().manual_seed(3))


def trained(name: str) -> nn.Module:
    torch.manual_seed(8)  # with others, some block may start with all its few hidden units dead
    model = SMALL[name][0]()
    randomise(model)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_the_contract(name: str) -> None:
    model, x = trained(name), input_of(name)
    plain, before = copy.deepcopy(model), output(model, x)
    dry = senet.squeeze_excite(model, 4, example_input=x, dry_run=True)
    assert list(model.state_dict()) == list(plain.state_dict()) and len(dry.sites) == SMALL[name][1]
    report = senet.squeeze_excite(model, 4, example_input=x)
    assert report.sites == dry.sites
    # senet's own networks run other kernels with SE than without.
    assert report.output_change == 0 if not name.startswith("own") else report.output_change < 1e-5
    keys, old = set(model.state_dict()), set(plain.state_dict())
    assert old < keys and all(".se." in key for key in keys - old)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in plain.state_dict().items())

    _every_parameter_gets_a_gradient(model, x)
    changed = output(model, x)
    assert relative_difference(changed, before) > 1e-6
    # Saving, loading and inserting again commute.
    other = copy.deepcopy(plain)
    senet.squeeze_excite(other, 4, example_input=x)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(output(other, x), changed)
    loaded = pickle.loads(pickle.dumps(model)) if "own" not in name else copy.deepcopy(model)
    assert torch.equal(output(loaded, x), changed)

    model.load_state_dict(plain.state_dict(), strict=False)
    assert sorted(senet.remove(model)) == sorted(site.host for site in report.sites)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert torch.equal(output(model, x), before)
    assert [type(each) for each in model.modules()] == [type(each) for each in plain.modules()]


def output(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = model.eval()(x)
    return y if isinstance(y, Tensor) else y[0]


def _every_parameter_gets_a_gradient(model: nn.Module, x: Tensor) -> None:
    blocks = [each for each in model.modules() if isinstance(each, SE)]
    seen: set[Tensor] = set()
    optimizer = torch.optim.SGD([p for block in blocks for p in block.parameters()], 0.5)
    for _ in range(3):
        optimizer.zero_grad()
        (
            model.train()(x) * torch.randn(1, generator=torch.Generator().manual_seed(2))
        ).square().sum().backward()
        for block in blocks:
            for parameter in block.parameters():
                assert parameter.grad is not None and parameter.grad.isfinite().all()
                if parameter.grad.abs().max() > 0:
                    seen.add(parameter)
                parameter.grad /= parameter.grad.abs().max().clamp(min=1e-30)
        optimizer.step()
    assert len(seen) == sum(len(list(block.parameters())) for block in blocks)


def test_blocks_run_where_the_report_says() -> None:
    """SE behind bn2, before the sum: computed by hand."""
    model, x = trained("2-d"), input_of("2-d")
    senet.squeeze_excite(model, start="random", where="1")
    block = model[1]
    assert isinstance(block, Block)
    maps = torch.randn(2, 16, 9, 7)
    branch = torch.nn.functional.batch_norm(
        block.conv2(torch.relu(block.bn1(block.conv1(maps)))),
        block.bn2.running_mean, block.bn2.running_var, block.bn2.weight, block.bn2.bias, eps=block.bn2.eps,
    )  # fmt: skip
    se = block.bn2.se
    gates = torch.sigmoid(se.fc2(torch.relu(se.fc1(branch.mean((2, 3))))))
    expected = torch.relu(branch * gates[:, :, None, None] + maps)
    assert relative_difference(block(maps), expected) < 1e-6
    assert output(model, x).isfinite().all()


def test_random_start_is_the_papers() -> None:
    model = trained("2-d")
    report = senet.squeeze_excite(model, start="random", example_input=input_of("2-d"))
    blocks = [each for each in model.modules() if isinstance(each, SE)]
    assert report.output_change > 1e-3
    assert {(each.config.gate, each.config.start) for each in blocks} == {("sigmoid", "random")}
    assert all(each.fc2.weight.abs().max() > 0 for each in blocks)


def test_a_relu_that_is_a_function_runs_once_more_and_changes_nothing() -> None:
    model = trained("tutorial")
    report = senet.squeeze_excite(model, 4, where="conv1", start="random")
    assert [(site.host, site.position) for site in report.sites] == [("conv1", "after relu")]
    x = torch.randn(2, 3, 20, 20)
    weighed = model.conv1(x)
    plain = torch.relu(nn.functional.conv2d(x, model.conv1.weight, model.conv1.bias))
    assert torch.equal(weighed, model.conv1.se(plain)) and torch.equal(torch.relu(weighed), weighed)


def test_other_functions_have_no_place() -> None:
    with pytest.raises(
        SenetError, match="the function gelu in the model, which is not the output of a module"
    ):
        senet.squeeze_excite(Tutorial("gelu"))


def test_a_layer_that_is_used_elsewhere_too_gets_nothing() -> None:
    with pytest.raises(SenetError, match="bn is called 2 times, but SE belongs at 1 of these calls"):
        senet.squeeze_excite(NormTwice())


def test_a_module_that_runs_its_children_is_left_as_it_was() -> None:
    model = nn.Sequential(Lister(), nn.ReLU())
    keys = list(model.state_dict())
    with pytest.raises(SenetError, match="Lister '0' calls its children itself"):
        senet.squeeze_excite(model)
    assert list(model.state_dict()) == keys and not any(each._forward_hooks for each in model.modules())


def test_what_a_model_has_is_kept() -> None:
    torch.manual_seed(0)
    model = resnet()
    nn.utils.parametrizations.weight_norm(model[1].conv2)
    nn.utils.spectral_norm(model[2].conv1)
    calls: list[str] = []
    model[1].bn2.register_forward_hook(lambda *_: calls.append("hook"))
    model[0].requires_grad_(False)
    model[2].eval()
    model.half()[3].bfloat16()
    modes = [each.training for each in model.modules()]
    senet.squeeze_excite(model)
    old = [each for each in model.modules() if not any(each in se.modules() for se in blocks(model))]
    assert [each.training for each in old] == modes
    assert {each.dtype for each in model[1].bn2.se.parameters()} == {torch.float16}
    assert {each.dtype for each in model[3].bn2.se.parameters()} == {torch.bfloat16}
    assert model[1].bn2.se.training and not model[2].bn2.se.training
    assert not model[0].weight.requires_grad and all(
        each.requires_grad for each in model[1].bn2.se.parameters()
    )
    assert not calls
    model[1](torch.randn(2, 16, 8, 8).half())
    assert calls == ["hook"]


def blocks(model: nn.Module) -> list[nn.Module]:
    return [each for each in model.modules() if isinstance(each, SE)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_runs(dtype: torch.dtype) -> None:
    model, x = trained("2-d").to(dtype), input_of("2-d").to(dtype)
    before = output(model, x)
    senet.squeeze_excite(model)
    assert torch.equal(output(model, x), before)


def test_observers_of_quantisation_are_kept() -> None:
    model = trained("2-d").train()
    model.qconfig = torch.ao.quantization.get_default_qat_qconfig("x86")
    torch.ao.quantization.prepare_qat(model, inplace=True)
    x = input_of("2-d")
    model(x)
    model.apply(torch.ao.quantization.disable_observer)
    before = output(model, x)
    observers = [name for name, _ in model.named_modules() if "activation_post_process" in name]
    senet.squeeze_excite(model)
    assert torch.equal(output(model, x), before)
    assert [name for name, _ in model.named_modules() if "activation_post_process" in name] == observers


@pytest.mark.slow
def test_compiled_exported_and_traced_afterwards() -> None:
    model, x = trained("torchvision googlenet"), input_of("torchvision googlenet")
    senet.squeeze_excite(model, start="random")
    expected = output(model, x)
    assert torch.allclose(torch.compile(model, backend="eager", fullgraph=True)(x), expected, atol=1e-5)
    assert torch.allclose(torch.export.export(model, (x,)).module()(x), expected, atol=1e-5)
    assert torch.allclose(torch.jit.trace(model, x)(x), expected, atol=1e-5)


def test_a_loaded_model_keeps_its_blocks_whatever_hooks_it_gets() -> None:
    """In another process the numbers of hooks begin anew."""
    model = trained("2-d")
    senet.squeeze_excite(model, start="random")
    file = io.BytesIO()
    torch.save(model, file)
    torch.utils.hooks.RemovableHandle.next_id = 0
    loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    for _ in range(20):
        loaded[1].bn2.register_forward_hook(lambda *_: None)
    assert torch.equal(output(loaded, input_of("2-d")), output(model, input_of("2-d")))


def test_copies_of_a_model_do_not_share_blocks() -> None:
    model = trained("2-d")
    senet.squeeze_excite(model)
    copied = copy.deepcopy(model)
    nn.init.ones_(copied[1].bn2.se.fc2.bias)
    x = input_of("2-d")
    assert not torch.equal(output(copied, x), output(model, x))
    senet.remove(copied)
    assert len(blocks(model)) == 3


def test_the_report_prints_and_sorts() -> None:
    report = senet.squeeze_excite(resnet(), reduction=4)
    lines = str(report).splitlines()
    assert lines[0].split() == [
        "unit",
        "kind",
        "SE",
        "sits",
        "stage",
        "channels",
        "hidden",
        "parameters",
        "multiply-adds",
    ]
    assert lines[1].split() == ["1", "basic", "after", "bn2", "2", "16", "4", "148", "128"]
    assert lines[-1] == (
        "Sequential: SE with reduction 4, start identity added at 3 places (+1,252 parameters and "
        "1,152 multiply-adds per image)."
    )
    assert sorted(report.sites, key=lambda site: -site.channels)[0].channels == 32
    assert sorted(report.sites) == list(report.sites)


@pytest.mark.parametrize("name", ["resnet8", "vgg11_bn"])
def test_cost_and_files_of_senets_own_networks(name: str, tmp_path: Path) -> None:
    model = senet.create_model(name, num_classes=5)
    plain = senet.cost(model, 32)
    report = senet.squeeze_excite(model, 4)
    told = senet.cost(model, 32)
    assert told.parameters - plain.parameters == report.parameters
    assert told.multiply_adds - plain.multiply_adds == report.multiply_adds
    assert told == senet.cost(nn.Sequential(model), (3, 32, 32)), "what runs, counted by watching it"
    with pytest.raises(SenetError, match=r"inserted into this network with senet\.squeeze_excite"):
        senet.save_weights(model, tmp_path / "x.safetensors")
    assert not any(tmp_path.iterdir())
