import pytest
import torch
from torch import nn

from senet.blocks.initialise import initialise


def test_convolutions_and_normalisations_start_as_described():
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(64, 128, 3), nn.BatchNorm2d(128), nn.Linear(8, 8))
    linear = block[2].weight.clone()
    for parameter in block[:2].parameters():
        nn.init.constant_(parameter, 7)
    initialise(block)
    assert block[0].weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert not block[0].bias.any()
    assert torch.equal(block[1].weight, torch.ones(128))
    assert torch.equal(block[1].bias, torch.zeros(128))
    assert torch.equal(block[2].weight, linear)
