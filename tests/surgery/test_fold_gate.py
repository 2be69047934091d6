import copy
import dataclasses
import inspect
import pickle
import pkgutil
from contextlib import ExitStack
from importlib import import_module

import pytest
import torch
from torch import nn
from torch.nn import functional

import senet.blocks as blocks_package
from senet.blocks.attached import attach, attached
from senet.blocks.cost import CostedModule
from senet.blocks.se_config import SEConfig
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.networks.build import build_network
from senet.networks.zoo import create_network, list_models, network_spec
from senet.surgery.fold_gate import UNITS, constant_gate, fold_gate, refusal
from senet.surgery.gate_places import find_places
from tests.networks.short import distinct, few_classes, images, se_blocks, shortened
from tests.references import randomise

WITH_SE = [name for name in distinct(list_models()) if name.startswith("se_")]
# What SE weighs there: half the sum of two branches, and what a ReLU6 puts out.
NOTHING = {"se_shakeshake26_2x96d": "mul", "se_shakeeven29_2x4x64d": "mul", "se_mobilenet_relu6": "hardtanh"}
# Their reductions concatenate a max pool.
SOME = {"se_bn_inception": 2, "se_inception_v3": 2}


def gates_for(block, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.2 + 1.3 * torch.rand(block.channels, generator=generator, dtype=torch.float64)


def check(model, x, tolerance=1e-12):
    """Fold what can be folded; return what was, and the folded copy."""
    model.eval()
    places = find_places(model, x[:2])
    gates = {name: gates_for(model.get_submodule(name), seed) for seed, name in enumerate(places)}
    folded = [name for name, place in places.items() if not refusal(place, gates[name])]
    pruned = copy.deepcopy(model)
    with ExitStack() as stack, torch.no_grad():
        plain = model(x)
        for name in folded:
            stack.enter_context(constant_gate(model.get_submodule(name), gates[name]))
        expected = model(x)
        for name in folded:
            fold_gate(pruned, places[name], gates[name])
        difference = (pruned(x) - expected).abs().max() / expected.abs().max()
    assert difference <= tolerance
    if folded:
        assert not torch.allclose(plain, expected)
    left = {name for name, each in pruned.named_modules() if isinstance(each, SqueezeExcitation)}
    assert left == set(places) - set(folded)
    assert not any(key.startswith(f"{name}.") for name in folded for key in pruned.state_dict())
    with torch.no_grad():
        assert not torch.equal(model(x), expected) or not folded  # constant gates are over
    return places, folded, pruned


def network(name, se=None, seed=3):
    torch.manual_seed(seed)
    spec = few_classes(shortened(network_spec(name)))
    if se is not None:
        spec = dataclasses.replace(spec, se=se)
    model = build_network(spec).double()
    randomise(model, seed)
    return model


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


class Host(nn.Module):
    """A network that knows nothing of senet."""

    def __init__(self, norm, *, relu=True, conv_bias=False, dims=2):
        super().__init__()
        convolution = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.conv = convolution(3, 8, 3, padding=1, bias=conv_bias)
        self.norm = norm
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()
        self.last = convolution(8, 8, 1, groups=2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.last(self.relu(self.norm(self.conv(x)))).flatten(2).mean(2))


def host(norm=None, dims=2, **options):
    torch.manual_seed(1)
    model = Host(norm if norm is not None else nn.BatchNorm2d(8), dims=dims, **options)
    for each in (*model.parameters(), *model.buffers()):
        if each.is_floating_point():
            nn.init.uniform_(each, 0.2, 0.8)
    nn.init.normal_(model.conv.weight)
    return model.double().eval()


def maps(dims=2, count=4):
    torch.manual_seed(2)
    return torch.randn(count, 3, *(6, 5, 4)[:dims], dtype=torch.float64)


def se(channels=8, **options):
    torch.manual_seed(4)
    return SqueezeExcitation(channels, 2, **options).double()


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


def test_in_front_of_a_layer_it_goes_into_the_one_before():
    model = host()
    attach(model.last, se(), "before")
    places, folded, _ = check(model, maps())
    assert folded == ["last.se"]
    assert [(each.layer, each.behind_relu) for each in places["last.se"].parts] == [("norm", True)]


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


class Own(nn.Module):
    """A network of somebody who uses senet's block by hand."""

    def __init__(self, between=None):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 3, padding=1)
        self.weigh = SqueezeExcitation(12, 3)
        self.between = between
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        y = torch.cat([self.a(x), functional.relu(self.b(x))], dim=1)
        if self.between is not None:
            y = self.between(self, y)
        return self.fc(self.weigh(y).mean((2, 3)))


def test_a_concatenation_gives_each_layer_its_channels():
    model = Own().double()
    places, folded, pruned = check(model, maps())
    assert folded == ["weigh"]
    found = [(each.layer, each.start, each.stop, each.behind_relu) for each in places["weigh"].parts]
    assert found == [("a", 0, 4, False), ("b", 4, 12, True)]
    assert type(pruned.weigh) is nn.Identity


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (lambda _, y: y.contiguous(), ""),
        (lambda _, y: functional.dropout(y, 0.5, training=False), ""),
        (lambda _, y: functional.leaky_relu(y, 0.1), ""),
        (lambda _, y: torch.relu_(y), ""),
        (lambda _, y: y + 1, "output of add,"),
        (lambda _, y: y.add_(1), "output of add_,"),
        (lambda _, y: functional.relu6(y), "output of relu6,"),
        (lambda _, y: functional.silu(y), "output of silu,"),
        (lambda _, y: functional.layer_norm(y, y.shape[1:]), "output of layer_norm,"),
        (lambda _, y: torch.cat([y[:1], y[1:]], 0), "output of a concatenation of something else"),
        (lambda _, y: torch.cat([y[:, :5], y[:, 5:]], 1), "output of __getitem__,"),
        (lambda self, y: y.roll(1, 1), "output of roll,"),
        (lambda self, y: self.a.weight.new_zeros(y.shape) + y, "output of add,"),
        (lambda self, y: y.mT.mT, "output of __get__,"),
    ],
)
def test_what_stands_between(between, reason):
    places, folded, _ = check(Own(between).double(), maps(count=6))
    assert folded == ([] if reason else ["weigh"])
    assert reason in places["weigh"].reason


class Twice(Host):
    """Its norm's output goes elsewhere as well, in one way or another."""

    def __init__(self, how):
        super().__init__(nn.BatchNorm2d(8))
        self.how = how

    def forward(self, x):
        y = self.norm(self.conv(x))
        scores = self.fc(self.weigh(y).mean((2, 3)))
        if self.how == "sum":
            return scores + y.mean()
        if self.how == "view":
            return scores + y[:, :5, 0, 0]
        return scores, y


@pytest.mark.parametrize("how", ["sum", "view", "returned"])
def test_an_output_that_goes_elsewhere_is_left(how):
    model = Twice(how).eval()
    model.weigh = SqueezeExcitation(8, 2)
    (place,) = find_places(model, maps().float()).values()
    assert place.reason == "the output of norm goes elsewhere as well"


def hooked(model):
    model.norm.register_forward_hook(lambda *_: None)


def run_twice(model):
    model.last = nn.Sequential(model.last, model.norm)


def weight_norm(model):
    model.norm = torch.nn.utils.weight_norm(nn.Conv2d(8, 8, 1))


def spectral_norm(model):
    model.norm = torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(8, 8, 1))


def tied(model):
    model.norm = nn.Conv2d(8, 8, 1, bias=False)
    model.last = nn.Conv2d(8, 8, 1)
    model.last.weight = model.norm.weight


def own_forward(model):
    class Standardised(nn.Conv2d):
        def forward(self, x):
            return functional.conv2d(x, self.weight / self.weight.std(), self.bias)

    model.norm = Standardised(8, 8, 1)


def own_convolution(model):
    class Standardised(nn.Conv2d):
        def _conv_forward(self, x, weight, bias):
            return functional.conv2d(x, weight / weight.std(), bias)

    model.norm = Standardised(8, 8, 1)


def transposed(model):
    model.norm = nn.ConvTranspose2d(8, 8, 3)


def replaced_forward(model):
    forward = model.norm.forward
    model.norm.forward = lambda x: forward(x).abs()


REFUSED = {
    hooked: "norm has a hook",
    run_twice: "norm runs several times",
    weight_norm: "norm computes its weights from others",
    spectral_norm: "norm computes its weights from others",
    tied: "norm shares its weights with another layer",
    own_forward: "norm is a Standardised with a forward of its own",
    own_convolution: "norm is a Standardised with a forward of its own",
    transposed: "norm is a ConvTranspose2d with a forward of its own",
    replaced_forward: "norm is a BatchNorm2d with a forward of its own",
}


@pytest.mark.parametrize("change", REFUSED, ids=lambda each: each.__name__)
def test_layers_that_cannot_take_a_gate_say_why(change):
    model = host().float()
    change(model)
    model.relu = nn.Sequential(SqueezeExcitation(8, 2), nn.ReLU())
    (place,) = find_places(model.eval(), maps().float()).values()
    assert place.reason == REFUSED[change]
    assert place.parts == ()


def test_blocks_that_are_no_constant_say_why():
    def reason(block, change=lambda _: None, position="after"):
        model = host().float()
        attach(model.norm, block, position)
        change(model)
        return find_places(model, maps().float())["norm.se"].reason

    block = se().float()
    assert reason(se(squeeze="none").float()) == "it has a gate for each pixel"
    assert reason(copy.deepcopy(block), lambda model: setattr(model, "again", model.norm.se)) == (
        "it is part of several modules"
    )
    hooked = copy.deepcopy(block)
    hooked.register_forward_hook(lambda *_: None)
    assert reason(hooked) == "it has a hook"
    replaced = copy.deepcopy(block)
    replaced.forward = lambda x: x
    assert reason(replaced) == "it has a forward of its own"
    assert reason(block, lambda model: setattr(model, "relu", nn.Identity()), "after relu") == (
        "no ReLU of the model's own follows it"
    )
    model = Own()
    model.idle = SqueezeExcitation(8, 2)
    assert find_places(model, maps().float())["idle"].reason == "it did not run"
    model = Own(lambda self, y: self.weigh(y))
    assert find_places(model, maps().float())["weigh"].reason == "it runs several times"
    alone = SqueezeExcitation(3, 1)
    assert find_places(alone, maps().float())[""].reason == "it is the model itself"


def test_a_block_behind_another_waits_for_it():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), SqueezeExcitation(8, 2), SqueezeExcitation(8, 2)).double()
    places = find_places(model, maps())
    assert places["1"].reason == ""
    assert "the output of another SE block" in places["2"].reason
    fold_gate(model, places["1"], gates_for(model[1]))
    assert find_places(model, maps())["2"].reason == ""


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


def test_looking_leaves_nothing_behind():
    model = create_network("se_resnet8").eval()
    before = copy.deepcopy(model.state_dict())
    find_places(model, torch.randn(2, 3, 32, 32))
    with pytest.raises(ValueError, match="takes images as"):
        find_places(model, torch.randn(2, 1, 32, 32))
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    block = model.layer1[0].se
    with pytest.raises(ZeroDivisionError), constant_gate(block, torch.ones(16)):
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
