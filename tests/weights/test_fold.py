"""Folding biases into BatchNorm, against the network that has them."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from senet.errors import SenetError
from senet.networks import list_models, network_spec, plain_name
from senet.networks.build import _ASSEMBLIES, build_network
from senet.weights.fold import fold_biases
from tests.networks.short import images, shortened
from tests.references import randomise, relative_difference

# One network for each way to assemble one.
FAMILIES = {_ASSEMBLIES[type(network_spec(name))]: plain_name(name) for name in reversed(list_models())}


def with_biases(network):
    """Return a copy whose convolutions before a BatchNorm of the same module have random biases."""
    biased = copy.deepcopy(network)
    for module in biased.modules():
        children = list(module.children())
        for child, following in pairwise(children):
            width = following.num_features if isinstance(following, nn.BatchNorm2d) else 0
            if isinstance(child, nn.Conv2d) and child.out_channels == width:
                bias = torch.randn(child.out_channels, dtype=child.weight.dtype)
                child.bias = nn.Parameter(bias) if child.bias is None else child.bias
    return biased


@pytest.mark.parametrize("name", FAMILIES.values())
def test_folded_networks_of_every_family_compute_the_same(name):
    torch.manual_seed(0)
    network = build_network(shortened(network_spec(name))).double()
    randomise(network)
    biased = with_biases(network)
    state = biased.state_dict()
    extra = set(state) - set(network.state_dict())
    before = {key: value.clone() for key, value in state.items()}
    folded = fold_biases(state, network)
    assert set(folded) == set(network.state_dict())
    assert all(torch.equal(state[key], before[key]) for key in state)
    network.load_state_dict(folded)
    x = images(network.spec, 3).double()
    with torch.no_grad():
        assert relative_difference(network.eval()(x), biased.eval()(x)) < 1e-12
        if extra:
            plain = copy.deepcopy(network)
            plain.load_state_dict({key: value for key, value in state.items() if key not in extra})
            assert relative_difference(plain.eval()(x), biased(x)) > 1e-3


def small_network(*, bias=False):
    """A convolution before a BatchNorm, one before none and one that has its bias."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=bias),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, bias=bias),
        nn.ReLU(),
        nn.Conv2d(5, 5, 1),
        nn.BatchNorm2d(5),
    )


def test_training_goes_the_same_way():
    torch.manual_seed(0)
    network = small_network().double()
    biased = with_biases(network)
    randomise(biased)
    network.load_state_dict(fold_biases(biased.state_dict(), network))
    optimisers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (network, biased)]
    for _ in range(3):
        x = torch.randn(4, 3, 7, 7, dtype=torch.float64)
        for model, optimiser in zip((network, biased), optimisers, strict=True):
            optimiser.zero_grad()
            model(x).square().mean().backward()
            optimiser.step()
    folded = fold_biases(biased.state_dict(), network)
    for key, value in network.state_dict().items():
        assert torch.allclose(value, folded[key], rtol=1e-9, atol=1e-12), key


def test_what_has_its_place_and_what_fits_nowhere_stay():
    network = small_network()
    state = {**network.state_dict(), "5.bias": torch.ones(5), "extra": torch.ones(1)}
    folded = fold_biases(state, network)
    assert folded is not state
    assert list(folded) == list(state)
    assert all(folded[key] is state[key] for key in state)


def test_the_running_mean_keeps_its_type():
    network = small_network()
    state = {**network.state_dict(), "0.bias": torch.tensor([1, 2, 3, 4], dtype=torch.float16)}
    mean = fold_biases(state, network)["1.running_mean"]
    assert mean.dtype == torch.float32
    assert mean.tolist() == [-1, -2, -3, -4]


def test_a_bias_without_a_batch_norm_is_refused():
    network = small_network()
    state = small_network(bias=True).state_dict()
    with pytest.raises(SenetError, match=r"The bias 3\.bias cannot be folded: this network's 3 has none"):
        fold_biases(state, network)
    state = {key: value for key, value in state.items() if key not in ("3.bias", "1.running_mean")}
    with pytest.raises(SenetError, match=r"The bias 0\.bias cannot be folded"):
        fold_biases(state, network)


def test_a_batch_norm_of_another_width_is_not_behind_the_convolution():
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(8))
    with pytest.raises(SenetError, match=r"The bias 0\.bias cannot be folded"):
        fold_biases({**network.state_dict(), "0.bias": torch.ones(4)}, network)
