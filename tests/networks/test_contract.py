"""What every registered network keeps, plain and with SE.

What holds for one unit of each kind of a network holds for the network, so most is checked on shortened
networks; SENET_FULL_DEPTH=1 takes all of them whole. That gradients arrive is checked on deep ones as well.
"""

import copy
import dataclasses
import io
import os
import pickle
from functools import lru_cache

import pytest
import torch

from senet.blocks.cost import Cost
from senet.networks import PreResNetSpec, list_models, network_spec
from senet.networks.build import build_features, build_network
from tests.networks.short import CLASSES, distinct, few_classes, images, se_blocks, shortened, side_of
from tests.references import randomise

pytestmark = pytest.mark.slow

FULL_DEPTH = bool(os.environ.get("SENET_FULL_DEPTH"))
NAMES = list_models()


def contract_spec(name):
    return few_classes(network_spec(name)) if FULL_DEPTH else shortened(network_spec(name))


# One case for all names that are the same when shortened; the first name stands for them.
TWINS = [name for name in distinct(NAMES) if network_spec(name).se is not None]
# A twin holds what its plain network does; a few of those show that SE is not needed for it.
CASES = NAMES if FULL_DEPTH else [*TWINS, "resnet18", "resnet50", "vgg11_bn", "inception_v3"]
# What takes seconds for each: one for each way of joining branches.
COMPILED = ["resnet18", "se_resnet50", "se_vgg11_bn", "se_googlenet", "se_preresnet164"]
COMPILED += ["se_shakeeven29_2x4x64d", "se_mobilenet", "se_shufflenet_g3"]
if FULL_DEPTH:
    COMPILED = NAMES
# The deepest of each kind of residual unit, and the longest chain of branches.
DEEP = ["se_resnet152", "se_resnet110", "se_preresnet164", "se_inception_resnet_v2"]


@pytest.fixture(scope="module", params=CASES)
def name(request):
    """Return the name of a case; the tests of one case follow each other, so that it is built once."""
    return request.param


@lru_cache(maxsize=1)
def network(name):
    """Return the network of a case; tests must leave it as it was."""
    torch.manual_seed(3)
    model = build_network(contract_spec(name))
    randomise(model)
    return model


def same_state(a, b):
    first, second = a.state_dict(), b.state_dict()
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


def silent_after_a_step(model, spec):
    """Return the SE parameters without a gradient, and check all others."""
    model.zero_grad()
    scores = model(images(spec).to(memory_format=torch.channels_last))
    assert scores.shape == (4, CLASSES)
    torch.nn.functional.cross_entropy(scores, torch.arange(4)).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []
    parameters = {
        f"{at}.{name}": p for at, se in se_blocks(model).items() for name, p in se.named_parameters()
    }
    return {name for name, p in parameters.items() if not p.grad.any()}


@pytest.mark.parametrize(
    ("name", "whole"), [*((name, FULL_DEPTH) for name in CASES), *((n, True) for n in DEEP)]
)
def test_every_parameter_gets_a_gradient_and_every_se_parameter_lives(name, whole):
    torch.manual_seed(3)
    spec = few_classes(network_spec(name)) if whole else shortened(network_spec(name))
    model = build_network(spec).to(memory_format=torch.channels_last)
    assert bool(se_blocks(model)) == (spec.se is not None)
    silent = silent_after_a_step(model, spec)
    # A hidden layer of one ReLU, the paper's for 16 channels, may start silent where no BatchNorm
    # stands before it; drawn anew, each is heard of.
    if isinstance(spec, PreResNetSpec):
        for _ in range(11):
            for block in se_blocks(model).values():
                block.reset_parameters()
            silent &= silent_after_a_step(model, spec)
    assert silent == set()
    with torch.no_grad():
        larger = side_of(spec) + 13
        assert model.eval()(images(spec, 1, larger)).isfinite().all()


@pytest.mark.usefixtures("layer_by_layer")
@pytest.mark.parametrize("name", COMPILED)
def test_compiles_as_one_graph_also_for_training(name):
    torch._dynamo.reset()
    model = copy.deepcopy(network(name)).train()
    # One graph is what is asked for; that its backward graph can be made as well is in test_recompute.py.
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="eager")
    x = images(model.spec, 2)
    results = []
    for each in (model, compiled):
        torch.manual_seed(0)  # for dropout and shaking
        each(x).square().sum().backward()
        results.append({key.removeprefix("_orig_mod."): p.grad for key, p in each.named_parameters()})
    for key, gradient in results[0].items():
        assert torch.allclose(results[1][key], gradient, rtol=1e-3, atol=1e-3 * gradient.abs().max()), key


@pytest.mark.parametrize("name", COMPILED)
def test_exports_for_any_number_of_images(name):
    model = copy.deepcopy(network(name)).eval()
    x = images(model.spec, 2)
    program = torch.export.export(model, (x,), dynamic_shapes={"x": {0: torch.export.Dim("images")}})
    other = images(model.spec, 3)
    assert torch.allclose(program.module()(other), model(other), rtol=1e-4, atol=1e-5)


def test_copies_and_saved_states_are_the_same_network(name):
    model = network(name)
    x = images(model.spec, 2)
    stored = io.BytesIO()
    torch.save(model.state_dict(), stored)
    loaded = build_network(model.spec)
    loaded.load_state_dict(torch.load(io.BytesIO(stored.getvalue()), weights_only=True))
    with torch.no_grad():
        expected = copy.deepcopy(model).eval()(x)
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
            assert same_state(twin, model)
            assert twin.spec == model.spec
            assert torch.equal(twin.eval()(x), expected)


@pytest.mark.usefixtures("layer_by_layer")
def test_features_are_the_maps_the_network_computes(name):
    model = copy.deepcopy(network(name)).eval()
    features = build_features(model.spec)
    missing, unexpected = features.load_state_dict(model.state_dict(), strict=False)
    assert missing == []
    assert all(key.split(".")[0] in ("fc", "classifier") for key in unexpected)
    seen = {}
    for info in features.feature_info:
        layer = model.get_submodule(info.name)
        layer.register_forward_hook(lambda _, __, y, at=info.name: seen.update({at: y.clone()}))
    side = {32: 32, 224: 96}.get(model.spec.input_size, model.spec.input_size)
    x = torch.randn(1, model.in_channels, side, side)
    with torch.no_grad():
        maps = features.eval()(x)
        model(x)
    strides = [info.stride for info in features.feature_info]
    assert strides == sorted(set(strides))
    assert strides[-1] == (4 if model.spec.input_size == 32 else 32)
    for info, y in zip(features.feature_info, maps, strict=True):
        assert torch.equal(y, seen[info.name]), info
        assert y.shape[:2] == (1, info.channels)
        # Unpadded convolutions lose some pixels at the border.
        assert y.shape[2] <= -(-side // info.stride)
        assert y.shape[2] >= side / info.stride * 0.8


def test_without_classes_the_classifiers_input_comes_out(name):
    model = copy.deepcopy(network(name)).eval()
    pooled = build_network(dataclasses.replace(model.spec, num_classes=0)).eval()
    missing, unexpected = pooled.load_state_dict(model.state_dict(), strict=False)
    assert missing == []
    assert {key.rpartition(".")[0] for key in unexpected} == {model.classifier_name}
    assert pooled.classifier_name is None
    x = images(model.spec, 2)
    with torch.no_grad():
        features = pooled(x)
        assert features.shape == (2, model.num_features) == (2, pooled.num_features)
        scores = model.get_submodule(model.classifier_name)(features)
        assert torch.allclose(scores, model(x), rtol=1e-5, atol=1e-6)


def test_gradient_checkpointing_changes_nothing_but_memory(name):
    x = images(network(name).spec, 3)
    results = []
    for recomputes in (False, True):
        model = copy.deepcopy(network(name)).train()
        model.set_grad_checkpointing(recomputes)
        torch.manual_seed(0)  # for dropout and shaking
        model(x).square().sum().backward()
        results.append(model)
    plain, saving = results
    assert same_state(plain, saving), "running statistics"
    for (key, parameter), twin in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(parameter.grad, twin.grad), key


@pytest.mark.parametrize("name", TWINS)
def test_the_cost_of_the_twin_differs_by_its_blocks(name):
    spec = contract_spec(name)
    with torch.device("meta"):
        model, plain = build_network(spec), build_network(dataclasses.replace(spec, se=None))
        blocks = se_blocks(model).values()
    shape = (spec.in_channels, spec.input_size, spec.input_size)
    difference = model.cost(shape)[0].parameters - plain.cost(shape)[0].parameters
    assert difference == sum(block.cost((block.channels, 1, 1))[0].parameters for block in blocks)
    assert isinstance(model.cost(shape)[0], Cost)
