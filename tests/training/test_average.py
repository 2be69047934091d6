from __future__ import annotations

import pytest
import torch
from torch import nn

from senet.training.average import MovingAverage
from tests.small import same_state, small_network


def disturb(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in network.state_dict().values():
            value.add_(
                torch.ones_like(value)
                if not value.is_floating_point()
                else torch.randn(value.shape, generator=generator)
            )


def test_is_the_weighted_sum_of_all_states() -> None:
    network = small_network()
    average = MovingAverage(network, 0.5)
    expected = network.state_dict()["0.weight"].double().clone()
    for step in range(1, 6):
        disturb(network, step)
        average.update(network)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network.state_dict()["0.weight"].double()
    assert torch.allclose(average.values["0.weight"].double(), expected, rtol=1e-5)
    assert average.values["1.num_batches_tracked"] == network.state_dict()["1.num_batches_tracked"]


def test_is_applied_and_taken_back_to_the_bit() -> None:
    network, before = small_network(), small_network()
    average = MovingAverage(network, 0.9)
    disturb(network, 1)
    disturb(before, 1)
    with pytest.raises(KeyboardInterrupt), average.applied_to(network):
        assert torch.equal(network.state_dict()["0.weight"], average.values["0.weight"])
        raise KeyboardInterrupt
    assert same_state(network, before)


def test_survives_a_round_trip() -> None:
    network = small_network()
    average = MovingAverage(network, 0.9)
    disturb(network, 1)
    average.update(network)
    other = MovingAverage(small_network(seed=5), 0.9)
    other.load_state_dict(average.state_dict())
    assert other.updates == 1
    assert all(torch.equal(value, other.values[name]) for name, value in average.values.items())
