"""Sees timm's BatchNorm with an activation of its own as a BatchNorm and a ReLU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from senet.blocks.tail import tail
from senet.surgery.conditions import is_touched
from senet.surgery.unseen import Untraceable

_NAME = "timm.layers.norm_act.BatchNormAct2d"
_DROP, _ACT = "drop", "act"


@dataclass(frozen=True)
class NormAct:
    """A BatchNorm that goes on with a ReLU, or could.

    Attributes:
        forward: of its class.
        relu: the name of the ReLU in it, or empty.
        kinds: the types of its modules by name.
    """

    forward: Callable[..., Any]
    relu: str
    kinds: tuple[tuple[str, type], ...]


def norm_act(bn: _BatchNorm) -> NormAct:
    """Return what ``bn`` consists of.

    Raises:
        Untraceable: it is no BatchNorm that the kernels know; with the reason.
    """
    kind: Any = type(bn)
    children = dict(bn.named_children())
    if f"{kind.__module__}.{kind.__name__}" != _NAME or sorted(children) != [_ACT, _DROP]:
        raise Untraceable(f"{kind.__name__} is not a BatchNorm that the kernels support")
    if any(map(is_touched, bn.modules())):
        raise Untraceable("BatchNorm has a hook or its own forward")
    for name, allowed in ((_DROP, (nn.Identity,)), (_ACT, (nn.Identity, nn.ReLU))):
        if type(children[name]) not in allowed:
            raise Untraceable(f"{kind.__name__} continues with {type(children[name]).__name__}")
    act: Any = type(children[_ACT])
    if not _normalises(kind, act):
        raise Untraceable(f"this version of {kind.__name__} normalises differently from PyTorch")
    kinds = tuple((name, type(each)) for name, each in bn.named_modules())
    return NormAct(kind.forward, _ACT if act is nn.ReLU else "", kinds)


@cache
def tail_with(forward: Callable[..., Any]) -> Callable[..., Tensor]:
    """Return `senet.blocks.tail.tail` for a BatchNorm with this forward."""

    def tail_of_norm_act(*args: Any, **kwargs: Any) -> Tensor:
        return tail(*args, norm_forward=forward, **kwargs)

    return tail_of_norm_act


@cache
def _normalises(kind: Any, act: Any) -> bool:
    """Whether layers of this class give the numbers of BatchNorm and activation, in both modes."""
    ours = nn.BatchNorm2d(3, dtype=torch.float64)
    theirs = kind(3, act_layer=act, apply_act=act is nn.ReLU, inplace=False, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for tensor in (ours.weight, ours.bias, ours.running_mean):
        assert tensor is not None
        tensor.data.normal_(generator=generator)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    x = torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64)
    same = True
    for training in (True, False):
        expected = ours.train(training)(x)
        expected = functional.relu(expected) if act is nn.ReLU else expected
        same &= torch.allclose(theirs.train(training)(x), expected, rtol=1e-10, atol=1e-10)
    pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    return same and all(torch.allclose(a, b) for a, b in pairs)
