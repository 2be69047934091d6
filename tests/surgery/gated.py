"""Models with blocks whose gates are folded."""

import copy
from contextlib import ExitStack

import torch
from torch import nn
from torch.nn import functional

from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.surgery.fold_gate import constant_gate, fold_gate, refusal
from senet.surgery.gate_places import find_places


def gates_for(block, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.2 + 1.3 * torch.rand(block.channels, generator=generator, dtype=torch.float64)


def check(model, x, tolerance=1e-12):
    """Fold what can be folded; return what was, and the folded copy."""
    model.eval()
    places = find_places(model, x[:2])
    gates = {name: gates_for(model.get_submodule(name), seed) for seed, name in enumerate(places)}
    folded = [name for name, place in places.items() if not refusal(place, gates[name])]
    pruned = copy.deepcopy(model)
    with ExitStack() as stack, torch.no_grad():
        plain = model(x)
        for name in folded:
            stack.enter_context(constant_gate(model.get_submodule(name), gates[name]))
        expected = model(x)
        for name in folded:
            fold_gate(pruned, places[name], gates[name])
        difference = (pruned(x) - expected).abs().max() / expected.abs().max()
    assert difference <= tolerance
    if folded:
        assert not torch.allclose(plain, expected)
    left = {name for name, each in pruned.named_modules() if isinstance(each, SqueezeExcitation)}
    assert left == set(places) - set(folded)
    assert not any(key.startswith(f"{name}.") for name in folded for key in pruned.state_dict())
    with torch.no_grad():
        assert not torch.equal(model(x), expected) or not folded  # constant gates are over
    return places, folded, pruned


class Host(nn.Module):
    """A network that knows nothing of senet."""

    def __init__(self, norm, *, relu=True, conv_bias=False, dims=2):
        super().__init__()
        convolution = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.conv = convolution(3, 8, 3, padding=1, bias=conv_bias)
        self.norm = norm
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()
        self.last = convolution(8, 8, 1, groups=2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.last(self.relu(self.norm(self.conv(x)))).flatten(2).mean(2))


def host(norm=None, dims=2, **options):
    torch.manual_seed(1)
    model = Host(norm if norm is not None else nn.BatchNorm2d(8), dims=dims, **options)
    for each in (*model.parameters(), *model.buffers()):
        if each.is_floating_point():
            nn.init.uniform_(each, 0.2, 0.8)
    nn.init.normal_(model.conv.weight)
    return model.double().eval()


def maps(dims=2, count=4):
    torch.manual_seed(2)
    return torch.randn(count, 3, *(6, 5, 4)[:dims], dtype=torch.float64)


def se(channels=8, **options):
    torch.manual_seed(4)
    return SqueezeExcitation(channels, 2, **options).double()


class Own(nn.Module):
    """A network of somebody who uses senet's block by hand."""

    def __init__(self, between=None):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 3, padding=1)
        self.weigh = SqueezeExcitation(12, 3)
        self.between = between
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        y = torch.cat([self.a(x), functional.relu(self.b(x))], dim=1)
        if self.between is not None:
            y = self.between(self, y)
        return self.fc(self.weigh(y).mean((2, 3)))
