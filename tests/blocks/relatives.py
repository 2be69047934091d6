"""Blocks of every kind, to test."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from senet.blocks.kinds import make_block
from senet.blocks.relatives.gather_excite import GatherExcite

KINDS = ["se", "ese", "eca", "scse", "ge", "cbam"]
RELATIVES = KINDS[1:]
CONVOLVING = ["scse", "ge", "cbam"]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
# The last layer of each kind: what starts at zero and moves first.
LAST = {
    "se": ["fc2.weight"],
    "ese": ["fc.weight", "fc.bias"],
    "eca": ["conv.weight"],
    "scse": ["channel.fc2.weight", "channel.fc2.bias", "spatial.weight", "spatial.bias"],
    "ge": ["norms.2.weight", "norms.2.bias"],
    "cbam": ["expand.weight", "norm.weight", "norm.bias"],
}


def build(kind, channels=32, **choices):
    """Return a block with parameters and statistics of which every one matters."""
    if kind == "ge-":
        return GatherExcite(channels, 4, learned=False, dims=choices.get("dims", 2))
    torch.manual_seed(3)
    return shaken(make_block(kind, channels, reduction=8, **{"start": "random", **choices}))


def shaken(block, seed=4):
    generator = torch.Generator().manual_seed(seed)
    for module in block.modules():
        if isinstance(module, _BatchNorm):
            module.weight.data.uniform_(0.5, 1, generator=generator)
            module.bias.data.uniform_(-0.5, 0.5, generator=generator)
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        elif isinstance(module, _ConvNd | nn.Linear):
            module.weight.data.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.uniform_(-0.5, 0.5, generator=generator)
    return block
