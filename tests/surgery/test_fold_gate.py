import copy
import dataclasses
import inspect
import pickle
import pkgutil
from importlib import import_module

import pytest
import torch
from torch import nn

import senet
import senet.blocks as blocks_package
from senet.blocks.attached import attach, attached
from senet.blocks.cost import CostedModule
from senet.blocks.se_config import SEConfig
from senet.networks.build import build_network
from senet.networks.zoo import list_models, network_spec
from senet.surgery.fold_gate import UNITS, constant_gate, fold_gate, refusal
from senet.surgery.gate_places import find_places
from tests.networks.short import distinct, few_classes, images, se_blocks, shortened
from tests.references import randomise
from tests.surgery.gated import Own, check, gates_for, host, maps, se

WITH_SE = [name for name in distinct(list_models()) if name.startswith("se_")]
# What SE weighs there: half the sum of two branches, and what a ReLU6 puts out.
NOTHING = {"se_shakeshake26_2x96d": "mul", "se_shakeeven29_2x4x64d": "mul", "se_mobilenet_relu6": "hardtanh"}
# Their reductions concatenate a max pool.
SOME = {"se_bn_inception": 2, "se_inception_v3": 2}


def network(name, se=None, seed=3):
    torch.manual_seed(seed)
    spec = few_classes(shortened(network_spec(name)))
    if se is not None:
        spec = dataclasses.replace(spec, se=se)
    model = build_network(spec).double()
    randomise(model, seed)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_SE)
def test_networks_compute_what_they_did_with_constant_gates(name):
    model = network(name)
    x = images(model.spec, 2).double()
    places, folded, pruned = check(model, x)
    if name in NOTHING:
        assert folded == []
        assert all(f"the output of {NOTHING[name]}" in each.reason for each in places.values())
    else:
        assert len(places) - len(folded) == SOME.get(name, 0)
    if len(folded) == len(places):
        plain = build_network(dataclasses.replace(model.spec, se=None)).double().eval()
        assert [vars(each).get("placement") for each in pruned.modules()] == [
            vars(each).get("placement") for each in plain.modules()
        ]
        plain.load_state_dict(pruned.state_dict())
        with torch.no_grad():
            assert torch.equal(plain(x), pruned(x))
            assert pruned.cost(x.shape[1:])[0].parameters == plain.cost(x.shape[1:])[0].parameters


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["se_resnet8", "se_vgg11_bn", "se_preresnet110"])
def test_both_layouts(name, layout):
    model = network(name).to(memory_format=layout)
    _, folded, pruned = check(model, images(model.spec, 3).double().to(memory_format=layout))
    assert len(folded) == len(se_blocks(model))
    conv = next(each for each in pruned.modules() if isinstance(each, nn.Conv2d))
    assert conv.weight.is_contiguous(memory_format=layout)


FOLDED_AT = {
    "se_resnet8": {"standard": 4, "pre": 0, "post": 0, "identity": 2, "conv3x3": 4},
    "se_preresnet110": {"standard": 4, "pre": 0, "post": 0, "identity": 2, "conv3x3": 4},
    "se_shakeshake26_2x96d": {"branches": 8, "conv3x3": 8, "identity": 3, "post": 0},
    "se_shufflenet_g3": {"standard": 4, "conv3x3": 4, "identity": 0},
}


@pytest.mark.parametrize(("name", "place"), [(name, each) for name in FOLDED_AT for each in FOLDED_AT[name]])
def test_placements(name, place):
    model = network(name, SEConfig(placement=place, reduction=4))
    places, folded, _ = check(model, images(model.spec, 2).double())
    assert len(folded) == FOLDED_AT[name][place]
    assert all(places[each].reason for each in places if each not in folded)


def test_every_unit_that_may_have_se_is_known():
    found = set()
    for path in blocks_package.__path__:
        for info in pkgutil.iter_modules([path], "senet.blocks."):
            for _, kind in inspect.getmembers(import_module(info.name), inspect.isclass):
                if issubclass(kind, CostedModule) and "se" in inspect.signature(kind).parameters:
                    found.add(kind)
    assert found == set(UNITS)


NORMS = {
    "bn": lambda: nn.BatchNorm2d(8),
    "bn without weights": lambda: nn.BatchNorm2d(8, affine=False),
    "bn of the batch": lambda: nn.BatchNorm2d(8, track_running_stats=False),
    "gn": lambda: nn.GroupNorm(2, 8),
    "gn without weights": lambda: nn.GroupNorm(2, 8, affine=False),
    "convolution": lambda: nn.Conv2d(8, 8, 3, groups=2),
    "convolution without bias": lambda: nn.Conv2d(8, 8, 3, bias=False, padding_mode="reflect", padding=1),
    "sync": lambda: nn.SyncBatchNorm(8),
}


@pytest.mark.parametrize("position", ["after", "after relu"])
@pytest.mark.parametrize("kind", NORMS)
def test_attached_blocks_leave_the_model_somebody_else_built(kind, position):
    plain = host(NORMS[kind]())
    model = copy.deepcopy(plain)
    attach(model.norm, se(), position)
    parameter = model.norm.weight
    places, folded, pruned = check(model, maps())
    assert folded == ["norm.se"]
    assert [part.layer for part in places["norm.se"].parts] == ["norm"]
    assert places["norm.se"].parts[0].behind_relu == (position == "after relu")
    assert [type(each) for each in pruned.modules()] == [type(each) for each in plain.modules()]
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in pruned.modules())
    fresh = host(NORMS[kind]())
    if "without weights" in kind:
        fresh.norm = type(fresh.norm)(*((8,) if "bn" in kind else (2, 8)), affine=True).double().eval()
        assert pruned.norm.affine
    else:
        assert parameter is model.norm.weight
        assert list(pruned.state_dict()) == list(plain.state_dict())
    fresh.load_state_dict(pruned.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh(maps()), pruned(maps()))
    assert b"senet" not in pickle.dumps(pruned.norm)


@pytest.mark.parametrize("dims", [1, 3])
def test_other_numbers_of_dimensions(dims):
    norm = {1: nn.BatchNorm1d, 3: nn.BatchNorm3d}[dims](8)
    for name in ("norm", "conv", "last"):
        model = host(copy.deepcopy(norm), dims=dims)
        attach(model.get_submodule(name), se(), "after")
        _, folded, _ = check(model, maps(dims))
        assert folded == [f"{name}.se"]


def test_parameters_stay_the_objects_they_are():
    model = host()
    attach(model.norm, se())
    places = find_places(model, maps())
    weight, bias = model.norm.weight, model.norm.bias
    before = weight.clone(), bias.clone(), model.norm.running_mean.clone()
    fold_gate(model, places["norm.se"], gate := gates_for(se()))
    assert model.norm.weight is weight
    assert model.norm.bias is bias
    assert weight.requires_grad
    assert torch.equal(weight, before[0] * gate)
    assert torch.equal(bias, before[1] * gate)
    assert torch.equal(model.norm.running_mean, before[2])


def test_negative_gates_stop_at_a_relu_only():
    model = host()
    attach(model.norm, se(gate="tanh"), "after")
    place = find_places(model, maps())["norm.se"]
    gate = gates_for(model.norm.se)
    gate[2] = -0.5
    assert refusal(place, gate) == ""
    with constant_gate(model.norm.se, gate), torch.no_grad():
        expected = model(maps())
    fold_gate(model, place, gate)
    with torch.no_grad():
        assert torch.allclose(model(maps()), expected, rtol=1e-12, atol=1e-12)
    model = Own()
    place = find_places(model, maps().float())["weigh"]
    gate = gates_for(model.weigh)
    gate[1] = -1.0
    assert refusal(place, gate) == ""
    gate[5] = -1.0
    assert "1 of its mean gates are negative" in refusal(place, gate)


def test_constant_gates_end():
    block = se()
    with pytest.raises(ZeroDivisionError), constant_gate(block, torch.ones(8)):
        1 / 0  # noqa: B018
    assert "forward" not in vars(block)


def test_folded_models_are_copied_and_trained():
    model = host()
    attach(model.norm, se(), "after relu")
    places = find_places(model, maps())
    fold_gate(model, places["norm.se"], gates_for(se()))
    assert list(attached(model)) == []
    twin = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    twin.train()(maps()).sum().backward()
    assert all(each.grad is not None for each in twin.parameters())


def test_without_its_last_stage_se_resnet50_has_4_instead_of_10_percent_more_parameters():
    """Section 4; the errors there need the paper's weights and images."""
    model, plain = senet.create_model("se_resnet50").eval(), senet.cost("resnet50").parameters
    places = find_places(model, torch.randn(1, 3, 64, 64))
    share = [sum(each.numel() for each in model.parameters()) / plain - 1]
    for name, block in [(each, model.get_submodule(each)) for each in places if each.startswith("layer4.")]:
        fold_gate(model, places[name], torch.full((block.channels,), 0.5, dtype=torch.float64))
    share.append(sum(each.numel() for each in model.parameters()) / plain - 1)
    assert [round(100 * each) for each in share] == [10, 4]
    assert sum(isinstance(each, senet.SqueezeExcitation) for each in model.modules()) == 13
