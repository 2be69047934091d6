import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from senet.blocks.attached import attach
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.networks.zoo import create_network
from senet.surgery.fold_gate import fold_gate
from senet.surgery.gate_places import find_places
from tests.surgery.gated import Host, Own, check, gates_for, host, maps, se


def test_in_front_of_a_layer_it_goes_into_the_one_before():
    model = host()
    attach(model.last, se(), "before")
    places, folded, _ = check(model, maps())
    assert folded == ["last.se"]
    assert [(each.layer, each.behind_relu) for each in places["last.se"].parts] == [("norm", True)]


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
        (lambda _, y: torch.cat([y[:1], y[1:]], 0), "output of a concatenation along another dimension"),
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
    assert place.reason == "the output of norm is also used elsewhere"


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
    own_forward: "norm is a Standardised with its own forward",
    own_convolution: "norm is a Standardised with its own forward",
    transposed: "norm is a ConvTranspose2d with its own forward",
    replaced_forward: "norm is a BatchNorm2d with its own forward",
}


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
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
    assert reason(se(squeeze="none").float()) == "it has one gate per pixel"
    assert reason(copy.deepcopy(block), lambda model: setattr(model, "again", model.norm.se)) == (
        "it is part of several modules"
    )
    hooked = copy.deepcopy(block)
    hooked.register_forward_hook(lambda *_: None)
    assert reason(hooked) == "it has a hook"
    replaced = copy.deepcopy(block)
    replaced.forward = lambda x: x
    assert reason(replaced) == "it has its own forward"
    assert reason(block, lambda model: setattr(model, "relu", nn.Identity()), "after relu") == (
        "it is not followed by a ReLU module of the model"
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


def test_looking_leaves_nothing_behind():
    model = create_network("se_resnet8").eval()
    before = copy.deepcopy(model.state_dict())
    find_places(model, torch.randn(2, 3, 32, 32))
    with pytest.raises(ValueError, match="expects images of"):
        find_places(model, torch.randn(2, 1, 32, 32))
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
