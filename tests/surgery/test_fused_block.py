"""What happens to an accelerated block afterwards: hooks, other attributes, other layers, other arguments."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import senet
from tests.references import import_timm, randomise, relative_difference
from tests.surgery import models
from tests.surgery.models import is_fused, small_timm, small_vgg

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)).double()


def pair(build: Callable[[], nn.Module] = small_timm) -> tuple[nn.Module, nn.Module]:
    """Return a model and its accelerated twin, both in evaluation mode."""
    model = build().double().eval()
    randomise(model)
    twin = copy.deepcopy(model)
    senet.accelerate(twin)
    return model, twin


def assert_equal(model: nn.Module, twin: nn.Module, *inputs: object) -> None:
    inputs = inputs or (X,)
    for training in (True, False):
        assert relative_difference(twin.train(training)(*inputs), model.train(training)(*inputs)) < 1e-10


def fused_count(model: nn.Module, x: Tensor = X) -> int:
    return senet.explain_kernels(model, x).backends.get("numba", 0)


HOOKED = {
    "the model": "",
    "a block": "layer1.0",
    "a BatchNorm": "layer1.0.bn3",
    "a ReLU": "layer1.0.act3",
    "an SE block": "layer1.0.se",
    "a layer of SE": "layer1.0.se.fc1",
    "a gate": "layer1.0.se.gate",
    "a convolution": "layer1.0.conv3",
    "an identity": "layer1.0.drop_block",
}


@pytest.mark.parametrize("name", HOOKED.values(), ids=HOOKED)
def test_hooks_see_what_they_saw(name: str) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    model, twin = pair()
    for each in (model, twin):
        each.get_submodule(name).register_forward_hook(
            lambda _, inputs, output: seen.append((inputs[0].clone(), output.clone()))
        )
        each(X)
    plain, accelerated = seen
    assert torch.allclose(plain[0], accelerated[0], rtol=1e-10, atol=1e-12)
    assert torch.allclose(plain[1], accelerated[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", HOOKED.values(), ids=HOOKED)
def test_hooks_that_were_there_before_may_change_what_they_did(name: str) -> None:
    model = small_timm().double().eval()
    randomise(model)
    model.get_submodule(name).register_forward_hook(lambda _, __, output: output * 1.5)
    before = model(X)
    senet.accelerate(model)
    assert relative_difference(model(X), before) < 1e-10


def test_hooks_on_a_module_that_is_written_into_its_block() -> None:
    model, twin = pair(models.small_pytorchcv)
    assert fused_count(twin) == 13
    for each in (model, twin):
        each.features.stage1.unit1.body.register_forward_hook(lambda _, __, output: output * 1.5)
    assert_equal(model, twin)
    assert fused_count(twin) == 13 - 1


def test_hooks_before_on_a_module_that_would_be_written_into_its_block() -> None:
    model = models.small_pytorchcv()
    model.features.stage1.unit1.body.conv3.register_forward_hook(lambda *_: None)
    report = senet.accelerate(model)
    assert report.steps == {"bn relu": 9, "bn se add relu": 3, "se add relu": 1}


def test_backward_hooks_run() -> None:
    model, twin = pair()
    seen = []
    for each in (model, twin):
        each.layer1[1].register_full_backward_hook(lambda _, __, grads: seen.append(grads[0].clone()))
        models.run(each, X)
    assert torch.allclose(seen[0], seen[1], rtol=1e-9, atol=1e-12)


def test_hooks_on_all_modules_see_each_of_them() -> None:
    counts = []
    for each in pair():
        seen: list[nn.Module] = []
        handle = nn.modules.module.register_module_forward_hook(
            lambda module, *_, seen=seen: seen.append(module)
        )
        each(X)
        handle.remove()
        counts.append(len(seen))
    assert counts[0] == counts[1]


def set_gradient_checkpointing(model: nn.Module) -> None:
    model.set_grad_checkpointing(True)


def set_downsample(model: nn.Module) -> None:
    model.layer1[1].downsample = nn.Sequential(nn.Conv2d(32, 32, 1), nn.BatchNorm2d(32)).double()
    randomise(model.layer1[1].downsample)


def remove_se(model: nn.Module) -> None:
    model.layer1[0].se = None


def replace(name: str, make: Callable[[], nn.Module]) -> Callable[[nn.Module], None]:
    def change(model: nn.Module) -> None:
        module = make().double()
        randomise(module)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module)

    return change


def set_attribute(name: str, value: object) -> Callable[[nn.Module], None]:
    def change(model: nn.Module) -> None:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, value)

    return change


CHANGES = {
    "checkpointing": set_gradient_checkpointing,
    "a projection": set_downsample,
    "no SE": remove_se,
    "another SE": replace("layer1.0.se", lambda: import_timm().layers.EffectiveSEModule(32)),
    "no BatchNorm": replace("layer1.0.bn1", nn.Identity),
    "another BatchNorm": replace("layer1.0.bn1", lambda: nn.GroupNorm(2, 8)),
    "another activation": replace("layer1.0.act3", nn.SiLU),
    "another activation in SE": replace("layer1.0.se.act", nn.SiLU),
    "another gate": replace("layer1.0.se.gate", nn.Hardsigmoid),
    "another layer in SE": replace("layer1.0.se.fc1", lambda: nn.Conv2d(32, 8, 1, bias=False)),
    "a maximum in SE": set_attribute("layer1.0.se.add_maxpool", True),
    "a BatchNorm in SE": replace("layer1.0.se.bn", lambda: nn.BatchNorm2d(8)),
    "a layer for an identity": replace("layer1.0.drop_block", lambda: nn.AvgPool2d(3, 1, 1)),
    "a forward of its own": set_attribute("layer1.0.bn1.forward", lambda x: 2 * x),
    "momentum": set_attribute("layer1.0.bn1.momentum", 0.7),
    "no momentum": set_attribute("layer1.0.bn1.momentum", None),
    "eps": set_attribute("layer1.0.bn1.eps", 0.1),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_changed_afterwards_counts(what: str) -> None:
    model, twin = pair()
    before = model(X).detach()
    for each in (model, twin):
        CHANGES[what](each)
    assert_equal(model, twin)
    if what not in ("checkpointing", "momentum", "no momentum"):
        assert relative_difference(model.eval()(X), before) > 1e-6
    for (name, one), other in zip(model.named_buffers(), twin.buffers(), strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12), name


def test_a_changed_block_is_looked_at_again() -> None:
    _, twin = pair()
    set_downsample(twin)
    assert senet.explain_kernels(twin, X).backends["numba"] == 4
    report = senet.accelerate(twin)
    assert {(row.block, row.steps) for row in report.taken} == {
        ("layer1.1", "bn relu"), ("layer1.1", "bn se add relu")
    }  # fmt: skip
    assert fused_count(twin) == 7


def test_a_sequential_may_grow_shrink_and_be_cut() -> None:
    model, twin = pair(small_vgg)
    assert fused_count(twin) == 2
    for each in (model, twin):
        each.append(nn.Sigmoid())
    assert_equal(model, twin)
    for each in (model, twin):
        each.insert(0, nn.Tanh())
    assert_equal(model, twin)
    for each in (model, twin):
        del each[0]
        del each[-1]
    assert_equal(model, twin)
    assert fused_count(twin) == 2
    assert torch.equal(twin[:3](X), twin[2](twin[1](twin[0](X))))
    assert len(twin[:3]) == 3


def test_the_training_mode_counts_at_each_call() -> None:
    model, twin = pair()
    assert_equal(model, twin)
    for each in (model, twin):
        each.train()
        each.layer1.eval()  # frozen, as in fine-tuning
        each(X)
    for (name, one), other in zip(model.named_buffers(), twin.buffers(), strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12), name
    assert fused_count(twin) == 7


class Optional(nn.Module):
    """Takes a second argument, or none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x: Tensor, factor: float | None = None, *, shift: float = 0.0) -> Tensor:
        y = self.relu(self.bn(self.conv(x)))
        if factor is not None:
            y = y * factor
        return y if shift == 0 else y + shift


def test_arguments_may_be_given_in_any_way() -> None:
    model, twin = pair(Optional)
    assert torch.equal(twin(x=X), twin(X))
    assert_equal(model, twin)
    for args, kwargs in (((X, 3.0), {}), ((X,), {"factor": 2.0}), ((X,), {"shift": 1.0}), ((X, None), {})):
        assert relative_difference(twin(*args, **kwargs), model(*args, **kwargs)) < 1e-12
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        twin()
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        twin(X, nothing=1)


def test_the_signature_stays() -> None:
    model, twin = pair(Optional)
    assert inspect.signature(twin.forward) == inspect.signature(model.forward)
    assert twin.forward.__doc__ == model.forward.__doc__


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        y = self.bn(self.conv(x))
        return functional.relu(y if skip is None else y + skip)


def test_none_may_be_given_for_a_tensor() -> None:
    model, twin = pair(Skip)
    assert_equal(model, twin, X, X)
    assert_equal(model, twin, X, None)


def test_densenet_takes_a_tensor_as_well_as_a_list() -> None:
    model, twin = pair(models.small_densenet)
    layers = [each.features.denseblock1.denselayer1 for each in (model, twin)]
    x = torch.randn(2, 16, 8, 8).double()
    assert_equal(*layers, x)
    assert_equal(*layers, [x])
    assert fused_count(twin) == 11
    assert senet.explain_kernels(layers[1], x).backends == {"numba": 2}
    assert senet.explain_kernels(layers[1], [x]).backends == {"numba": 2}


def test_a_sum_in_place_keeps_its_type() -> None:
    """Under autocast the branch is half precision and the shortcut may not be."""
    module = models.small_torchvision_resnet()[1].eval()
    twin = copy.deepcopy(module)
    senet.accelerate(twin)
    x = torch.randn(2, 16, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, output = module(x), twin(x)
    assert output.dtype == expected.dtype == torch.bfloat16
    assert relative_difference(output.float(), expected.float()) < 1e-2


class Announced(Optional):
    """Keeps a list of its subclasses, as registries do."""

    subclasses: list[type] = []  # noqa: RUF012

    def __init_subclass__(cls) -> None:
        Announced.subclasses.append(cls)


class OwnCopy(Optional):
    def __deepcopy__(self, memo: object) -> nn.Module:
        return type(self)()


class Metaclass(type):
    pass


class OwnMetaclass(Optional, metaclass=Metaclass):
    pass


REASONS = {
    OwnCopy: "OwnCopy has its own __deepcopy__",
    OwnMetaclass: "OwnMetaclass tracks its subclasses",
    Announced: "Announced tracks its subclasses",
}


@pytest.mark.parametrize("block", REASONS)
def test_blocks_that_may_not_change_their_class_are_left(block: type[nn.Module]) -> None:
    with pytest.raises(senet.SenetError, match=REASONS[block]):
        senet.accelerate(block())
    assert Announced.subclasses == []


def test_a_block_that_cannot_be_read_again_is_copied_as_it_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    model, twin = pair(Optional)

    def forward(self: Optional, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x))) if x.sum() != 0 else x

    monkeypatch.setattr(Optional, "forward", forward)
    assert_equal(model, twin)
    with pytest.warns(UserWarning, match="Optional runs layer by layer: a branch depends on tensor values"):
        copied = copy.deepcopy(twin)
    assert type(copied) is Optional
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_fused(copy.deepcopy(twin))


def test_a_forward_that_is_replaced_counts() -> None:
    model, twin = pair(Optional)
    for each in (model, twin):
        each.forward = lambda x: x + 1
    assert torch.equal(twin(X), X + 1)
    with pytest.raises(senet.SenetError, match="its forward was replaced"):
        senet.accelerate(model)
