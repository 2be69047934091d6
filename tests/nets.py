"""A module as a user has it in the present folder, with networks and with what may be wrong about them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NETS = '''
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + x)


class Net(nn.Module):
    def __init__(self, num_classes=10, in_channels=3, width=16):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(Block(width), Block(width))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.layer1(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.pool(x).flatten(1))


def tiny(num_classes, in_channels=1):
    return Net(num_classes, in_channels)


def chans(num_classes, *, in_chans=3):
    return Net(num_classes, in_chans)


def anything(**options):
    return Net(**options, in_channels=1)


def fixed():
    return Net(10, 1)


def three():
    return Net(3, 1)


def fails(num_classes):
    sizes = [1, 2]
    return sizes[num_classes]


def number(num_classes):
    return num_classes


class Deep(Net):
    def forward(self, x):
        for _ in range(4):
            x = nn.functional.max_pool2d(x, 2)
        return super().forward(x)


def deep(num_classes):
    return Deep(num_classes, 1)


class Wrong(Net):
    def forward(self, x):
        return self.fc(self.missing(x))


def wrong(num_classes):
    return Wrong(num_classes, 1)


class Pair(Net):
    def forward(self, x):
        scores = super().forward(x)
        return (scores, scores) if self.training else scores


def pair(num_classes):
    return Pair(num_classes, 1)


class Named(Net):
    def forward(self, x):
        scores = super().forward(x)
        return scores if self.training else {"scores": scores}


def named(num_classes):
    return Named(num_classes, 1)


class Maps(Net):
    def forward(self, x):
        return super().forward(x)[:, :, None]


def maps(num_classes):
    return Maps(num_classes, 1)


KEPT = {}


def kept(num_classes):
    return KEPT.setdefault(num_classes, Net(num_classes, 1))


def unseeded(num_classes):
    net = Net(num_classes, 1)
    net.fc.weight.data.normal_(generator=torch.Generator().manual_seed(len(KEPT)))
    KEPT[len(KEPT)] = None
    return net


def numpy_and_random(num_classes):
    import random

    import numpy

    net = Net(num_classes, 1)
    net.fc.bias.data.fill_(random.random())
    net.fc.weight.data.copy_(torch.from_numpy(numpy.random.normal(size=tuple(net.fc.weight.shape))))
    return net


def frozen(num_classes):
    return Net(num_classes, 1).requires_grad_(False)


def lazy(num_classes):
    net = Net(num_classes, 1)
    net.fc = nn.LazyLinear(num_classes)
    return net


def uncopyable(num_classes):
    net = Net(num_classes, 1)
    net.scaled = net.fc.weight * 2
    return net


def values(num_classes):
    """Cannot run on the meta device."""
    class Looks(Net):
        def forward(self, x):
            return super().forward(x) * (1.0 if float(x.sum()) == 0 else 2.0)

    return Looks(num_classes, 1)


def tied(num_classes):
    net = Net(num_classes, 1)
    net.layer1[1].conv1.weight = net.layer1[0].conv1.weight
    return net


def extra(num_classes):
    class Extra(Net):
        def get_extra_state(self):
            return {"version": 1}

    return Extra(num_classes, 1)


def plain_vgg(num_classes):
    """Nothing that SE could sit behind."""
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))


made = Net()
'''


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The present folder, with the module ``nets`` in it that nobody has imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    before = set(sys.modules)
    Path("nets.py").write_text(NETS)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]
