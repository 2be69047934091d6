"""Each relative held against an implementation by others."""

import copy
import importlib

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

import senet
from senet.blocks.kinds import make_block, uses_reduction
from senet.blocks.relatives.cbam import CBAM
from senet.blocks.relatives.eca import EfficientChannelAttention, kernel_size
from senet.blocks.relatives.ese import EffectiveSE
from senet.blocks.relatives.gather_excite import GatherExcite
from senet.blocks.relatives.scse import SpatialChannelSE
from tests.blocks.relatives import KINDS, LAYOUTS, build, shaken
from tests.references import import_timm, relative_difference
from tests.surgery.models import small_torchvision_resnet

pytestmark = pytest.mark.usefixtures("layer_by_layer")


def timm_gathering(channels, extent):
    """Return timm's block; its own constructor passes names as sizes where convolutions gather."""
    layers = importlib.import_module("timm.layers")
    block = layers.GatherExcite(channels, extent=extent, extra_params=False, use_mlp=False)
    gather = []
    while 2 ** len(gather[::3]) < extent:
        gather += [nn.ReLU()] * bool(gather)
        gather += [layers.create_conv2d(channels, channels, kernel_size=3, stride=2, depthwise=True)]
        gather += [nn.BatchNorm2d(channels)]
    block.gather = nn.Sequential(*gather)
    return block


def pairs():
    """Return each of our blocks with timm's and timm's order of our parameters."""
    import_timm()
    layers = importlib.import_module("timm.layers")
    found = [
        ("ese", EffectiveSE(32), layers.EffectiveSEModule(32)),
        ("eca", EfficientChannelAttention(32), layers.EcaModule(32)),
        ("eca of 512", EfficientChannelAttention(512), layers.EcaModule(512)),
        ("cbam", CBAM(32, 4), importlib.import_module("timm.layers.cbam").CbamModule(32, rd_channels=8)),
    ]
    for extent in (2, 4, 8):
        found.append((f"ge of {extent}", GatherExcite(32, extent), timm_gathering(32, extent)))
        average = layers.GatherExcite(32, extent=extent, extra_params=False, use_mlp=False)
        found.append((f"ge of {extent}, average", GatherExcite(32, extent, learned=False), average))
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [True, False])
def test_equals_timm(layout, training):
    for name, ours, theirs in pairs():
        shaken(ours.double()).train(training)
        theirs.double().train(training)
        mine = ordered(ours)
        others = ordered(theirs)
        for a, b in zip(mine, others, strict=True):
            b.data.copy_(a.data.reshape(b.shape))
        x = torch.randn(3, ours.channels, 13, 9, dtype=torch.float64).to(memory_format=layout)
        ours_x, theirs_x = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, expected = ours(ours_x), theirs(theirs_x)
        assert relative_difference(y, expected) < 1e-14, name
        y.pow(3).sum().backward()
        expected.pow(3).sum().backward()
        assert relative_difference(ours_x.grad, theirs_x.grad) < 1e-12, name
        for a, b in zip(mine, others, strict=True):
            if isinstance(a, nn.Parameter):
                assert relative_difference(a.grad, b.grad.reshape(a.shape)) < 1e-12, name
            else:
                assert torch.allclose(a, b, rtol=1e-12), name


def ordered(block):
    """Return parameters and statistics: of the layers with weights in order, then of the BatchNorms."""
    layers = [each for each in block.modules() if isinstance(each, _ConvNd | nn.Linear)]
    norms = [each for each in block.modules() if isinstance(each, _BatchNorm)]
    tensors = [each for layer in layers for each in (layer.weight, layer.bias)]
    tensors += [t for norm in norms for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    return [each for each in tensors if each is not None]


def test_the_kernel_of_eca_is_that_of_timm():
    import_timm()
    layers = importlib.import_module("timm.layers")
    for channels in [*range(1, 70), 127, 128, 129, 255, 256, 512, 1024, 2048, 4096, 8192, 8193]:
        expected = layers.EcaModule(channels).conv.kernel_size[0]
        assert kernel_size(channels) == EfficientChannelAttention(channels).conv.kernel_size[0] == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scse_equals_its_formula(layout):
    block = build("scse").double()
    x = torch.randn(3, 32, 5, 7, dtype=torch.float64).to(memory_format=layout)
    state = block.state_dict()
    hidden = (x.mean((2, 3)) @ state["channel.fc1.weight"].T + state["channel.fc1.bias"]).relu()
    channel = 1 / (1 + (-(hidden @ state["channel.fc2.weight"].T) - state["channel.fc2.bias"]).exp())
    q = torch.einsum("nchw,c->nhw", x, state["spatial.weight"].flatten()) + state["spatial.bias"]
    expected = x * channel[:, :, None, None] + x / (1 + (-q).exp())[:, None]
    assert relative_difference(block(x), expected) < 1e-14


def test_the_channel_half_of_scse_is_the_se_block():
    assert type(SpatialChannelSE(32).channel) is senet.SqueezeExcitation


@pytest.mark.parametrize(
    ("kind", "doubled"), [("ese", functional.hardsigmoid), ("eca", torch.sigmoid), ("cbam", torch.sigmoid)]
)
def test_the_start_says_which_gate(kind, doubled):
    values = torch.linspace(-8, 8, 101)
    assert torch.equal(make_block(kind, 32, start="random").gate(values), doubled(values))
    assert torch.equal(make_block(kind, 32, start="identity").gate(values), 2 * doubled(values))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("placement", ["standard", "post"])
def test_a_network_of_others_takes_every_kind(kind, placement):
    torch.manual_seed(0)
    model = shaken(small_torchvision_resnet()).eval()
    x = torch.randn(2, 3, 36, 36)
    before, state = model(x), {name: each.clone() for name, each in model.state_dict().items()}
    choices = {"kind": kind, "placement": placement, "reduction": 4 if uses_reduction(kind) else 16}
    assert len(senet.squeeze_excite(model, **choices).sites) == 2
    assert not senet.squeeze_excite(model, **choices).sites
    assert torch.equal(model(x), before)
    new = {name: each for name, each in model.named_parameters() if name not in state}
    assert {name.split(".se.")[1] for name in new} == {
        name for name, _ in make_block(kind, 16).named_parameters()
    }
    seen = dict.fromkeys(new, False)
    trained = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        trained(x).pow(2).mean().backward()
        for name, parameter in trained.named_parameters():
            assert parameter.grad.isfinite().all(), name
            if name in seen:
                seen[name] |= bool(parameter.grad.any())
        optimizer.step()
    assert all(seen.values()), seen
    senet.remove(model)
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(each, state[name]) for name, each in model.state_dict().items())
    assert torch.equal(model(x), before)
