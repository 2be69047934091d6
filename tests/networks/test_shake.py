"""Shake-Shake and Shake-Even networks, against pytorchcv's where it has them."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from senet.blocks import SEConfig
from senet.blocks.shake import ShakeUnit
from senet.errors import SenetError
from senet.networks import create_network, network_spec
from senet.networks.build import build_network
from senet.weights.keymaps.cifar import from_pytorchcv_shakeshake
from tests.networks.short import images, se_blocks, shortened
from tests.references import converted, import_torchvision, pytorchcv_model, randomise, relative_difference

NAMES = ["shakeshake26_2x96d", "shakeeven29_2x4x64d"]
PLACEMENTS = ["standard", "pre", "post", "identity", "conv3x3", "branches"]


def narrow(name, **changes):
    """Return a short spec with few channels."""
    spec = dataclasses.replace(shortened(network_spec(name)), outputs=(32, 64, 128))
    if spec.bottleneck is not None:
        spec = dataclasses.replace(spec, bottleneck=dataclasses.replace(spec.bottleneck, widths=(16, 32, 64)))
    return dataclasses.replace(spec, **changes)


def pair(theirs, **changes):
    """Return our network in pytorchcv's form and theirs with the same weights in float64."""
    theirs.features.final_pool = nn.AdaptiveAvgPool2d(1)
    randomise(theirs)
    spec = dataclasses.replace(
        network_spec("shakeshake26_2x96d"), outputs=(32, 64, 128), **{"activation": "post", **changes}
    )
    ours = build_network(spec)
    ours.load_state_dict(converted(theirs.state_dict(), ours, from_pytorchcv_shakeshake))
    return ours.double(), theirs.double()


def pytorchcv_network(depth):
    import_torchvision()
    from pytorchcv.models.shakeshakeresnet_cifar import CIFARShakeShakeResNet

    return CIFARShakeShakeResNet([[32] * depth, [64] * depth, [128] * depth], 16, bottleneck=False)


def test_scores_are_pytorchcvs():
    ours, theirs = pair(pytorchcv_model("shakeshakeresnet26_2x32d_cifar10"))
    x = torch.randn(2, 3, 16, 13, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.eval()(x)
        assert expected.std() > 1e-3
        assert relative_difference(ours.eval()(x), expected) < 1e-10


def test_where_every_unit_projects_the_articles_form_is_pytorchcvs_too():
    # They differ in what an identity shortcut carries, the sum or what the ReLU leaves of it.
    ours, theirs = pair(pytorchcv_network(1), depths=(1, 1, 1), activation="pre")
    x = torch.randn(2, 3, 16, 13, dtype=torch.float64)
    with torch.no_grad():
        assert relative_difference(ours.eval()(x), theirs.eval()(x)) < 1e-10


def test_gradients_and_statistics_of_training_are_pytorchcvs(monkeypatch):
    ours, theirs = pair(pytorchcv_network(2), depths=(2, 2, 2))
    images_count = 4

    def fixed(*size, dtype=torch.float64, device=None):
        share = torch.linspace(0.1, 0.8, images_count, dtype=dtype, device=device)
        # Theirs draws one coefficient at a time, ours both.
        return share if size == (images_count,) else share.reshape(-1, 1, 1, 1).expand(size)

    monkeypatch.setattr(torch, "rand", fixed)
    x = torch.randn(images_count, 3, 16, 16, dtype=torch.float64)
    for model in (ours, theirs):
        nn.functional.cross_entropy(model.train()(x), torch.arange(4)).backward()
    gradients = {key: p.grad for key, p in theirs.named_parameters()}
    for key, gradient in converted(gradients, ours, from_pytorchcv_shakeshake).items():
        assert relative_difference(ours.get_parameter(key).grad, gradient) < 1e-6, key
    for key, value in converted(theirs.state_dict(), ours, from_pytorchcv_shakeshake).items():
        assert torch.allclose(ours.state_dict()[key], value), key


def as_theirs(name):
    for ours, theirs in (("downsample.", "identity_branch."), ("conv", "conv"), ("bn", "bn")):
        name = name.replace(ours, theirs)
    parts = name.split(".")
    if parts[0].startswith("branch"):
        kind, number = parts[1][:-1], parts[1][-1]
        parts[1:2] = [f"conv{number}", kind]
    return ".".join(parts)


@pytest.mark.parametrize(("in_channels", "stride"), [(32, 1), (16, 1), (16, 2)])
def test_a_training_step_is_pytorchcvs_with_the_same_draws(in_channels, stride):
    import_torchvision()
    from pytorchcv.models.shakeshakeresnet_cifar import ShakeShakeResUnit

    theirs = ShakeShakeResUnit(in_channels, 32, stride, bottleneck=False)
    randomise(theirs)
    ours = ShakeUnit(in_channels, 32, stride=stride, activation="post")
    state = theirs.state_dict()
    ours.load_state_dict({name: state[as_theirs(name)] for name in ours.state_dict()})
    assert len(ours.state_dict()) == len(state)
    x = torch.randn(6, in_channels, 9, 9).relu()
    inputs = []
    for unit in (ours, theirs):
        inputs.append(x.clone().requires_grad_())
        # It draws alpha in the forward and beta in the backward pass, ours both in the forward pass.
        torch.manual_seed(2)
        y = unit(inputs[-1])
        y.square().sum().backward()
        inputs.append(y)
    assert relative_difference(inputs[1], inputs[3]) < 1e-5
    assert relative_difference(inputs[0].grad, inputs[2].grad) < 1e-5
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        assert relative_difference(p.grad, gradients[as_theirs(name)]) < 1e-4, name


def test_the_layers_are_the_articles():
    before, behind = ["conv1", "bn1", "layer1", "layer2", "layer3"], ["avgpool", "flatten", "fc"]
    with torch.device("meta"):
        shake, even = (create_network(name) for name in NAMES)
    assert [name for name, _ in shake.named_children()] == [*before, "relu", *behind]
    assert [name for name, _ in even.named_children()] == [*before[:2], "relu", *before[2:], *behind]
    for model, activation, backward in ((shake, "pre", "random"), (even, "post", "even")):
        units = [each for each in model.modules() if isinstance(each, ShakeUnit)]
        assert {(unit.activation, unit.backward_share) for unit in units} == {(activation, backward)}
        projects = [unit.downsample is not None for unit in units]
        assert projects == [True, *[False] * (model.spec.depths[0] - 1)] * 3
    assert {each.groups for each in even.modules() if isinstance(each, nn.Conv2d)} == {1, 4}


@pytest.mark.parametrize("backward", ["random", "even"])
def test_the_backward_pass_is_a_field_of_the_spec(backward):
    spec = narrow("shakeshake26_2x96d", backward=backward)
    torch.manual_seed(0)
    model = build_network(spec)
    other = copy.deepcopy(model)
    for each in other.modules():
        if isinstance(each, ShakeUnit):
            each.backward_share = "even"
    x = images(spec)
    gradients = []
    for each in (model, other):
        torch.manual_seed(1)
        y = each(x)
        y.square().sum().backward()
        gradients.append((y, each.conv1.weight.grad))
    (y, gradient), (other_y, other_gradient) = gradients
    assert torch.equal(y, other_y)
    assert torch.equal(gradient, other_gradient) == (backward == "even")


@pytest.mark.parametrize("name", NAMES)
def test_training_is_random_and_a_seed_repeats_it(name):
    spec = narrow(name)
    model = build_network(spec)
    x = images(spec)
    scores = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        scores.append(model(x))
    assert torch.equal(scores[0], scores[1])
    assert not torch.allclose(scores[0], scores[2])
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("name", NAMES)
def test_every_se_parameter_trains_at_every_place(name, placement):
    torch.manual_seed(0)
    spec = narrow(name, se=SEConfig(min_hidden=8, placement=placement))
    model = build_network(spec)
    model(images(spec, 8)).square().sum().backward()
    blocks = se_blocks(model)
    assert len(blocks) == (8 if placement in ("conv3x3", "branches") else 4)
    assert all(name.split(".")[-1] == "se" for name in blocks)
    for block in blocks.values():
        assert all(p.grad.isfinite().all() and p.grad.any() for p in block.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_numbered_as_in_the_paper(name):
    for stage in (2, 3, 4):
        with torch.device("meta"):
            model = create_network(name, se=SEConfig(stages=(stage,)))
        assert {block.split(".")[0] for block in se_blocks(model)} == {f"layer{stage - 1}"}


@pytest.mark.parametrize(
    ("name", "choices", "words"),
    [
        (NAMES[0], {"se": SEConfig(reduction=97)}, "layer1.0 of shakeshake26_2x96d: .* channels, 96, not 97"),
        (NAMES[0], {"se": SEConfig(stages=(1,))}, r"among 2, 3, 4, not 1\."),
        (NAMES[1], {"se": SEConfig(units="all")}, r"SE units in shakeeven29_2x4x64d .*standard, not 'all'\."),
        (
            NAMES[1],
            {"se": SEConfig(reduction=300, placement="branches")},
            "layer1.0 of shakeeven29_2x4x64d: .* channels, 256, not 300",
        ),
        (
            "resnet110",
            {"se": SEConfig(placement="branches")},
            r"SE placement in resnet110 must .*not 'branches'\.",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(name, choices, words):
    with torch.device("meta"), pytest.raises(SenetError, match=words):
        create_network(name, **choices)
