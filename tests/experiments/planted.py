"""A model of which is known what each block is good for."""

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.experiments.prune_gates import prune_gates

CLASSES = 7
COUNT = 100


def gate(seen=0, weighed=2, slope=0.0, bias=0.0):
    """Return a block whose gates are 1, but 2 sigmoid(slope * mean of channel ``seen`` + bias) at one."""
    block = SqueezeExcitation(4, 1, gate="double_sigmoid")
    for each in block.parameters():
        nn.init.zeros_(each)
    nn.init.eye_(block.fc1.weight)
    with torch.no_grad():
        block.fc2.weight[weighed, seen] = slope
        block.fc2.bias[weighed] = bias
    return block


def planted():
    """Return a model that tells three classes by the gates of its blocks, of which one is constant.

    The input's channels, 0 or 1, say of which class an image is; the other two are 1 until they are weighed.
    Held at its mean, ``vital`` loses class 1, a fifth of the images; ``slight`` class 2, one image; ``soft``
    loses some certainty and no image; ``still`` nothing.
    """
    model = nn.Sequential()
    model.add_module("start", nn.Conv2d(2, 4, 1))
    nn.init.eye_(model.start.weight[:, :, 0, 0].data)
    with torch.no_grad():
        model.start.weight[:, :, 0, 0] = torch.eye(4, 2)
        model.start.bias.copy_(torch.tensor([0.0, 0, 1, 1]))
    blocks = {
        "vital": gate(0, 2, 20, -10),
        "still": gate(0, 2, 0, 0),
        "slight": gate(1, 3, 20, -10),
        "soft": gate(0, 2, 10, 0),
    }
    for name, block in blocks.items():
        model.add_module(name, block)
        model.add_module(f"after_{name}", nn.Conv2d(4, 4, 1, groups=4, bias=False))
        nn.init.ones_(model[-1].weight)
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flatten", nn.Flatten())
    model.add_module("fc", nn.Linear(4, CLASSES))
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.weight[1, 2] = 0.6
        model.fc.weight[2, 3] = 1.5
        model.fc.bias.fill_(-1.0)
        model.fc.bias[:3] = torch.tensor([0.5, 0, 0])
    return model


def pairs():
    labels = torch.zeros(COUNT, dtype=torch.long)
    labels[:20], labels[20] = 1, 2
    images = functional.one_hot(labels, 3)[:, 1:, None, None].float().expand(COUNT, 2, 3, 3).contiguous()
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    return TensorDataset(images[order], labels[order])


def loader(batch=32):
    return DataLoader(pairs(), batch_size=batch)


def prune(model, images=None, **options):
    return prune_gates(model, images if images is not None else loader(), seconds=0, **options)


def steps(report):
    return {row.block: row.step for row in report.rows}
