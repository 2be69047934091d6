from __future__ import annotations

import pytest
import torch
from torch import nn

from senet.insight.step import NetworkStep


class Tiny(nn.Module):
    """Notes what it ran on."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)
        self.seen: list[tuple[bool, bool, torch.dtype]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        self.seen.append((self.training, torch.is_grad_enabled(), y.dtype))
        scores: torch.Tensor = self.fc(self.bn(y).mean((2, 3)))
        return scores


def test_a_training_step_changes_every_weight() -> None:
    network = Tiny()
    before = [each.clone() for each in network.parameters()]
    NetworkStep(network, torch.randn(4, 3, 6, 6)).train()
    assert network.seen == [(True, True, torch.float32)]
    assert network.bn.num_batches_tracked == 1
    # A convolution's bias before a BatchNorm has no gradient but noise.
    names = [name for name, _ in network.named_parameters() if name != "conv.bias"]
    after = dict(network.named_parameters())
    old = dict(zip(after, before, strict=True))
    assert all(not torch.equal(after[name], old[name]) for name in names)


def test_inference_changes_nothing_and_training_goes_on_after_it() -> None:
    network = Tiny()
    step = NetworkStep(network, torch.randn(4, 3, 6, 6))
    step.train()
    state = {name: each.clone() for name, each in network.state_dict().items()}
    step.infer()
    assert network.seen[-1] == (False, False, torch.float32)
    assert all(torch.equal(each, state[name]) for name, each in network.state_dict().items())
    step.train()
    assert network.seen[-1][0] and network.bn.training


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_bf16_is_autocast(mode: str) -> None:
    network = Tiny()
    getattr(NetworkStep(network, torch.randn(4, 3, 6, 6), precision="bf16"), mode)()
    assert network.seen[0][2] == torch.bfloat16 and network.conv.weight.dtype == torch.float32


def test_what_lives_through_a_step() -> None:
    network = Tiny()
    step = NetworkStep(network, torch.randn(4, 3, 6, 6))
    held = step.held()
    # Images, six parameters, three buffers, and momentum for each parameter.
    assert len(held) == 1 + 6 + 3 + 6
    assert held[0] is step.images
    assert all(each.grad is None for each in network.parameters())
    assert len(NetworkStep(Tiny(), torch.randn(4, 3, 6, 6), momentum=0.0).held()) == 1 + 6 + 3
