"""The paper's ablations (Tables 10 to 16) as values of `SEConfig`, on every kind of network."""

import dataclasses
import itertools

import pytest
import torch

from senet.blocks import SEConfig
from senet.blocks.se_config import RESIDUAL_PLACEMENTS
from senet.networks import list_models, network_spec, plain_name
from senet.networks.build import build_network
from tests.networks.short import distinct, images, se_blocks, shortened
from tests.references import randomise

pytestmark = pytest.mark.slow

# One for each kind of unit: where SE stands in it and what it computes is the same for any number of them.
KINDS = {
    (type(spec), getattr(spec, "bottleneck", None) is None): name
    for name in distinct(name for name in list_models() if name == plain_name(name))
    for spec in (network_spec(name),)
}
PLAIN = [*KINDS.values(), "resnext154_64x4d"]
RESIDUAL = [name for name in PLAIN if len(network_spec(name).placements) >= 5]
PLACED = [(name, place) for name in PLAIN for place in network_spec(name).placements]
CHOSEN = [(name, units) for name in PLAIN for units in network_spec(name).units if units != "standard"]
VALUES = [
    {"squeeze": "max"},
    {"squeeze": "none"},
    {"gate": "tanh"},
    {"gate": "relu"},
    {"gate": "double_sigmoid", "activation": "silu"},
    {"reduction": 2, "bias": False},
]


def with_se(name, **choices):
    """Return a short network; behind a ReLU one hidden unit alone may start dead, so here are more."""
    spec = shortened(network_spec(name))
    return dataclasses.replace(spec, se=SEConfig(**{"min_hidden": 8, **choices}))


def assert_every_se_parameter_lives(model, spec):
    model(images(spec, 6)).square().sum().backward()
    assert se_blocks(model)
    silent = [
        f"{name}.{inner}"
        for name, block in se_blocks(model).items()
        for inner, p in block.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert silent == []


@pytest.mark.usefixtures("layer_by_layer")
@pytest.mark.parametrize(("name", "placement"), PLACED)
def test_every_placement_lives_and_with_open_gates_is_the_plain_network_to_the_bit(name, placement):
    torch.manual_seed(0)
    spec = with_se(name, placement=placement)
    plain = build_network(dataclasses.replace(spec, se=None))
    twin = build_network(spec)
    assert_every_se_parameter_lives(twin, spec)
    twin = build_network(spec)
    randomise(plain)
    missing, unexpected = twin.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert missing
    assert all(".se" in key for key in missing)
    for block in se_blocks(twin).values():
        block.gate = torch.ones_like
    x = images(spec, 3)
    with torch.no_grad():
        for mode in (True, False):
            torch.manual_seed(0)  # for dropout and shaking
            expected = plain.train(mode)(x)
            torch.manual_seed(0)
            assert torch.equal(twin.train(mode)(x), expected)
    for key, value in plain.state_dict().items():
        assert torch.equal(twin.state_dict()[key], value), key


@pytest.mark.parametrize("name", RESIDUAL)
def test_the_placements_compute_different_things(name):
    outputs = []
    x = images(network_spec(name), 2)
    for placement in RESIDUAL_PLACEMENTS:
        model = build_network(with_se(name, placement=placement)).eval()
        randomise(model)
        with torch.no_grad():
            outputs.append(model(x))
    for i, a in enumerate(outputs):
        assert all(not torch.allclose(a, b) for b in outputs[:i])


@pytest.mark.parametrize(("name", "units"), CHOSEN)
def test_every_choice_of_units_is_another_number_of_blocks(name, units):
    spec = dataclasses.replace(network_spec(name), num_classes=7)
    with torch.device("meta"):
        standard = build_network(dataclasses.replace(spec, se=spec.default_se))
        chosen = build_network(dataclasses.replace(spec, se=SEConfig(units=units)))
    assert len(se_blocks(standard)) != len(se_blocks(chosen))
    spec = with_se(name, units=units)
    assert_every_se_parameter_lives(build_network(spec), spec)


@pytest.mark.parametrize(
    ("name", "values"),
    [*zip(RESIDUAL, itertools.cycle(VALUES)), *(("resnet18", each) for each in VALUES)],
    ids=str,
)
def test_every_value_lives_in_every_residual_network(name, values):
    torch.manual_seed(0)
    spec = with_se(name, **values)
    model = build_network(spec)
    assert_every_se_parameter_lives(model, spec)
    for block in se_blocks(model).values():
        assert block.config.squeeze == spec.se.squeeze
        assert block.config.gate == spec.se.gate


@pytest.mark.parametrize("name", PLAIN)
def test_a_block_that_starts_as_identity_changes_no_bit_and_learns_within_two_steps(name):
    torch.manual_seed(0)
    se = {"gate": "double_sigmoid", "start": "identity"}
    spec = with_se(name, **se)
    plain, twin = build_network(dataclasses.replace(spec, se=None)), build_network(spec)
    randomise(plain)
    twin.load_state_dict(plain.state_dict(), strict=False)
    x = images(spec, 4)
    with torch.no_grad():
        assert torch.equal(twin.eval()(x), plain.eval()(x))
    twin.train()
    optimiser = torch.optim.SGD(twin.parameters(), lr=1e-4)
    twin(x).square().mean().backward()
    optimiser.step()
    optimiser.zero_grad()
    twin(x).square().mean().backward()
    for site, block in se_blocks(twin).items():
        for inner, p in block.named_parameters():
            assert p.grad.isfinite().all(), f"{site}.{inner}"
            assert p.grad.any(), f"{site}.{inner}"


def test_a_start_that_cannot_be_the_identity_is_refused():
    with pytest.raises(ValueError, match="start 'identity' needs the gate 'double_sigmoid'"):
        SEConfig(start="identity")
