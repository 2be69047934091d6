"""Sees the SE blocks of other packages as the kernels take them, without a second class that squeezes.

A module counts as an SE block if it has the two layers of one, nothing else to learn, and gives the same
numbers as one.
"""

from __future__ import annotations

import copy
import itertools
import operator
import re
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node

from senet.kernels import reference
from senet.kernels.dispatch import unreadable
from senet.kernels.excitation import ACTIVATIONS, GATES, Excitation
from senet.surgery.conditions import Conditions, Path, is_touched, module_at, path_of
from senet.surgery.trace import trace
from senet.surgery.unseen import Untraceable

_SOUNDS_LIKE_SE = re.compile(r"SE(?![a-z])|[Ss]queeze|[Ee]xcit")
_IMAGES, _HEIGHT, _WIDTH = 4, 3, 5
_SPREAD = 3.0
"""Of weights and maps: wide enough for activations and gates to show all their bends."""
_seen: dict[str, tuple[str, str] | None] = {}
"""Activation and gate of the blocks seen so far: networks have many that differ in their weights only."""
_PRODUCTS = (operator.mul, torch.mul, "mul")


@dataclass(frozen=True)
class SELayers:
    """Where a module keeps what an SE block has.

    Attributes:
        fc1: the layer that squeezes the channels, a Linear or a 1x1 convolution.
        fc2: the layer that brings them back.
        activation: a key of `senet.kernels.excitation.ACTIVATIONS`.
        gate: a key of `senet.kernels.excitation.GATES`.
        conditions: under which this holds.
    """

    fc1: Path
    fc2: Path
    activation: str
    gate: str
    conditions: Conditions

    def view(self, module: nn.Module) -> ForeignSE:
        """Return ``module`` as `senet.blocks.tail` takes it."""
        return ForeignSE(module, self)


class ForeignSE(NamedTuple):
    """An SE block of another package, as a tail takes it; holds nothing but the module."""

    layer: nn.Module
    layers: SELayers

    def __call__(self, x: Tensor) -> Tensor:
        """Run the module as it is."""
        y: Tensor = self.layer(x)
        return y

    def excitation(self) -> Excitation:
        """Return the module's own tensors, its convolutions as matrices: gradients find their way back."""
        w1, b1 = _matrix(module_at(self.layer, self.layers.fc1))
        w2, b2 = _matrix(module_at(self.layer, self.layers.fc2))
        return Excitation(w1, b1, w2, b2, self.layers.activation, self.layers.gate)

    def unfused(self, y: Tensor) -> str:
        """Return why no kernel weighs ``y``, (N, C, *spatial), as the module does, or an empty text."""
        if not self.layers.conditions.hold(self.layer):
            return "SE has changed since it was accelerated"
        fc1 = module_at(self.layer, self.layers.fc1)
        channels = fc1.in_features if isinstance(fc1, nn.Linear) else fc1.in_channels  # type: ignore[union-attr]
        if y.dim() != 4 or y.shape[1] != channels:
            return "SE has another number of channels"
        return unreadable(y, self.excitation()[:4])


def sounds_like_se(module: nn.Module) -> bool:
    """Whether the class name says that this is a kind of SE block, and not a network of such."""
    name = type(module).__name__
    norms = any(isinstance(each, nn.modules.batchnorm._NormBase) for each in module.modules())
    return bool(_SOUNDS_LIKE_SE.search(name)) and not norms


def se_layers(module: nn.Module) -> SELayers:
    """Return where ``module`` keeps what an SE block has.

    Raises:
        Untraceable: it is no SE block that the kernels know; with the reason.
    """
    layers = {name: each for name, each in module.named_modules() if _has_tensors(each)}
    if len(layers) != 2 or not all(map(_is_matrix, layers.values())):
        raise Untraceable("it has other layers besides the two fully connected ones of an SE block")
    if is_touched(module) or any(map(is_touched, module.modules())):
        raise Untraceable("SE has a hook or its own forward")
    traced = trace(module, inlined=None)
    names = [str(node.target) for node in traced.graph.nodes if node.target in layers]
    if len(traced.arguments) != 1 or sorted(names) != sorted(layers) or not _weighs_input(traced.graph):
        raise Untraceable("it does not multiply its input by the output of its two layers")
    w1, w2 = (_matrix(layers[name])[0] for name in names)
    if w1.shape != w2.shape[::-1]:
        raise Untraceable("its second layer does not restore the channels of its first")
    key = repr((type(module), module, traced.graph.python_code("self").src, traced.conditions.values))
    if key not in _seen:
        _seen[key] = _functions(module, *names)
    functions = _seen[key]
    if functions is None:
        raise Untraceable("it computes something else than an SE block")
    inner = tuple((path_of(name), type(each)) for name, each in module.named_modules() if name)
    conditions = Conditions(
        traced.conditions.values, traced.conditions.children, (((), type(module)),), inner
    )
    return SELayers(path_of(names[0]), path_of(names[1]), *functions, conditions)


def _weighs_input(graph: Graph) -> bool:
    """Whether the result is a product with the input as a factor."""
    placeholder, *_, output = graph.nodes
    product = output.args[0]
    return isinstance(product, Node) and product.target in _PRODUCTS and placeholder in product.args


def _functions(module: nn.Module, fc1: str, fc2: str) -> tuple[str, str] | None:
    """Return the names of activation and gate with which an SE block gives the same numbers, if any."""
    twin = _random_twin(module)
    w1, b1 = _matrix(twin.get_submodule(fc1))
    w2, b2 = _matrix(twin.get_submodule(fc2))
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(_IMAGES, w1.shape[1], _HEIGHT, _WIDTH, generator=generator, dtype=torch.float64)
    x = maps + _SPREAD * torch.randn(_IMAGES, w1.shape[1], 1, 1, generator=generator, dtype=torch.float64)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        outputs = [_output(twin.train(mode), x) for mode in (True, False)]
        z = reference.squeeze(x)
        for activation, gate in itertools.product(ACTIVATIONS, GATES):
            s = Excitation(w1, b1, w2, b2, activation, gate).weights(z)
            expected = reference.scale(x, s)
            if all(_same(output, expected) for output in outputs):
                return activation, gate
    return None


def _output(module: nn.Module, x: Tensor) -> object:
    try:
        return module(x.clone())
    except Exception:  # noqa: BLE001 - what is no SE block may raise anything for maps
        return None


def _same(output: object, expected: Tensor) -> bool:
    return (
        isinstance(output, Tensor)
        and output.shape == expected.shape
        and torch.allclose(output, expected, rtol=1e-10, atol=1e-10)
    )


def _random_twin(module: nn.Module) -> nn.Module:
    """Return a copy in float64 on the CPU whose tensors are random."""
    twin = copy.deepcopy(module).to_empty(device="cpu").double()
    generator = torch.Generator().manual_seed(0)
    for parameter in twin.parameters():
        size = parameter.numel() / len(parameter)
        parameter.data.normal_(0, _SPREAD / size**0.5, generator=generator)
    return twin


def _has_tensors(module: nn.Module) -> bool:
    return any(each is not None for each in (*module._parameters.values(), *module._buffers.values()))


def _is_matrix(layer: nn.Module) -> bool:
    """Whether ``layer`` multiplies the channels with a matrix, as the fully connected layers of SE do."""
    if type(layer) is nn.Conv2d:
        one = layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.padding in ((0, 0), "valid")
        return one and layer.groups == 1
    return type(layer) is nn.Linear


def _matrix(layer: nn.Module | None) -> tuple[Tensor, Tensor | None]:
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    return layer.weight.flatten(1), layer.bias
